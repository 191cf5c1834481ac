package peerrelay

import (
	"net/netip"
	"slices"
)

// maxAddrs bounds the addresses that a session is offered at. Clients send a bind request
// to each.
const maxAddrs = 32

// Addresses are where a server may be reached, as others found out.
type Addresses struct {
	// Static are those that the user has set. With OnlyStatic there are no others.
	Static     []netip.AddrPort
	OnlyStatic bool
	// Mapped are the outer addresses of the server's own sockets, as STUN servers saw
	// them, or as a gateway or a cloud maps them.
	Mapped []netip.AddrPort
	// Varies says that STUN servers saw different ports: then the outer IP addresses are
	// offered with the server's own port too, in case that is forwarded.
	Varies bool
	// Interfaces are the addresses of this machine.
	Interfaces []netip.Addr
}

// list returns the addresses to offer, by how likely they are to work, for sockets on the
// given ports, of which 0 means that there is none.
func (a *Addresses) list(ports [2]uint16) []netip.AddrPort {
	var list []netip.AddrPort
	add := func(addr netip.AddrPort) {
		addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
		ip := addr.Addr()
		if !ip.IsValid() || addr.Port() == 0 || ip.IsUnspecified() || ip.IsMulticast() || ip.Zone() != "" ||
			ports[family(addr)] == 0 || len(list) == maxAddrs || slices.Contains(list, addr) {
			return
		}
		list = append(list, addr)
	}
	for _, addr := range a.Static {
		add(addr)
	}
	if a.OnlyStatic {
		return list
	}
	for _, addr := range a.Mapped {
		add(addr)
	}
	if a.Varies {
		for _, addr := range a.Mapped {
			addr = netip.AddrPortFrom(addr.Addr().Unmap(), 0)
			add(netip.AddrPortFrom(addr.Addr(), ports[family(addr)]))
		}
	}
	for _, ip := range a.Interfaces {
		if ip = ip.Unmap(); ip.IsValid() && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() {
			add(netip.AddrPortFrom(ip, ports[family(netip.AddrPortFrom(ip, 0))]))
		}
	}
	return list
}
