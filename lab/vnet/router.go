package vnet

import (
	"net/netip"
	"slices"
	"time"
)

// Router is a host that forwards between an inner and an outer side. What it does on the
// way is set by its methods; without any it only forwards.
type Router struct {
	*Host
	inner   []*Port
	outer   *Port
	nat4    *Translator // nil: IPv4 is not translated
	wall4   *Translator // stateful firewalls, nil for none
	wall6   *Translator
	nat64   *Translator
	prefix  netip.Prefix // of NAT64
	blocked func(*Packet) bool
	reject  bool
	portal  netip.AddrPort // of the captive portal's web server, not valid if open
	// disguise has, for connections to the portal, the address that was meant.
	disguise map[connKey]netip.AddrPort
}

// Router makes a router that is plugged in nowhere.
func (n *Network) Router(name string) *Router {
	r := &Router{Host: n.Host(name)}
	n.mu.Lock()
	defer n.mu.Unlock()
	r.router = r
	return r
}

// Outside plugs the router's outer side into a segment.
func (r *Router) Outside(s *Segment, l Link, addrs ...netip.Prefix) *Port {
	p := r.Plug(s, l, addrs...)
	r.outer = p
	return p
}

// Inside plugs the router's inner side into a segment.
func (r *Router) Inside(s *Segment, addrs ...netip.Prefix) *Port {
	p := r.Plug(s, Link{}, addrs...)
	r.inner = append(r.inner, p)
	return p
}

// Translate makes the router translate IPv4 to the address of its outer side.
func (r *Router) Translate(kind NAT) *Router {
	r.edit(func() {
		r.nat4 = r.net.newTranslator(r.name, kind, r.outer.addr(true))
		for _, a := range kind.Pool {
			r.outer.addrs = append(r.outer.addrs, netip.PrefixFrom(a, 32))
		}
	})
	return r
}

// Firewall lets in only what belongs to flows from inside. It forgets flows after idle,
// 0 meaning 120 s.
func (r *Router) Firewall(filtering Dependence, idle time.Duration) *Router {
	r.edit(func() {
		r.wall4 = r.net.newFirewall(r.name+" 4", filtering, idle)
		r.wall6 = r.net.newFirewall(r.name+" 6", filtering, idle)
	})
	return r
}

// Firewall6 is Firewall for IPv6 only, as a router at home has it beside its NAT.
func (r *Router) Firewall6(filtering Dependence, idle time.Duration) *Router {
	r.edit(func() { r.wall6 = r.net.newFirewall(r.name+" 6", filtering, idle) })
	return r
}

// NAT64 translates what goes to prefix, a /96, to the IPv4 address at its end.
func (r *Router) NAT64(prefix netip.Prefix, kind NAT) *Router {
	r.edit(func() {
		r.prefix = prefix
		r.nat64 = r.net.newTranslator(r.name+" 64", kind, r.outer.addr(true))
	})
	return r
}

// Block drops, or with reject refuses, what comes from inside and matches.
func (r *Router) Block(reject bool, match func(*Packet) bool) *Router {
	r.edit(func() { r.blocked, r.reject = match, reject })
	return r
}

// IsUDP matches UDP other than DNS.
func IsUDP(p *Packet) bool { return p.Proto == UDP && p.Dst.Port() != dnsPort }

// NotWeb matches all but TCP to the ports of the web, and DNS.
func NotWeb(p *Packet) bool {
	if p.Proto == TCP {
		return p.Dst.Port() != 80 && p.Dst.Port() != 443
	}
	return p.Dst.Port() != dnsPort
}

// Reboot makes the router forget all flows and mappings.
func (r *Router) Reboot() {
	r.edit(func() {
		for _, t := range []*Translator{r.nat4, r.wall4, r.wall6, r.nat64} {
			if t != nil {
				t.reset()
			}
		}
	})
}

// Renumber gives the outer side of a router that translates another IPv4 address. All
// mappings are forgotten.
func (r *Router) Renumber(addr netip.Addr) {
	r.edit(func() {
		old := r.outer.addr(true)
		addrs := slices.Clone(r.outer.addrs)
		for i, a := range addrs {
			if a.Addr() == old {
				addrs[i] = netip.PrefixFrom(addr, a.Bits())
			}
		}
		r.outer.addrs = addrs
		for _, t := range []*Translator{r.nat4, r.nat64} {
			if t != nil {
				t.outer = addr
				t.reset()
			}
		}
	})
	r.changed()
}

// Mappings returns how many entries the IPv4 translator has, and how many packets found
// no port.
func (r *Router) Mappings() (entries, exhausted int) {
	r.edit(func() {
		if r.nat4 != nil {
			entries, exhausted = len(r.nat4.byFlow), r.nat4.exhausted
		}
	})
	return entries, exhausted
}

// MapPort opens an outer port for an inner address, as a person or a port mapping
// protocol does. wanted 0 takes any port. It returns the outer address, not valid if
// there is none.
func (r *Router) MapPort(proto Proto, inner netip.AddrPort, wanted uint16, lifetime time.Duration) (outer netip.AddrPort) {
	r.edit(func() {
		if r.nat4 != nil {
			outer = r.nat4.open(proto, inner, wanted, lifetime)
		}
	})
	return outer
}

// UnmapPort takes back what MapPort opened.
func (r *Router) UnmapPort(proto Proto, inner netip.AddrPort) {
	r.edit(func() {
		if r.nat4 == nil {
			return
		}
		if m := r.nat4.byFlow[flowKey{proto: proto, inner: inner}]; m != nil && m.fixed {
			r.nat4.remove(m)
		}
	})
}

func (r *Router) edit(f func()) {
	r.net.mu.Lock()
	defer r.net.mu.Unlock()
	f()
}

// take handles a packet that arrived. It reports false for one that is for the router
// itself.
func (r *Router) take(p *Port, pkt *Packet) bool {
	if pkt.Dst.Addr().IsMulticast() {
		return p == r.outer
	}
	if p == r.outer {
		return r.fromOutside(p, pkt)
	}
	return r.fromInside(p, pkt)
}

// fromOutside handles a packet that came in on the outer side.
func (r *Router) fromOutside(p *Port, pkt *Packet) bool {
	why := ""
	v4 := pkt.Dst.Addr().Is4()
	for _, t := range []*Translator{r.nat4, r.nat64} {
		if t == nil || !v4 {
			continue
		}
		in, lost := t.inbound(pkt)
		if in == nil {
			why = lost
			continue
		}
		if t == r.nat64 {
			in = r.widen(in)
		}
		r.forward(p, pkt, in)
		return true
	}
	if r.owns(pkt.Dst.Addr()) {
		if v4 && r.nat4 != nil && !r.expects(pkt) {
			r.net.record(p, pkt, why)
			return true
		}
		return false
	}
	wall := r.wall6
	if v4 {
		wall = r.wall4
	}
	if wall != nil {
		if in, lost := wall.inbound(pkt); in == nil {
			r.net.record(p, pkt, lost)
			return true
		}
	}
	r.forward(p, pkt, pkt)
	return true
}

// expects reports whether the router itself has a use for a packet from outside.
func (r *Router) expects(pkt *Packet) bool {
	wildcard := socketKey{v6: pkt.Dst.Addr().Is6(), port: pkt.Dst.Port()}
	bound := wildcard
	bound.addr = pkt.Dst.Addr()
	switch pkt.Proto {
	case UDP:
		return r.udp[wildcard] != nil || r.udp[bound] != nil
	case TCP:
		return r.tcp[connKey{pkt.Dst, pkt.Src}] != nil || r.listener(pkt.Dst) != nil
	}
	return true
}

// widen gives a packet that NAT64 let in its IPv6 source.
func (r *Router) widen(p *Packet) *Packet {
	q := *p
	q.Src = netip.AddrPortFrom(Synthesize(r.prefix, p.Src.Addr()), p.Src.Port())
	return &q
}

// Synthesize returns the IPv6 address that stands for an IPv4 address behind a /96 prefix
// of NAT64 (RFC 6052).
func Synthesize(prefix netip.Prefix, v4 netip.Addr) netip.Addr {
	b, a := prefix.Addr().As16(), v4.As4()
	copy(b[12:], a[:])
	return netip.AddrFrom16(b)
}

// fromInside handles a packet that came in on an inner side.
func (r *Router) fromInside(p *Port, pkt *Packet) bool {
	dst := pkt.Dst.Addr()
	if r.nat4 != nil && dst.Is4() && (dst == r.nat4.outer || contains(r.nat4.kind.Pool, dst)) {
		return r.hairpin(p, pkt)
	}
	if r.owns(dst) {
		return false
	}
	if r.toInside(dst) {
		r.forward(p, pkt, pkt)
		return true
	}
	if r.portal.IsValid() && r.capture(p, pkt) {
		return true
	}
	if r.blocked != nil && r.blocked(pkt) {
		r.net.record(p, pkt, "blocked")
		if r.reject {
			if e := icmpError(p.addr(dst.Is4()), pkt, prohibited, 0); e != nil {
				r.forwardError(e)
			}
		}
		return true
	}
	out, lost := pkt, ""
	switch {
	case r.nat64 != nil && r.prefix.Contains(dst):
		q := *pkt
		b := dst.As16()
		q.Dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[12:])), pkt.Dst.Port())
		out, lost = r.nat64.outbound(&q)
	case dst.Is4() && r.nat4 != nil:
		out, lost = r.nat4.outbound(pkt)
	case dst.Is4() && r.wall4 != nil:
		out, lost = r.wall4.outbound(pkt)
	case dst.Is6() && r.wall6 != nil:
		out, lost = r.wall6.outbound(pkt)
	}
	if out == nil {
		r.net.record(p, pkt, lost)
		return true
	}
	r.forward(p, pkt, out)
	return true
}

func contains(list []netip.Addr, a netip.Addr) bool {
	for _, x := range list {
		if x == a {
			return true
		}
	}
	return false
}

// hairpin handles a packet from inside to an outer address of the NAT.
func (r *Router) hairpin(p *Port, pkt *Packet) bool {
	if !r.nat4.kind.Hairpin {
		r.net.record(p, pkt, "no hairpin")
		return true
	}
	out, lost := r.nat4.outbound(pkt)
	if out != nil {
		if out, lost = r.nat4.inbound(out); out != nil {
			r.forward(p, pkt, out)
			return true
		}
	}
	r.net.record(p, pkt, lost)
	return true
}

// toInside reports whether an address is on an inner side.
func (r *Router) toInside(a netip.Addr) bool {
	for _, p := range r.inner {
		for _, x := range p.addrs {
			if x.Masked().Contains(a) {
				return true
			}
		}
	}
	return false
}

// forward sends a packet, which arrived as came, on its way.
func (r *Router) forward(from *Port, came, pkt *Packet) {
	if pkt.TTL <= 1 {
		r.net.record(from, pkt, "time to live exceeded")
		return
	}
	q := *pkt
	q.TTL--
	p, hop := r.way(q.Dst.Addr())
	if p == nil {
		r.net.record(from, pkt, "no route")
		if e := icmpError(from.addr(came.Src.Addr().Is4()), came, hostUnreachable, 0); e != nil {
			r.forwardError(e)
		}
		return
	}
	if lost := p.send(hop, &q); lost == "too big" && !p.out.link.Silent {
		if e := icmpError(from.addr(came.Src.Addr().Is4()), came, tooBig, p.out.mtu()); e != nil {
			r.forwardError(e)
		}
	}
}
