package filter

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"go4.org/netipx"

	"github.com/ginnel/ginnel/internal/packet"
	"github.com/ginnel/ginnel/wire/control"
)

// Config is everything that a packet filter depends on.
type Config struct {
	// Rules are the server's rules, all named lists concatenated.
	Rules []control.FilterRule
	// Local are the destinations that this node is willing to receive: its own
	// addresses, the routes it advertises, the service addresses it hosts.
	Local []netip.Prefix
	// Self are the node's own addresses, for capability questions.
	Self []netip.Addr
	// PeerAPI are addresses and TCP ports at which connections are taken from
	// every peer whatever the rules say.
	PeerAPI []netip.AddrPort
	// ShieldsUp refuses every new inbound flow and every capability.
	ShieldsUp bool
	// SourcesWithCap returns the addresses of the peers that have a node
	// capability, for rules with "cap:" sources. If nil there are none.
	SourcesWithCap func(capability string) []netip.Prefix
	// Jailed are the addresses of peers that may open no flow to this node and have no
	// capability, whatever the rules say.
	Jailed []netip.Prefix
	// Unsigned are the addresses of peers outside tailnet lock. They are jailed, and a
	// rule that would let them in is not trusted, nor are the other rules.
	Unsigned []netip.Prefix
}

// Program is a compiled Config. It is immutable and safe for concurrent use.
type Program struct {
	shieldsUp bool
	local     addrTable // one owner: 0
	peerAPI   []netip.AddrPort
	src, dst  addrTable // owners are indexes of units
	units     []unit
	caps      capTable
}

// unit is a part of a rule: the destinations that share one range of ports.
type unit struct {
	ports  control.PortRange
	protos protoSet
}

// protoSet has a bit for each IP protocol number.
type protoSet [4]uint64

func (s *protoSet) add(p int)                { s[p/64] |= 1 << (p % 64) }
func (s *protoSet) has(p packet.Proto) bool  { return s[p/64]&(1<<(p%64)) != 0 }
func defaultProtos() (s protoSet)            { s.add(6); s.add(17); s.add(1); s.add(58); return s }
func (u *unit) allPorts() bool               { return u.ports == control.AllPorts }
func (p *Program) isLocal(a netip.Addr) bool { return p.local.lookup(a).has(0) }
func (p *Program) hasPeerAPI(a netip.AddrPort) bool {
	for _, x := range p.peerAPI {
		if x == a {
			return true
		}
	}
	return false
}

// Compile makes a Program. Entries of rules that cannot be read are left out,
// which can only forbid more; they are named in the error, and the Program is
// usable all the same. Obsolete fields that could widen a rule refuse all rules, and so
// does a rule that lets in Unsigned peers (wire document control, section 6.3).
func Compile(c Config) (*Program, error) {
	p := &Program{shieldsUp: c.ShieldsUp, peerAPI: c.PeerAPI}
	var local netipx.IPSetBuilder
	for _, pfx := range c.Local {
		if pfx.IsValid() {
			local.AddPrefix(pfx)
		}
	}
	var lb tableBuilder
	set, err := local.IPSet()
	if err != nil {
		return p, fmt.Errorf("local prefixes: %w", err)
	}
	lb.add(0, set.Ranges())
	p.local = lb.build(1)
	if c.ShieldsUp {
		return p, nil
	}
	for i, r := range c.Rules {
		if obsolete(r) {
			return p, fmt.Errorf("packet filter rule %d uses obsolete address bits; all rules are ignored", i)
		}
	}
	k := compiler{config: c, program: p}
	for i, r := range c.Rules {
		if len(r.DstPorts) > 0 && k.admitsUnsigned(r.SrcIPs) {
			return &Program{peerAPI: p.peerAPI, local: p.local}, fmt.Errorf(
				"packet filter rule %d lets in peers that tailnet lock does not cover; all rules are ignored", i)
		}
		k.rule(i, r)
	}
	p.src, p.dst = k.src.build(len(p.units)), k.dst.build(len(p.units))
	p.caps.src, p.caps.dst = k.capSrc.build(len(p.caps.grants)), k.capDst.build(len(p.caps.grants))
	p.caps.self = c.Self
	return p, errors.Join(k.errs...)
}

func obsolete(r control.FilterRule) bool {
	if len(r.SrcBits) > 0 {
		return true
	}
	for _, d := range r.DstPorts {
		if d.Bits != nil {
			return true
		}
	}
	return false
}

// compiler carries what grows while the rules are read.
type compiler struct {
	config         Config
	program        *Program
	src, dst       tableBuilder
	capSrc, capDst tableBuilder
	errs           []error
}

func (k *compiler) bad(rule int, err error) {
	k.errs = append(k.errs, fmt.Errorf("packet filter rule %d: %w", rule, err))
}

func (k *compiler) rule(i int, r control.FilterRule) {
	src := k.sources(i, r.SrcIPs)
	if len(src) == 0 {
		return
	}
	if len(r.CapGrant) > 0 {
		if len(r.DstPorts) > 0 {
			k.bad(i, errors.New("has both ports and capabilities; the ports are ignored"))
		}
		k.grants(i, src, r.CapGrant)
		return
	}
	protos, ok := protocols(r.IPProto)
	if !ok {
		return
	}
	for _, group := range k.groupByPorts(i, r.DstPorts) {
		n := len(k.program.units)
		k.program.units = append(k.program.units, unit{group.ports, protos})
		k.src.add(n, src)
		k.dst.add(n, group.ranges)
	}
}

// protocols returns the set that IPProto stands for, and false if it can match
// nothing because none of its numbers is one.
func protocols(numbers []int) (s protoSet, ok bool) {
	if len(numbers) == 0 {
		return defaultProtos(), true
	}
	for _, n := range numbers {
		if n > 0 && n <= 255 {
			s.add(n)
			ok = true
		}
	}
	return s, ok
}

// sources returns the addresses of a rule's sources.
func (k *compiler) sources(i int, texts []string) []netipx.IPRange {
	var b netipx.IPSetBuilder
	for _, t := range texts {
		if name, ok := strings.CutPrefix(t, "cap:"); ok {
			if k.config.SourcesWithCap != nil {
				for _, pfx := range k.config.SourcesWithCap(name) {
					b.AddPrefix(pfx)
				}
			}
			continue
		}
		ranges, err := parseRanges(t)
		if err != nil {
			k.bad(i, fmt.Errorf("source: %w", err))
			continue
		}
		for _, r := range ranges {
			b.AddRange(r)
		}
	}
	for _, list := range [][]netip.Prefix{k.config.Jailed, k.config.Unsigned} {
		for _, pfx := range list {
			if pfx.IsValid() {
				b.RemovePrefix(pfx)
			}
		}
	}
	set, err := b.IPSet()
	if err != nil {
		k.bad(i, fmt.Errorf("sources: %w", err))
		return nil
	}
	return set.Ranges()
}

// admitsUnsigned reports whether one of a rule's sources overlaps the Unsigned peers.
func (k *compiler) admitsUnsigned(texts []string) bool {
	if len(k.config.Unsigned) == 0 {
		return false
	}
	for _, t := range texts {
		var ranges []netipx.IPRange
		if name, ok := strings.CutPrefix(t, "cap:"); ok && k.config.SourcesWithCap != nil {
			for _, pfx := range k.config.SourcesWithCap(name) {
				ranges = append(ranges, netipx.RangeOfPrefix(pfx))
			}
		} else if parsed, err := parseRanges(t); err == nil {
			ranges = parsed
		}
		for _, r := range ranges {
			for _, pfx := range k.config.Unsigned {
				if pfx.IsValid() && r.Overlaps(netipx.RangeOfPrefix(pfx)) {
					return true
				}
			}
		}
	}
	return false
}

type portGroup struct {
	ports  control.PortRange
	ranges []netipx.IPRange
}

// groupByPorts joins the destinations of a rule that share their ports.
func (k *compiler) groupByPorts(i int, dsts []control.NetPortRange) []portGroup {
	builders := map[control.PortRange]*netipx.IPSetBuilder{}
	var order []control.PortRange
	for _, d := range dsts {
		ranges, err := parseRanges(d.IP)
		if err == nil && d.Ports.First > d.Ports.Last {
			err = fmt.Errorf("bad ports %d-%d", d.Ports.First, d.Ports.Last)
		}
		if err != nil {
			k.bad(i, fmt.Errorf("destination: %w", err))
			continue
		}
		b := builders[d.Ports]
		if b == nil {
			b = new(netipx.IPSetBuilder)
			builders[d.Ports] = b
			order = append(order, d.Ports)
		}
		for _, r := range ranges {
			b.AddRange(r)
		}
	}
	var out []portGroup
	for _, ports := range order {
		set, err := builders[ports].IPSet()
		if err != nil {
			k.bad(i, fmt.Errorf("destinations: %w", err))
			continue
		}
		out = append(out, portGroup{ports, set.Ranges()})
	}
	return out
}

func (k *compiler) grants(i int, src []netipx.IPRange, grants []control.CapGrant) {
	for _, g := range grants {
		var b netipx.IPSetBuilder
		for _, pfx := range g.Dsts {
			if pfx.IsValid() {
				b.AddPrefix(pfx)
			}
		}
		set, err := b.IPSet()
		if err != nil {
			k.bad(i, fmt.Errorf("grant: %w", err))
			continue
		}
		n := len(k.program.caps.grants)
		k.program.caps.grants = append(k.program.caps.grants, g)
		k.capSrc.add(n, src)
		k.capDst.add(n, set.Ranges())
	}
}
