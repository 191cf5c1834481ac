package portmap

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/ginnel/ginnel/wire/natpmp"
	"github.com/ginnel/ginnel/wire/pcp"
)

// kind is what a round is for.
type kind uint8

const (
	race    kind = iota // a mapping in whatever way
	renewal             // of the one held
	check               // whether the one held is still there
)

// progress is how far a round is in one protocol.
type progress uint8

const (
	silent  progress = iota // nothing heard
	heard                   // it is spoken
	asked                   // for a mapping
	refused                 // or granted something of no use
	granted
)

// round is an exchange with a gateway.
//
// A race asks in all protocols at once what there is. The first that answers is asked for
// a mapping; the others are as well as soon as that takes longer than it should, or comes
// to nothing. So a good gateway does not get several mappings to be taken back again, which
// some do not survive, and a bad one costs no time.
type round struct {
	s        *session
	kind     kind
	began    time.Time
	sends    int
	nextSend time.Time // zero after the last
	wanted   atomic.Bool

	pmp, pcp progress
	address  bool             // NAT-PMP has told the external one
	pmpGrant *natpmp.Response // waits for the address

	heard      int // messages of searches
	candidates []candidate
	tried      int // of the candidates
	tryAt      time.Time
	busy       bool     // a job asks devices
	spare      *mapping // behind another NAT: better than nothing
}

// due returns when tick is to be called next, zero for never.
func (r *round) due() (at time.Time) {
	over := time.Time{}
	if !r.busy {
		over = r.over()
	}
	for _, t := range []time.Time{r.nextSend, r.tryAt, over} {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	return at
}

// over returns when nothing more is waited for.
func (r *round) over() time.Time { return r.began.Add(searchTime) }

// tick sends what is due, and ends the round if its time is over.
func (r *round) tick(now time.Time) {
	if r.kind != race && r.s.held == nil {
		r.s.begin(race, now) // what was to be renewed has expired
		return
	}
	if !r.nextSend.IsZero() && !now.Before(r.nextSend) {
		r.send(now)
		r.nextSend = time.Time{}
		if r.sends++; r.sends < maxSends {
			r.nextSend = now.Add(firstResend << (r.sends - 1))
		}
	}
	if !r.tryAt.IsZero() && !now.Before(r.tryAt) {
		r.tryAt = time.Time{}
		r.tryDevices(now)
	}
	r.s.settle(now)
}

// uses reports whether the round asks in a protocol.
func (r *round) uses(via Protocol) bool {
	switch {
	case r.kind != race:
		return r.s.held.via == via
	case via == PCP:
		return true
	case via == UPnP:
		return r.s.ipv4() && !r.s.m.now.NoUPnP
	}
	return r.s.ipv4()
}

// send sends each request that is not answered.
func (r *round) send(now time.Time) {
	if r.uses(PMP) && r.pmp < refused {
		if !r.address {
			r.s.ask(natpmp.Request{Op: natpmp.OpExternal}.Append(nil))
		}
		if r.pmp == asked || r.kind == renewal || r.kind == race && r.sends > 0 {
			r.askPMP()
		}
	}
	if r.uses(PCP) && r.pcp < refused {
		if r.kind == check || r.kind == race && r.pcp == silent {
			r.s.ask(pcp.Request{Op: pcp.OpAnnounce, Client: r.s.key.self}.Append(nil))
		}
		if r.pcp == asked || r.kind == renewal || r.kind == race && r.sends > 0 {
			r.askPCP()
		}
	}
	if r.uses(UPnP) {
		switch {
		case r.kind != race && r.sends == 0:
			r.callDevice(now)
		case r.kind == race && r.sends%2 == 0:
			r.s.searchUPnP()
		}
	}
}

// askPMP asks for the mapping by NAT-PMP.
func (r *round) askPMP() {
	r.pmp = asked
	r.s.ask(natpmp.Request{
		Op: natpmp.OpMapUDP, Internal: r.s.key.port, External: r.s.wish(), Lifetime: uint32(lease / time.Second),
	}.Append(nil))
}

// askPCP asks for the mapping by PCP.
func (r *round) askPCP() {
	r.pcp = asked
	address := netip.IPv4Unspecified()
	if !r.s.ipv4() {
		address = netip.IPv6Unspecified()
	}
	if h := r.s.held; h != nil && h.via == PCP {
		address = h.external.Addr()
	}
	r.s.ask(pcp.Request{Op: pcp.OpMap, Lifetime: uint32(lease / time.Second), Client: r.s.key.self, Map: pcp.Map{
		Nonce: r.s.nonce, Protocol: pcp.UDP, Internal: r.s.key.port, External: netip.AddrPortFrom(address, r.s.wish()),
	}}.Append(nil))
}

// wish returns the external port to ask for: that of the last mapping, else the local one.
func (s *session) wish() uint16 {
	if s.port != 0 {
		return s.port
	}
	return s.key.port
}

// answerPMP takes a response of NAT-PMP.
func (s *session) answerPMP(p natpmp.Response, now time.Time) {
	r := s.round
	if r != nil && !r.uses(PMP) {
		r = nil
	}
	if p.Result == natpmp.UnsupportedVersion {
		// It was asked in PCP, and speaks only this.
		if s.round != nil && s.round.pcp < refused {
			s.round.pcp = refused
		}
		return
	}
	if p.Result != natpmp.Success {
		if r != nil && r.pmp < refused && p.Op != natpmp.OpMapTCP && p.Result != natpmp.NetworkFailure {
			s.m.log.Debug("the gateway refuses NAT-PMP", "result", p.Result)
			r.pmp = refused
		}
		return
	}
	s.seen[PMP] = now
	reset := s.learnEpoch(PMP, p.Epoch, now)
	switch p.Op {
	case natpmp.OpExternal:
		s.addressPMP(r, p, reset, now)
	case natpmp.OpMapUDP:
		switch {
		case p.Lifetime == 0 && p.External == 0: // something was released
		case r != nil && r.kind != check && r.pmp < refused:
			r.pmpGrant = &p
			r.grantPMP(now)
		default:
			s.lateGrant(s.grantOfPMP(p), now)
		}
	}
}

// addressPMP takes the external address.
func (s *session) addressPMP(r *round, p natpmp.Response, reset bool, now time.Time) {
	s.addressOfPMP = p.Address
	switch {
	case r != nil && r.kind != check:
		r.address = true
		if r.pmp == silent {
			r.pmp = heard
			if r.pcp != asked {
				r.askPMP()
			}
		}
		r.grantPMP(now)
	case s.held == nil || s.held.via != PMP:
		if reset {
			s.lost(now, "NAT-PMP epoch")
		}
	default:
		if r != nil {
			r.pmp = granted // the check is answered
		}
		if reset {
			s.lost(now, "NAT-PMP epoch")
		} else if p.Address != s.held.external.Addr() {
			s.lost(now, "external address has changed")
		}
	}
}

// grantPMP puts the two halves of a grant together.
func (r *round) grantPMP(now time.Time) {
	if r.pmpGrant == nil || !r.address {
		return
	}
	p := r.pmpGrant
	r.pmpGrant = nil
	r.pmp = granted
	if !r.grant(r.s.grantOfPMP(*p), now) {
		r.pmp = refused
	}
}

// grantOfPMP completes a response with the address that was heard last.
func (s *session) grantOfPMP(p natpmp.Response) grant {
	return grant{
		via: PMP, internal: netip.AddrPortFrom(s.key.self, p.Internal), external: netip.AddrPortFrom(s.addressOfPMP, p.External),
		lifetime: time.Duration(p.Lifetime) * time.Second,
	}
}

func (s *session) grantOfPCP(p pcp.Response) grant {
	return grant{
		via: PCP, internal: netip.AddrPortFrom(s.key.self, p.Map.Internal), external: p.Map.External,
		lifetime: time.Duration(p.Lifetime) * time.Second,
	}
}

// answerPCP takes a response of PCP.
func (s *session) answerPCP(p pcp.Response, now time.Time) {
	r := s.round
	if r != nil && !r.uses(PCP) {
		r = nil
	}
	if p.Result == pcp.UnsuppVersion {
		// It was asked in NAT-PMP, and speaks only this.
		if s.round != nil && s.round.pmp < refused {
			s.round.pmp = refused
		}
		return
	}
	ours := p.Map.Nonce == s.nonce && p.Map.Protocol == pcp.UDP
	if p.Result != pcp.Success {
		// An error need not say which request it is about.
		if r != nil && r.pcp < refused && (ours || p.Map == pcp.Map{}) && p.Op != pcp.OpAnnounce {
			s.m.log.Debug("the gateway refuses PCP", "result", p.Result)
			r.pcp = refused
		}
		return
	}
	if p.Op == pcp.OpMap && !ours {
		s.m.log.Debug("the gateway's PCP answer is not to our question")
		return
	}
	s.seen[PCP] = now
	reset := s.learnEpoch(PCP, p.Epoch, now)
	switch {
	case p.Op == pcp.OpAnnounce:
		if r != nil && r.kind == check {
			r.pcp = granted
		}
		if r != nil && r.kind == race && r.pcp == silent {
			r.pcp = heard
			if r.pmp != asked {
				r.askPCP()
			}
		}
		if reset {
			s.lost(now, "PCP epoch")
		}
	case p.Lifetime == 0: // a mapping was released
	case r != nil && r.kind != check && r.pcp < refused:
		r.pcp = granted
		if !r.grant(s.grantOfPCP(p), now) {
			r.pcp = refused
		}
	default:
		s.lateGrant(s.grantOfPCP(p), now)
	}
}

// grant takes what a gateway granted. It reports whether that is of any use.
func (r *round) grant(g grant, now time.Time) bool {
	s := r.s
	mp, err := s.judge(g, now)
	switch {
	case err != nil:
		s.m.log.Warn("the gateway's port mapping is of no use", "gateway", s.key.gateway, "via", g.via, "err", err)
		if s.held == nil || !samePlace(s.held, mp) {
			s.m.release(mp)
		}
		return false
	case mp.doubleNAT && r.kind == race && r.spare == nil:
		r.spare = mp
	case mp.doubleNAT && r.kind == race:
		if !samePlace(r.spare, mp) {
			s.m.release(mp)
		}
	default:
		if r.spare != nil && samePlace(r.spare, mp) {
			r.spare = nil
		}
		s.accept(mp, now)
	}
	return true
}

// lateGrant takes a mapping that came when no round waited for it: a slow gateway's, which
// is welcome if there is none, or one of the losers of a race, which is taken back.
func (s *session) lateGrant(g grant, now time.Time) {
	mp, err := s.judge(g, now)
	switch {
	case s.held == nil && s.round != nil || s.held != nil && samePlace(s.held, mp):
	case s.held == nil && !s.closed && err == nil:
		s.accept(mp, now)
	default:
		s.m.log.Debug("a port mapping came too late", "external", g.external, "via", g.via)
		s.m.release(mp)
		if s.held != nil {
			s.renewAt = now.Add(renewSpacing) // some gateways take back more than they should
		}
	}
}

// settle ends the round if it has come to something, or cannot any more.
func (s *session) settle(now time.Time) {
	r := s.round
	if r == nil {
		return
	}
	late := !now.Before(r.over())
	switch {
	case r.kind != race:
		s.settleOne(r, late, now)
	case r.busy || !r.tryAt.IsZero():
	case !late && r.uses(UPnP) || !late && (r.pmp < refused && r.uses(PMP) || r.pcp < refused):
		r.hedge()
	case r.spare != nil:
		s.accept(r.spare, now)
	default:
		s.failed(now)
	}
}

// hedge asks in a protocol that is spoken when the one that was asked first came to
// nothing.
func (r *round) hedge() {
	if r.pmp == heard && r.pcp >= refused {
		r.askPMP()
	}
	if r.pcp == heard && r.pmp >= refused {
		r.askPCP()
	}
}

// settleOne ends a renewal or a check. A grant has ended the renewal already.
func (s *session) settleOne(r *round, late bool, now time.Time) {
	p := r.pmp
	if r.uses(PCP) {
		p = r.pcp
	}
	switch {
	case r.uses(UPnP): // its job ends it
	case r.kind == check && p == granted:
		s.misses, s.checkAt = 0, now.Add(checkEvery)
		s.end()
	case late || p == refused:
		s.failed(now)
	}
}
