package vnet

import (
	"net/netip"
	"time"
)

// External returns the IPv4 address that the router translates to, not valid if it does
// not translate.
func (r *Router) External() (a netip.Addr) {
	r.edit(func() {
		if r.nat4 != nil {
			a = r.nat4.outer
		}
	})
	return a
}

// OpenPinhole lets everybody in to an inner IPv6 address and port, as a port mapping
// protocol does. It reports false if there is no IPv6 firewall.
func (r *Router) OpenPinhole(proto Proto, inner netip.AddrPort, lifetime time.Duration) (ok bool) {
	r.edit(func() {
		if r.wall6 == nil {
			return
		}
		k := flowKey{proto: proto, inner: inner}
		m := r.wall6.byFlow[k]
		if m == nil || !m.fixed {
			if m != nil {
				r.wall6.remove(m)
			}
			m = &mapping{key: k, outer: inner, fixed: true, opened: map[netip.AddrPort]time.Time{}}
			r.wall6.add(m)
		}
		m.expires = time.Now().Add(lifetime)
		ok = true
	})
	return ok
}

// ClosePinhole takes back what OpenPinhole opened.
func (r *Router) ClosePinhole(proto Proto, inner netip.AddrPort) {
	r.edit(func() {
		if r.wall6 == nil {
			return
		}
		if m := r.wall6.byFlow[flowKey{proto: proto, inner: inner}]; m != nil && m.fixed {
			r.wall6.remove(m)
		}
	})
}

// Announce sends a datagram to a multicast address on all inner sides.
func (r *Router) Announce(from, group netip.AddrPort, data []byte) {
	r.edit(func() {
		for _, p := range r.inner {
			p.send(group.Addr(), &Packet{Proto: UDP, Src: from, Dst: group, TTL: 1, Data: append([]byte(nil), data...)})
		}
	})
}
