package vnet

import (
	"net/netip"
	"time"
)

// Dependence says on what of the other side's address a NAT's behaviour depends (RFC
// 4787, sections 4.1 and 5).
type Dependence uint8

// The kinds of mapping and filtering.
const (
	EndpointIndependent Dependence = iota
	AddressDependent
	AddressAndPortDependent
)

// Allocation says how a NAT chooses the external port of a new mapping.
type Allocation uint8

// The ways to choose a port.
const (
	// Preserve takes the inner port if that is free, else as Random.
	Preserve Allocation = iota
	// Sequential takes the port that is Step after the last one.
	Sequential
	// Random takes any.
	Random
)

// NAT describes an address translator. The zero value maps and filters independently of
// the endpoint and preserves ports: a full cone.
type NAT struct {
	Mapping, Filtering Dependence
	Ports              Allocation
	// Step is the distance of consecutive ports of Sequential, 0 for 1.
	Step int
	// First and Last bound the external ports; zero means 1024 and 65535.
	First, Last uint16
	// Block, if not 0, gives each inner address that many consecutive ports only, as
	// carriers do.
	Block int
	// Overload lets mappings towards different destinations share an external port, as
	// Linux does.
	Overload bool
	// Timeout is how long a UDP mapping lives after the last packet, 0 for 120 s;
	// Unreplied how long until something came back, 0 for Timeout.
	Timeout, Unreplied time.Duration
	// OutboundOnly says that packets from outside do not prolong a mapping.
	OutboundOnly bool
	// Hairpin lets inner hosts reach each other by their outer addresses.
	Hairpin bool
	// Pool has more outer addresses than the router's own. Inner hosts keep to one
	// unless Unpaired is set.
	Pool     []netip.Addr
	Unpaired bool
	// Max bounds the mappings, 0 for none.
	Max int
}

// The NATs of the matrix in wire document paths, section 23.
var (
	// FullCone is C1.
	FullCone = NAT{}
	// RestrictedCone is C2.
	RestrictedCone = NAT{Filtering: AddressDependent}
	// PortRestrictedCone is C3, what most homes have.
	PortRestrictedCone = NAT{Filtering: AddressAndPortDependent}
	// Symmetric is H: each destination gets a port of its own, anywhere.
	Symmetric = NAT{Mapping: AddressAndPortDependent, Filtering: AddressAndPortDependent, Ports: Random}
	// Linux is masquerading: the port is preserved unless the flow would be ambiguous.
	Linux = NAT{
		Mapping: AddressAndPortDependent, Filtering: AddressAndPortDependent, Overload: true, Unreplied: 30 * time.Second,
	}
)

// flowKey finds the mapping of what an inner host sends. remote is as much of the
// destination as the mapping depends on.
type flowKey struct {
	proto  Proto
	inner  netip.AddrPort
	remote netip.AddrPort
}

// outerKey finds the mappings of an outer address.
type outerKey struct {
	proto Proto
	outer netip.AddrPort
}

// mapping is an entry in a translator's table.
type mapping struct {
	key     flowKey
	outer   netip.AddrPort
	expires time.Time
	replied bool
	opened  map[netip.AddrPort]time.Time // the remotes that may answer, until when
	// fixed marks one that a port mapping protocol opened for everybody; traffic does not
	// prolong it.
	fixed bool
}

// Translator is a NAT or, without translation, a stateful firewall at work.
type Translator struct {
	net       *Network
	kind      NAT
	plain     bool // leaves addresses as they are
	outer     netip.Addr
	dice      *dice
	byFlow    map[flowKey]*mapping
	byOut     map[outerKey][]*mapping
	last      map[netip.Addr]uint16 // the last port of Sequential
	exhausted int                   // packets for which no port was free
	swept     time.Time
}

// newTranslator makes a NAT to the address outer.
func (n *Network) newTranslator(name string, kind NAT, outer netip.Addr) *Translator {
	if kind.First == 0 {
		kind.First = 1024
	}
	if kind.Last == 0 {
		kind.Last = 65535
	}
	if kind.Timeout == 0 {
		kind.Timeout = 120 * time.Second
	}
	if kind.Unreplied == 0 {
		kind.Unreplied = kind.Timeout
	}
	if kind.Step == 0 {
		kind.Step = 1
	}
	t := &Translator{net: n, kind: kind, outer: outer, dice: n.newDice("nat " + name)}
	t.reset()
	return t
}

// newFirewall makes a translator that does not translate.
func (n *Network) newFirewall(name string, filtering Dependence, timeout time.Duration) *Translator {
	t := n.newTranslator(name, NAT{Filtering: filtering, Timeout: timeout}, netip.Addr{})
	t.plain = true
	return t
}

// reset forgets all mappings.
func (t *Translator) reset() {
	t.byFlow, t.byOut, t.last = map[flowKey]*mapping{}, map[outerKey][]*mapping{}, map[netip.Addr]uint16{}
}

// depends returns as much of remote as a behaviour depends on.
func (d Dependence) depends(remote netip.AddrPort) netip.AddrPort {
	switch d {
	case EndpointIndependent:
		return netip.AddrPort{}
	case AddressDependent:
		return netip.AddrPortFrom(remote.Addr(), 0)
	}
	return remote
}

// lifetime returns how long a mapping lives from now on.
func (t *Translator) lifetime(m *mapping) time.Duration {
	switch {
	case m.key.proto == TCP && m.replied:
		return 2 * time.Hour
	case m.key.proto == TCP:
		return 2 * time.Minute
	case m.replied:
		return t.kind.Timeout
	}
	return t.kind.Unreplied
}

// outbound translates a packet that leaves. It returns nil and why if that is not
// possible.
func (t *Translator) outbound(p *Packet) (*Packet, string) {
	if p.isError() {
		return t.outboundError(p)
	}
	now := time.Now()
	t.sweep(now)
	m := t.mapFor(now, p.Proto, p.Src, p.Dst)
	if m == nil {
		t.exhausted++
		return nil, "NAT has no port left"
	}
	if !m.fixed {
		m.expires = now.Add(t.lifetime(m))
		m.opened[t.kind.Filtering.depends(p.Dst)] = m.expires
	}
	if t.plain {
		return p, ""
	}
	q := *p
	q.Src = m.outer
	if p.Proto == ICMP {
		q.Dst = netip.AddrPortFrom(p.Dst.Addr(), m.outer.Port())
	}
	return &q, ""
}

// mapFor returns the mapping for a flow, making one if need be.
func (t *Translator) mapFor(now time.Time, proto Proto, inner, remote netip.AddrPort) *mapping {
	if proto == ICMP {
		remote = netip.AddrPortFrom(remote.Addr(), 0)
	}
	k := flowKey{proto, inner, t.kind.Mapping.depends(remote)}
	if m := t.byFlow[k]; m != nil && now.Before(m.expires) {
		return m
	} else if m != nil {
		t.remove(m)
		delete(t.byFlow, k)
	}
	if t.kind.Max > 0 && len(t.byFlow) >= t.kind.Max {
		return nil
	}
	outer := inner
	if !t.plain {
		var ok bool
		if outer, ok = t.allocate(now, k); !ok {
			return nil
		}
	}
	m := &mapping{key: k, outer: outer, opened: map[netip.AddrPort]time.Time{}}
	t.add(m)
	return m
}

func (t *Translator) add(m *mapping) {
	t.byFlow[m.key] = m
	o := outerKey{m.key.proto, m.outer}
	t.byOut[o] = append(t.byOut[o], m)
}

func (t *Translator) remove(m *mapping) {
	if t.byFlow[m.key] == m {
		delete(t.byFlow, m.key)
	}
	if m.fixed { // the ways back too
		for k, x := range t.byFlow {
			if x == m {
				delete(t.byFlow, k)
			}
		}
	}
	o := outerKey{m.key.proto, m.outer}
	list := t.byOut[o]
	for i, x := range list {
		if x == m {
			list = append(list[:i:i], list[i+1:]...)
			break
		}
	}
	if len(list) == 0 {
		delete(t.byOut, o)
	} else {
		t.byOut[o] = list
	}
}

// sweep removes what has expired, now and then.
func (t *Translator) sweep(now time.Time) {
	if now.Sub(t.swept) < 10*time.Second {
		return
	}
	t.swept = now
	for _, m := range t.byFlow {
		if !now.Before(m.expires) {
			t.remove(m)
		}
	}
}

// inbound translates a packet that arrives. It returns nil and why if nobody waits for it.
func (t *Translator) inbound(p *Packet) (*Packet, string) {
	if p.isError() {
		return t.inboundError(p)
	}
	now := time.Now()
	remote := p.Src
	if p.Proto == ICMP {
		remote = netip.AddrPortFrom(p.Src.Addr(), 0)
	}
	why := "no mapping"
	for _, m := range t.byOut[outerKey{p.Proto, p.Dst}] {
		if !now.Before(m.expires) {
			continue
		}
		until, open := m.opened[t.kind.Filtering.depends(remote)]
		if p.Proto == ICMP {
			until, open = m.opened[t.kind.Filtering.depends(netip.AddrPortFrom(remote.Addr(), m.key.inner.Port()))]
		}
		if !m.fixed && (!open || !now.Before(until)) {
			why = "filtered"
			continue
		}
		m.replied = true
		if m.fixed {
			// What answers goes out the way it came in.
			if back := (flowKey{p.Proto, m.key.inner, t.kind.Mapping.depends(remote)}); t.byFlow[back] == nil {
				t.byFlow[back] = m
			}
		} else if !t.kind.OutboundOnly {
			m.expires = now.Add(t.lifetime(m))
			m.opened[t.kind.Filtering.depends(remote)] = m.expires
		}
		q := *p
		q.Dst = m.key.inner
		if p.Proto == ICMP {
			q.Src = netip.AddrPortFrom(p.Src.Addr(), m.key.inner.Port())
		}
		return &q, ""
	}
	return nil, why
}

// inboundError translates an ICMP error about a packet that left.
func (t *Translator) inboundError(p *Packet) (*Packet, string) {
	for _, m := range t.byOut[outerKey{p.about.Proto, p.about.Src}] {
		if t.kind.Mapping.depends(p.about.Dst) == m.key.remote {
			about, q := *p.about, *p
			about.Src = m.key.inner
			q.about, q.Dst = &about, netip.AddrPortFrom(m.key.inner.Addr(), 0)
			return &q, ""
		}
	}
	return nil, "error about nothing known"
}

// outboundError translates an ICMP error about a packet that arrived.
func (t *Translator) outboundError(p *Packet) (*Packet, string) {
	m := t.byFlow[flowKey{p.about.Proto, p.about.Dst, t.kind.Mapping.depends(p.about.Src)}]
	if m == nil {
		return nil, "error about nothing known"
	}
	about, q := *p.about, *p
	about.Dst = m.outer
	q.about, q.Src = &about, netip.AddrPortFrom(m.outer.Addr(), 0)
	return &q, ""
}
