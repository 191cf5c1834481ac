package filter

import (
	"net/netip"
	"sync/atomic"

	"github.com/ginnel/ginnel/internal/packet"
	"github.com/ginnel/ginnel/wire/control"
)

// Verdict is what is to become of a packet.
type Verdict = packet.Verdict

// Reason says why a packet was dropped. ReasonNone is an accepted packet's.
type Reason uint8

// The reasons for a drop.
const (
	ReasonNone        Reason = iota
	ReasonTooShort           // ends before its headers do
	ReasonUnknown            // headers contradict each other, or unsafe fragment
	ReasonMulticast          // multicast destination
	ReasonLinkLocal          // link-local destination
	ReasonDestination        // destination is not this node's to receive
	ReasonACL                // no rule allows it
	ReasonShieldsUp          // shields are up
	ReasonControl            // node-to-node message from the host
	numReasons
)

var reasonNames = [numReasons]string{
	"accepted", "too_short", "unknown_protocol", "multicast", "link_local_unicast",
	"destination", "acl", "shields_up", "tsmp_from_host",
}

// String returns the reason as it is used in metric labels.
func (r Reason) String() string {
	if r < numReasons {
		return reasonNames[r]
	}
	return "invalid"
}

// Filter runs a Program. It begins with one that accepts no new flow and has no
// local destination. All methods are safe for concurrent use.
type Filter struct {
	program atomic.Pointer[Program]
	flows   *flowTable
	in, out [numReasons]atomic.Uint64
}

// New returns a Filter that accepts nothing.
func New() *Filter {
	f := &Filter{flows: newFlowTable()}
	f.program.Store(&Program{})
	return f
}

// Set makes the filter run p from the next packet on. Flows that the node
// opened stay open, except when shields go up.
func (f *Filter) Set(p *Program) {
	old := f.program.Swap(p)
	if p.shieldsUp && !old.shieldsUp {
		f.flows.clear()
	}
}

// Program returns what the filter runs.
func (f *Filter) Program() *Program { return f.program.Load() }

// CapsFor returns what the peer at src may do to this node.
func (f *Filter) CapsFor(src netip.Addr) control.PeerCapMap { return f.program.Load().CapsFor(src) }

// Dropped returns how many packets were dropped for each reason, from the
// tunnel and from the host.
func (f *Filter) Dropped() (in, out map[Reason]uint64) {
	in, out = map[Reason]uint64{}, map[Reason]uint64{}
	for r := ReasonNone + 1; r < numReasons; r++ {
		if n := f.in[r].Load(); n > 0 {
			in[r] = n
		}
		if n := f.out[r].Load(); n > 0 {
			out[r] = n
		}
	}
	return in, out
}

// In judges a packet that came through the tunnel. An empty packet, WireGuard's
// keep-alive, is accepted. A refused opening of a TCP connection gets a verdict
// that asks to tell its sender.
func (f *Filter) In(pkt []byte) Verdict {
	if len(pkt) == 0 {
		return packet.Accept
	}
	var p packet.Parsed
	reason := precheck(&p, p.Decode(pkt))
	if reason == ReasonNone {
		reason = f.judge(f.program.Load(), &p)
	}
	if reason == ReasonNone {
		return packet.Accept
	}
	f.in[reason].Add(1)
	switch {
	case reason == ReasonACL && p.IsTCPSyn():
		return packet.RefuseACL
	case reason == ReasonShieldsUp && p.IsTCPSyn():
		return packet.RefuseShieldsUp
	}
	return packet.Drop
}

// Out judges a packet that the host sends into the tunnel, and opens the way
// back for it.
func (f *Filter) Out(pkt []byte) Verdict {
	if len(pkt) == 0 {
		return packet.Accept
	}
	var p packet.Parsed
	reason := precheck(&p, p.Decode(pkt))
	if reason == ReasonNone && p.Proto == packet.TSMP {
		reason = ReasonControl // only the node itself speaks it
	}
	if reason != ReasonNone {
		f.out[reason].Add(1)
		return packet.Drop
	}
	if (p.Proto == packet.UDP || p.Proto == packet.SCTP) && p.Fragment != packet.FragmentLater {
		k := makeFlowKey(p.Proto, p.Src, p.SrcPort, p.Dst, p.DstPort)
		f.flows.add(&k)
	}
	return packet.Accept
}

// metadataAddr is a link-local address that is let through, since cloud
// providers serve instance data there and subnet routers forward to it.
var metadataAddr = netip.AddrFrom4([4]byte{169, 254, 169, 254})

// precheck applies what holds for both directions (wire document policy,
// section 7.1, step 3). err is Decode's.
func precheck(p *packet.Parsed, err error) Reason {
	switch {
	case err == packet.ErrTooShort:
		return ReasonTooShort
	case err != nil:
		return ReasonUnknown
	case p.Dst.IsMulticast():
		return ReasonMulticast
	case p.Dst.IsLinkLocalUnicast() && p.Dst != metadataAddr:
		return ReasonLinkLocal
	}
	return ReasonNone
}

// judge applies steps 2 and 4 to 6 of wire document policy, section 7.1, to a
// well-formed inbound packet.
func (f *Filter) judge(g *Program, p *packet.Parsed) Reason {
	if p.IsTCPSyn() && len(g.peerAPI) > 0 && g.hasPeerAPI(netip.AddrPortFrom(p.Dst, p.DstPort)) {
		return ReasonNone
	}
	if !g.isLocal(p.Dst) {
		return ReasonDestination
	}
	if p.Fragment == packet.FragmentLater || p.Proto == packet.TSMP {
		return ReasonNone
	}
	var pass bool
	switch {
	case p.IsICMP():
		pass = p.IsEchoReply() || p.IsICMPError() || g.reaches(p.Src, p.Dst)
	case p.Proto == packet.TCP:
		// Without its opening no connection exists that a later segment
		// could belong to, so segments need no table.
		pass = !p.IsTCPSyn() || g.matches(p.Proto, p.Src, p.Dst, p.DstPort)
	case p.Proto == packet.UDP, p.Proto == packet.SCTP:
		pass = g.matches(p.Proto, p.Src, p.Dst, p.DstPort)
		if !pass {
			k := makeFlowKey(p.Proto, p.Dst, p.DstPort, p.Src, p.SrcPort)
			pass = f.flows.has(&k)
		}
	default:
		pass = g.matchesProtocol(p.Proto, p.Src, p.Dst)
	}
	switch {
	case pass:
		return ReasonNone
	case g.shieldsUp:
		return ReasonShieldsUp
	}
	return ReasonACL
}

// reaches reports whether some rule lets src reach dst at all.
func (g *Program) reaches(src, dst netip.Addr) bool {
	return intersects(g.src.lookup(src), g.dst.lookup(dst))
}

// matches reports whether a rule lets src open a flow to port at dst.
func (g *Program) matches(proto packet.Proto, src, dst netip.Addr, port uint16) bool {
	s, d := g.src.lookup(src), g.dst.lookup(dst)
	for i := first(s, d, 0); i >= 0; i = first(s, d, i+1) {
		if u := &g.units[i]; u.ports.Contains(port) && u.protos.has(proto) {
			return true
		}
	}
	return false
}

// matchesProtocol is matches for a protocol without ports: the rule must name
// it and cover all ports.
func (g *Program) matchesProtocol(proto packet.Proto, src, dst netip.Addr) bool {
	s, d := g.src.lookup(src), g.dst.lookup(dst)
	for i := first(s, d, 0); i >= 0; i = first(s, d, i+1) {
		if u := &g.units[i]; u.allPorts() && u.protos.has(proto) {
			return true
		}
	}
	return false
}

// Allows answers the question that policy tests ask: may src open a flow of the
// protocol to dst? Ports count for TCP, UDP and SCTP only; ICMP is judged as a
// ping. Flows that are open already play no part.
func (g *Program) Allows(proto packet.Proto, src netip.Addr, dst netip.AddrPort) bool {
	if !g.isLocal(dst.Addr()) {
		return false
	}
	switch {
	case proto == packet.ICMPv4 && src.Is4(), proto == packet.ICMPv6 && src.Is6():
		return g.reaches(src, dst.Addr())
	case proto == packet.TCP, proto == packet.UDP, proto == packet.SCTP:
		return g.matches(proto, src, dst.Addr(), dst.Port())
	}
	return g.matchesProtocol(proto, src, dst.Addr())
}
