package portmap

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/ginnel/ginnel/wire/natpmp"
	"github.com/ginnel/ginnel/wire/pcp"
	"github.com/ginnel/ginnel/wire/upnp"
)

// sessionKey is what a session is about. Another port, address or gateway is another
// session.
type sessionKey struct {
	gateway, self netip.Addr
	ifname        string
	port          uint16 // 0 if only asked about what there is
}

// session is the wish for a mapping on one gateway, and what became of it. It belongs to
// the loop.
type session struct {
	m      *Mapper
	key    sessionKey
	nonce  pcp.Nonce
	sock   net.PacketConn // nil until something was sent
	closed bool

	// addressOfPMP is the external address that NAT-PMP told last.
	addressOfPMP netip.Addr

	held    *mapping
	round   *round
	seen    map[Protocol]time.Time
	epochs  map[Protocol]epoch
	devices []candidate // of which one has granted a mapping
	port    uint16      // external port of the last mapping, 0 before

	raceAt  time.Time // next race, zero for none
	raced   time.Time // last one began
	renewed time.Time // last renewal began
	renewAt time.Time // next renewal, while held
	checkAt time.Time // next check, while held
	checked time.Time // last one began
	fails   int       // races that came to nothing, in a row
	misses  int       // checks that were not answered, in a row
}

// epoch is what a gateway said of its age, and when.
type epoch struct {
	value uint32
	at    time.Time
}

// newSession makes a session. old, if there is one, is what it replaces.
func (m *Mapper) newSession(key sessionKey, old *session) *session {
	s := &session{m: m, key: key, seen: map[Protocol]time.Time{}, epochs: map[Protocol]epoch{}}
	h := hmac.New(sha256.New, m.opts.Secret)
	fmt.Fprintf(h, "port mapping %v %v %d", key.gateway, key.self, key.port)
	copy(s.nonce[:], h.Sum(nil))
	if old != nil && old.key.gateway == key.gateway {
		s.seen, s.epochs, s.devices = old.seen, old.epochs, old.devices
	} else if s.ipv4() {
		m.searched, m.searchMore, m.complete = time.Time{}, time.Time{}, false
	}
	if key.port != 0 {
		s.raceAt = time.Now()
	}
	m.log.Debug("gateway", "addr", key.gateway, "self", key.self, "port", key.port)
	return s
}

func (s *session) ipv4() bool { return s.key.gateway.Is4() }

func (s *session) internal() netip.AddrPort { return netip.AddrPortFrom(s.key.self, s.key.port) }

// close ends the session, with or without telling the gateway.
func (s *session) close(release bool) {
	s.closed = true
	s.end()
	if s.held != nil && release {
		s.m.release(s.held)
	}
	s.held = nil
	if s.sock != nil {
		s.sock.Close()
	}
}

// drop takes the mapping back and looks for another.
func (s *session) drop(now time.Time) {
	s.end()
	s.m.release(s.held)
	s.held = nil
	s.raceAt = now
}

// end gives up the round under way.
func (s *session) end() {
	if s.round != nil {
		s.round.wanted.Store(false)
		if sp := s.round.spare; sp != nil {
			s.m.release(sp)
		}
	}
	s.round = nil
}

// moved reacts to a changed network in which gateway and address are the same. It may be
// another one with the same addresses.
func (s *session) moved(now time.Time) {
	switch {
	case s.key.port == 0:
	case s.held != nil:
		s.renewAt = later(s.renewed.Add(renewSpacing), now)
	default:
		s.fails = 0
		s.raceAt = later(s.raced.Add(raceSpacing), now)
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// due returns when tick is to be called next, zero for never.
func (s *session) due() (at time.Time) {
	for _, t := range s.dues() {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	return at
}

func (s *session) dues() []time.Time {
	switch {
	case s.round != nil && s.held != nil:
		return []time.Time{s.round.due(), s.held.expires}
	case s.round != nil:
		return []time.Time{s.round.due()}
	}
	var list []time.Time
	if !s.releasing() {
		list = append(list, s.raceAt)
	}
	if s.held != nil {
		list = append(list, s.renewAt, s.checkAt, s.held.expires)
	}
	return list
}

// releasing reports whether an earlier mapping of the same port is being taken back. A
// race waits for that; its end wakes the loop.
func (s *session) releasing() bool { return s.m.releasing[s.releaseKey()] > 0 }

func (s *session) releaseKey() releaseKey { return releaseKey{s.key.gateway, s.internal()} }

// tick does what is due.
func (s *session) tick(now time.Time) {
	past := func(t time.Time) bool { return !t.IsZero() && !now.Before(t) }
	if s.held != nil && past(s.held.expires) {
		s.m.log.Info("port mapping has expired", "external", s.held.external, "via", s.held.via)
		s.held = nil
		if s.round == nil {
			s.raceAt = now
		}
	}
	if s.round != nil {
		s.round.tick(now)
		return
	}
	switch {
	case past(s.raceAt) && !s.releasing():
		s.begin(race, now)
	case s.held == nil:
	case past(s.renewAt):
		s.begin(renewal, now)
	case past(s.checkAt):
		s.begin(check, now)
	}
}

// begin starts a round.
func (s *session) begin(k kind, now time.Time) {
	s.end()
	r := &round{s: s, kind: k, began: now, nextSend: now}
	r.wanted.Store(true)
	s.round = r
	switch k {
	case race:
		s.raced, s.raceAt = now, time.Time{}
		if s.ipv4() {
			s.m.searched = now
			for _, c := range s.devices {
				r.add(c, now)
			}
		}
	case renewal:
		s.renewed = now
	case check:
		s.checked = now
	}
	r.tick(now)
}

// accept holds a mapping.
func (s *session) accept(mp *mapping, now time.Time) {
	old := s.held
	s.held = mp
	s.port = mp.external.Port()
	s.fails, s.misses = 0, 0
	s.raceAt = time.Time{}
	s.renewAt, s.checkAt = mp.renewAt, now.Add(checkEvery)
	if r := s.round; r != nil && r.spare == mp {
		r.spare = nil
	}
	s.end()
	if old == nil || old.external != mp.external || old.via != mp.via {
		s.m.log.Info("port is mapped", "external", mp.external, "internal", mp.internal, "via", mp.via,
			"double-nat", mp.doubleNAT, "lifetime", mp.expires.Sub(now))
	}
	if old != nil && !samePlace(old, mp) {
		s.m.release(old)
		s.renewAt = now.Add(renewSpacing) // some gateways take back more than they should
	}
}

// samePlace reports whether releasing one mapping would take the other away as well: it is
// the same one, renewed or asked for in another way.
func samePlace(a, b *mapping) bool {
	return a.gateway == b.gateway && a.internal == b.internal &&
		(a.via == b.via && a.via != UPnP || a.external.Port() == b.external.Port())
}

// failed ends a round that brought nothing.
func (s *session) failed(now time.Time) {
	k := s.round.kind
	s.end()
	switch k {
	case race:
		if s.held != nil {
			// Ask again for the one that is still there, more and more often.
			s.renewAt = now.Add(max(s.held.expires.Sub(now)/2, renewRetry))
			return
		}
		wait := backoff[min(s.fails, len(backoff)-1)]
		s.fails++
		s.raceAt = now.Add(wait + time.Duration(rand.Int64N(int64(wait/8))))
		s.m.log.Debug("the gateway maps no port", "gateway", s.key.gateway, "again", s.raceAt.Sub(now))
	case renewal:
		s.m.log.Debug("port mapping is not renewed; asking in other ways", "external", s.held.external, "via", s.held.via)
		s.renewAt = time.Time{}
		s.raceAt = later(s.raced.Add(raceSpacing), now)
	case check:
		s.misses++
		s.checkAt = now.Add(min(checkRetry<<min(s.misses-1, 5), checkEvery))
	}
}

// lost reacts to a gateway that has forgotten its mappings.
func (s *session) lost(now time.Time, why string) {
	if s.held == nil {
		return
	}
	s.m.log.Info("the gateway has lost its port mappings", "gateway", s.key.gateway, "sign", why)
	if s.round != nil && s.round.kind == check {
		s.end()
	}
	s.renewAt = later(s.renewed.Add(renewSpacing), now)
}

// learnEpoch notes a gateway's age, and reports whether it was reset.
func (s *session) learnEpoch(via Protocol, value uint32, now time.Time) (reset bool) {
	old, known := s.epochs[via]
	s.epochs[via] = epoch{value, now}
	if !known {
		return false
	}
	if via == PCP {
		return pcp.Lost(old.value, value, now.Sub(old.at))
	}
	return natpmp.Lost(old.value, value, now.Sub(old.at))
}

// send sends a datagram from the session's socket.
func (s *session) send(b []byte, to netip.AddrPort) {
	if s.closed {
		return
	}
	if s.sock == nil {
		network := "udp4"
		if !s.ipv4() {
			network = "udp6"
		}
		c, err := s.m.opts.ListenPacket(network, s.key.self)
		if err != nil {
			s.m.log.Debug("cannot ask the gateway", "err", err)
			return
		}
		s.sock = c
		s.m.job(func() {
			s.m.read(c, s.packet)
			c.Close()
			s.m.post(func() {
				if s.sock == c {
					s.sock = nil // the next one may do better
				}
			})
		})
	}
	if _, err := s.sock.WriteTo(b, net.UDPAddrFromAddrPort(to)); err != nil {
		s.m.log.Debug("cannot ask the gateway", "to", to, "err", err)
	}
}

// ask sends a datagram to the gateway's port for NAT-PMP and PCP.
func (s *session) ask(b []byte) { s.send(b, netip.AddrPortFrom(s.key.gateway, natpmp.Port)) }

// search asks what there is, in all protocols.
func (s *session) search() {
	s.ask(natpmp.Request{Op: natpmp.OpExternal}.Append(nil))
	s.ask(pcp.Request{Op: pcp.OpAnnounce, Client: s.key.self}.Append(nil))
	s.searchUPnP()
}

// searchUPnP searches gateways: first the one that we know, so that firewalls on this
// machine expect its answer.
func (s *session) searchUPnP() {
	if s.m.now.NoUPnP || !s.ipv4() {
		return
	}
	all := upnp.AppendSearch(nil, upnp.SearchAll, 1)
	group := netip.AddrPortFrom(upnp.SearchGroup, upnp.SearchPort)
	s.send(all, netip.AddrPortFrom(s.key.gateway, upnp.SearchPort))
	s.send(all, group)
	s.send(upnp.AppendSearch(nil, upnp.SearchGateway, 1), group)
}

// packet takes a datagram that came in on the session's socket.
func (s *session) packet(from netip.AddrPort, b []byte) {
	if s.closed {
		return
	}
	now := time.Now()
	gateway := from.Addr() == s.key.gateway.WithZone("")
	switch {
	case gateway && from.Port() == natpmp.Port:
		s.answer(b, now)
	case s.ipv4() && !s.m.now.NoUPnP:
		s.searchAnswer(gateway, b, now)
	}
	s.settle(now)
}

// announced takes an announcement of the IPv4 gateway. It counts for IPv6 too, where the
// gateway has another address.
func (s *session) announced(from netip.AddrPort, b []byte) {
	four := s.m.four
	if s.closed || four == nil || from != netip.AddrPortFrom(four.key.gateway, natpmp.Port) {
		return
	}
	now := time.Now()
	if s == four {
		s.answer(b, now)
		s.settle(now)
	}
	// Whatever it says: something has happened.
	s.checkAt = later(s.checked.Add(renewSpacing), now)
}

// answer takes what came from the gateway's port for NAT-PMP and PCP.
func (s *session) answer(b []byte, now time.Time) {
	r, err := natpmp.ParseResponse(b)
	if err == nil {
		s.answerPMP(r, now)
		return
	}
	if errors.Is(err, natpmp.ErrVersion) {
		var p pcp.Response
		if p, err = pcp.ParseResponse(b); err == nil {
			s.answerPCP(p, now)
			return
		}
	}
	s.m.log.Debug("the gateway's answer is not understood", "gateway", s.key.gateway, "err", err)
}

// searchAnswer takes an answer to a search.
func (s *session) searchAnswer(gateway bool, b []byte, now time.Time) {
	if r := s.round; r != nil {
		if r.heard++; r.heard > maxSearchMsgs {
			return
		}
	}
	a, err := upnp.ParseAnswer(b)
	if err != nil || !a.IsGateway() {
		return
	}
	if gateway {
		s.seen[UPnP] = now
	}
	if s.round != nil && s.round.kind == race {
		// Those that pretend to be somewhere else leave room for the gateway itself.
		if gateway || len(s.round.candidates) < maxCandidates/2 {
			s.round.add(candidate{a, gateway}, now)
		}
	}
}

// release takes a mapping back, aside.
func (m *Mapper) release(mp *mapping) {
	k := releaseKey{mp.gateway, mp.internal}
	total := 0
	for _, n := range m.releasing {
		total += n
	}
	if total >= maxReleases {
		return // it expires by itself
	}
	m.releasing[k]++
	m.job(func() {
		ctx, cancel := context.WithTimeout(context.Background(), releaseTime)
		defer cancel()
		err := m.takeBack(ctx, mp)
		m.log.Debug("port mapping is released", "external", mp.external, "via", mp.via, "err", err)
		m.post(func() {
			if m.releasing[k]--; m.releasing[k] == 0 {
				delete(m.releasing, k)
			}
		})
	})
}

// takeBack asks the gateway to forget a mapping, and waits for the answer.
func (m *Mapper) takeBack(ctx context.Context, mp *mapping) error {
	var b []byte
	switch mp.via {
	case UPnP:
		return m.device(mp.gateway, mp.internal).remove(ctx, mp)
	case PMP:
		b = natpmp.Request{Op: natpmp.OpMapUDP, Internal: mp.internal.Port()}.Append(nil)
	case PCP:
		// The wish must be none, but for the family (RFC 6887, section 15).
		none := netip.IPv4Unspecified()
		if mp.internal.Addr().Is6() {
			none = netip.IPv6Unspecified()
		}
		b = pcp.Request{Op: pcp.OpMap, Client: mp.internal.Addr(), Map: pcp.Map{
			Nonce: mp.nonce, Protocol: pcp.UDP, Internal: mp.internal.Port(), External: netip.AddrPortFrom(none, 0),
		}}.Append(nil)
	}
	network := "udp4"
	if mp.internal.Addr().Is6() {
		network = "udp6"
	}
	c, err := m.opts.ListenPacket(network, mp.internal.Addr())
	if err != nil {
		return err
	}
	defer c.Close()
	buf := make([]byte, pcp.MaxLen+1)
	for wait := firstResend; ctx.Err() == nil && wait < releaseTime/2; wait *= 2 {
		if _, err := c.WriteTo(b, net.UDPAddrFromAddrPort(netip.AddrPortFrom(mp.gateway, natpmp.Port))); err != nil {
			return err
		}
		_ = c.SetReadDeadline(time.Now().Add(wait))
		for {
			n, _, err := c.ReadFrom(buf)
			if err != nil {
				break
			}
			if n >= 2 && buf[1] == b[1]|0x80 {
				return nil
			}
		}
	}
	return errors.New("no answer")
}

func isClosed(err error) bool { return errors.Is(err, net.ErrClosed) }
