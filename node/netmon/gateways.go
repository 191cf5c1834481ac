package netmon

import (
	"net"
	"net/netip"
)

// Gateway is the way out of the machine in one address family.
type Gateway struct {
	// Addr is the next hop of the default route, with a zone if it is link-local. It is
	// not valid if there is none.
	Addr netip.Addr
	// Self is this machine's own address on that way.
	Self netip.Addr
	// Interface is the name of the interface that leads there.
	Interface string
}

// Gateways are the ways out of the machine.
type Gateways struct{ V4, V6 Gateway }

// SystemGateways asks the system for the ways out other than the interface tunnel.
func SystemGateways(tunnel string) (Gateways, error) {
	ifs, err := interfaces()
	if err != nil {
		return Gateways{}, err
	}
	return systemGateways(&State{Interfaces: ifs, Tunnel: tunnel}), nil
}

// self4 returns the interface's own address from which it talks to a neighbour.
func (i Interface) self4(neighbour netip.Addr) (first netip.Addr) {
	for _, p := range i.Addrs {
		if p.Contains(neighbour) {
			return p.Addr()
		}
		if p.Addr().Is4() && !first.IsValid() {
			first = p.Addr()
		}
	}
	return first
}

// self6 returns the interface's address from which it talks to the world: the one that
// the system picks if that is the interface's own, else the first.
func (i Interface) self6() (first netip.Addr) {
	picked := source("[2001:db8::1]:9")
	for _, p := range i.Addrs {
		a := p.Addr()
		if !a.Is6() || !reachable(a) || a.IsPrivate() {
			continue
		}
		if a == picked {
			return a
		}
		if !first.IsValid() {
			first = a
		}
	}
	return first
}

// source returns the address that the system would use towards a public one.
func source(to string) netip.Addr {
	c, err := net.Dial("udp", to) // sends nothing
	if err != nil {
		return netip.Addr{}
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
}
