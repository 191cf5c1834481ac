//go:build linux

package lab

import (
	"fmt"
	"net/netip"
)

// A Switch joins hosts into one link-layer network. It is a bridge in a
// namespace of its own.
type Switch struct {
	host *Host
	n    int
}

// Switch makes a network with nothing plugged in.
func (l *Lab) Switch(name string) *Switch {
	l.t.Helper()
	s := &Switch{host: l.Host("sw-" + name)}
	s.host.Must("ip", "link", "add", "br0", "type", "bridge")
	s.host.Must("ip", "link", "set", "br0", "up")
	return s
}

// Plug connects the host to the switch under the given addresses, such as
// "10.1.0.2/24", and returns the name of the host's new interface.
func (h *Host) Plug(s *Switch, addrs ...string) string {
	h.lab.t.Helper()
	dev := fmt.Sprintf("eth%d", h.nextDev)
	h.nextDev++
	port := fmt.Sprintf("port%d", s.n)
	s.n++
	h.lab.must("ip", "link", "add", dev, "netns", h.ns, "type", "veth", "peer", "name", port, "netns", s.host.ns)
	s.host.Must("ip", "link", "set", port, "master", "br0", "up")
	for _, a := range addrs {
		h.AddAddr(dev, a)
	}
	h.Must("ip", "link", "set", dev, "up")
	return dev
}

// AddAddr gives an interface an address with its prefix length. Duplicate
// address detection is off, so that it can be used at once.
func (h *Host) AddAddr(dev, addr string) {
	h.lab.t.Helper()
	p := netip.MustParsePrefix(addr)
	if p.Addr().Is6() {
		h.Must("ip", "addr", "add", addr, "dev", dev, "nodad")
		return
	}
	h.Must("ip", "addr", "add", addr, "dev", dev)
}

// DelAddr takes an address from an interface.
func (h *Host) DelAddr(dev, addr string) {
	h.lab.t.Helper()
	h.Must("ip", "addr", "del", addr, "dev", dev)
}

// DefaultRoute sends everything without a better route to the gateway.
func (h *Host) DefaultRoute(gateway string) {
	h.lab.t.Helper()
	family := "-4"
	if netip.MustParseAddr(gateway).Is6() {
		family = "-6"
	}
	h.Must("ip", family, "route", "replace", "default", "via", gateway)
}

// EnableForwarding makes the host a router for both families.
func (h *Host) EnableForwarding() {
	h.lab.t.Helper()
	h.SetSysctl("ipv4/ip_forward", "1")
	h.SetSysctl("ipv6/conf/all/forwarding", "1")
}

// Masquerade makes the router translate what leaves by the interface to its
// own address, keeping the port where it is free, and drop what comes in by it
// unasked: an ordinary home router. What is for the router itself is dropped too;
// accepted, it would leave a connection entry that takes the port of the machine
// behind it that is about to send the other way.
func (h *Host) Masquerade(outside string) {
	h.lab.t.Helper()
	h.EnableForwarding()
	h.NFT(`
table ip home {
	chain out {
		type nat hook postrouting priority srcnat;
		oifname "` + outside + `" masquerade
	}
	chain forward {
		type filter hook forward priority filter;
		iifname "` + outside + `" ct state != { established, related } drop
	}
	chain in {
		type filter hook input priority filter;
		iifname "` + outside + `" ct state != { established, related } drop
	}
}`)
}

// BlockUDP drops all UDP that enters or leaves the host.
func (h *Host) BlockUDP() {
	h.lab.t.Helper()
	h.NFT(`
table inet noudp {
	chain in { type filter hook input priority filter; meta l4proto udp drop; }
	chain out { type filter hook output priority filter; oifname "lo" accept; meta l4proto udp drop; }
}`)
}

// UnblockUDP undoes BlockUDP.
func (h *Host) UnblockUDP() {
	h.lab.t.Helper()
	h.Must("nft", "delete", "table", "inet", "noudp")
}
