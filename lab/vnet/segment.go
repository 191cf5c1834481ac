package vnet

import (
	"fmt"
	"net/netip"
)

// Segment is what devices are plugged into: a LAN, or the internet itself.
type Segment struct {
	net  *Network
	name string
	// core marks the internet: every address is on it, nobody needs a gateway.
	core     bool
	isolated bool
	ports    []*Port
	routes   []route // of a core, most specific first
}

// route leads a prefix to a port.
type route struct {
	prefix netip.Prefix
	port   *Port
}

// Port is the interface by which a host is plugged into a segment.
type Port struct {
	host     *Host
	seg      *Segment
	name     string
	addrs    []netip.Prefix
	gateways []netip.Addr // at most one per family
	up       bool
	out, in  *pipe
}

// Internet makes a segment that reaches every address plugged into it.
func (n *Network) Internet(name string) *Segment { return n.segment(name, true) }

// LAN makes a segment whose hosts reach each other and, through a gateway, others.
func (n *Network) LAN(name string) *Segment { return n.segment(name, false) }

func (n *Network) segment(name string, core bool) *Segment {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := &Segment{net: n, name: name, core: core}
	n.segments = append(n.segments, s)
	return s
}

// Isolate keeps hosts of a LAN from each other; they reach routers only.
func (s *Segment) Isolate() {
	s.net.mu.Lock()
	defer s.net.mu.Unlock()
	s.isolated = true
}

// Route leads a prefix of the internet to a host plugged into it.
func (s *Segment) Route(prefix netip.Prefix, p *Port) {
	s.net.mu.Lock()
	defer s.net.mu.Unlock()
	i := 0
	for i < len(s.routes) && s.routes[i].prefix.Bits() >= prefix.Bits() {
		i++
	}
	s.routes = append(s.routes[:i], append([]route{{prefix, p}}, s.routes[i:]...)...)
}

// owner returns the port that gets what is sent to addr.
func (s *Segment) owner(addr netip.Addr) *Port {
	for _, p := range s.ports {
		if p.up && p.has(addr) {
			return p
		}
	}
	for _, r := range s.routes {
		if r.port.up && r.port.seg == s && r.prefix.Contains(addr) {
			return r.port
		}
	}
	return nil
}

// has reports whether addr is one of the port's.
func (p *Port) has(addr netip.Addr) bool {
	for _, a := range p.addrs {
		if a.Addr() == addr {
			return true
		}
	}
	return false
}

// addr returns the port's address of a family, for use as a source.
func (p *Port) addr(v4 bool) netip.Addr {
	for _, a := range p.addrs {
		if a.Addr().Is4() == v4 {
			return a.Addr()
		}
	}
	return netip.Addr{}
}

// send puts a packet onto the segment towards the host that has the address hop. It
// returns why the packet is lost, or "", as far as that is known at once.
func (p *Port) send(hop netip.Addr, pkt *Packet) (lost string) {
	if !p.up {
		return "interface down"
	}
	if pkt.Size() > p.out.mtu() {
		return "too big"
	}
	lost = p.out.send(pkt, func(pkt *Packet) { p.seg.carry(p, hop, pkt) })
	p.host.net.record(p, pkt, lost)
	return lost
}

// carry brings a packet that is on the segment to who gets it.
func (s *Segment) carry(from *Port, hop netip.Addr, pkt *Packet) {
	if hop.IsMulticast() {
		for _, p := range s.ports {
			if p != from && p.up && s.joins(from, p) {
				s.deliver(p, pkt)
			}
		}
		return
	}
	p := s.owner(hop)
	if p == nil || p == from || !s.joins(from, p) {
		s.net.record(from, pkt, fmt.Sprintf("nobody at %v on %s", hop, s.name))
		return
	}
	s.deliver(p, pkt)
}

// joins reports whether the segment lets two ports talk.
func (s *Segment) joins(a, b *Port) bool {
	return !s.isolated || a.host.router != nil || b.host.router != nil
}

func (s *Segment) deliver(p *Port, pkt *Packet) {
	lost := p.in.send(pkt, func(pkt *Packet) {
		if p.up {
			p.host.receive(p, pkt)
		}
	})
	if lost == "" {
		return
	}
	s.net.record(p, pkt, lost)
	if lost == "too big" && !p.in.link.Silent && s.core {
		// The router before the narrow line says so.
		if e := icmpError(p.addr(pkt.Dst.Addr().Is4()), pkt, tooBig, p.in.mtu()); e != nil {
			p.host.forwardError(e)
		}
	}
}
