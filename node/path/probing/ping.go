package probing

import (
	"net/netip"
	"slices"
	"time"

	"github.com/ginnel/ginnel/wire/disco"
)

// purpose says what a ping is for.
type purpose uint8

const (
	discovery purpose = iota
	liveCheck
	user
)

// sentPing is a ping without a pong yet.
type sentPing struct {
	txID    disco.TxID
	addr    netip.AddrPort // zero if it went through the relay
	region  int
	at      time.Time
	purpose purpose
}

// maxPings bounds the pings in flight to one peer.
const maxPings = 2 * maxCalled

// ping asks for a ping of addr.
func (m *Machine) ping(now time.Time, addr netip.AddrPort, p purpose, acts []Action) []Action {
	return m.send(sentPing{addr: addr, at: now, purpose: p}, 0, acts)
}

// send gives p a transaction ID, asks for it and notes it.
func (m *Machine) send(p sentPing, size int, acts []Action) []Action {
	if len(m.pings) >= maxPings {
		return acts
	}
	p.txID = m.txID()
	m.pings = append(m.pings, p)
	if p.purpose == user {
		m.userPings++
	}
	return append(acts, Action{Kind: SendPing, Addr: p.addr, Region: p.region, TxID: p.txID, Size: size, User: p.purpose == user})
}

// discover pings a candidate to find out whether it works.
func (m *Machine) discover(now time.Time, c *candidate, acts []Action) []Action {
	c.pinged = now
	return m.ping(now, c.addr, discovery, acts)
}

// expirePings drops the pings that were not answered in time. One of the best path,
// if that is not trusted, ends it.
func (m *Machine) expirePings(now time.Time, acts []Action) []Action {
	n := 0
	for ; n < len(m.pings) && now.Sub(m.pings[n].at) >= PingTimeout; n++ {
		p := m.pings[n]
		if p.purpose == user {
			m.userPings--
			acts = append(acts, Action{Kind: ReportTimeout, TxID: p.txID})
		}
		if p.addr.IsValid() && p.addr == m.best.Addr && !m.trusted(now) {
			m.clearBest()
		}
	}
	m.pings = slices.Delete(m.pings, 0, n)
	return acts
}

// dropPings forgets all pings in flight.
func (m *Machine) dropPings(acts []Action) []Action {
	for _, p := range m.pings {
		if p.purpose == user {
			acts = append(acts, Action{Kind: ReportTimeout, TxID: p.txID})
		}
	}
	m.pings, m.userPings = m.pings[:0], 0
	return acts
}

// dropDirectPings forgets the pings in flight that went straight to the peer. Those
// through the relay do not depend on our sockets.
func (m *Machine) dropDirectPings(acts []Action) []Action {
	m.pings = slices.DeleteFunc(m.pings, func(p sentPing) bool {
		if !p.addr.IsValid() {
			return false
		}
		if p.purpose == user {
			m.userPings--
			acts = append(acts, Action{Kind: ReportTimeout, TxID: p.txID})
		}
		return true
	})
	return acts
}

// takePing removes and returns the ping with the given transaction ID that was sent over
// UDP or, if direct is false, through a relay.
func (m *Machine) takePing(txID disco.TxID, direct bool) (sentPing, bool) {
	i := slices.IndexFunc(m.pings, func(p sentPing) bool { return p.txID == txID && p.addr.IsValid() == direct })
	if i < 0 {
		return sentPing{}, false
	}
	p := m.pings[i]
	m.pings = slices.Delete(m.pings, i, i+1)
	if p.purpose == user {
		m.userPings--
	}
	return p, true
}

// PingReceived says that an authenticated ping of the peer came from src over UDP. It
// reports whether to answer: a copy of a ping gets no second pong.
func (m *Machine) PingReceived(now time.Time, src netip.AddrPort, txID disco.TxID, acts []Action) (reply bool, _ []Action) {
	if !Usable(src) {
		return true, acts
	}
	if m.byAddr[src] == nil {
		m.boundLearned(now)
	}
	c, _ := m.candidate(src)
	if !c.heard.IsZero() && c.heardTx == txID {
		return false, acts
	}
	first := c.heard.IsZero() || now.Sub(c.heard) > SessionActive
	c.heard, c.heardTx = now, txID
	gap := c.pinged.IsZero() || now.Sub(c.pinged) >= CandidateGap
	// A ping that is not answered yet may have come too early: before the peer knew us.
	early := first && c.ponged.Before(c.pinged) && !m.trusted(now)
	if m.cfg.Disco && (gap && (first || m.active && !m.trusted(now)) || early) && m.budget.take(now) {
		acts = m.discover(now, c, acts)
	}
	return true, acts
}

// PongReceived says that an authenticated pong of the peer came from src over UDP.
func (m *Machine) PongReceived(now time.Time, txID disco.TxID, src netip.AddrPort, acts []Action) []Action {
	p, ok := m.takePing(txID, true)
	if !ok {
		return acts
	}
	latency := now.Sub(p.at)
	if p.purpose == user {
		acts = append(acts, Action{Kind: ReportPong, TxID: txID, Addr: p.addr, Latency: latency})
	}
	c := m.byAddr[p.addr]
	if c == nil {
		return acts // withdrawn in the meantime
	}
	c.latency, c.ponged = latency, now
	acts = append(acts, Action{Kind: BindSource, Addr: src})
	q := Quality{Addr: p.addr, Latency: latency}
	if q.Addr != m.best.Addr && (!m.trusted(now) || Better(q, m.best)) {
		m.best = q
	}
	if q.Addr == m.best.Addr {
		m.best.Latency = latency
		m.trustedUntil = now.Add(TrustDuration)
		m.live.heard, m.live.asks = now, 0
	}
	return acts
}

// RelayPongReceived says that an authenticated pong of the peer came through a relay.
func (m *Machine) RelayPongReceived(now time.Time, txID disco.TxID, region int, acts []Action) []Action {
	p, ok := m.takePing(txID, false)
	if !ok || p.purpose != user {
		return acts
	}
	return append(acts, Action{Kind: ReportPong, TxID: txID, Region: region, Latency: now.Sub(p.at)})
}

// CallMeMaybe says that the peer listed its endpoints and waits for our pings. The list
// replaces that of the message before.
func (m *Machine) CallMeMaybe(now time.Time, endpoints []netip.AddrPort, acts []Action) []Action {
	used := m.byAddr[m.best.Addr]
	known := used != nil && (used.called || used.listed)
	was := make(map[*candidate]bool)
	for _, c := range m.candidates {
		if c.called {
			was[c], c.called = true, false
		}
	}
	for _, addr := range endpoints[:min(len(endpoints), maxCalled)] {
		if Usable(addr) {
			c, _ := m.candidate(addr)
			c.called = true
		}
	}
	m.keep(func(c *candidate) bool {
		return c.called || !was[c] || m.best.Addr == c.addr && m.trusted(now)
	})
	for _, c := range m.candidates {
		c.pinged = time.Time{}
	}
	acts = m.round(now, acts)
	if used != nil && m.trusted(now) {
		// The peer calls because something changed for it. If the address in use was one of
		// its own and is not any more, it has moved; else it must answer soon.
		m.live.asked, m.live.asks = now, 1 // by the round just now
		if known && !used.called {
			m.trustedUntil = now
		}
	}
	return acts
}

// UserPing asks for pings on behalf of a user, whatever was sent lately: over the best
// path if that is trusted, else everywhere. size is that of the ping as UDP payload in
// bytes, 0 for no padding. Each ping gets its ReportPong or ReportTimeout.
func (m *Machine) UserPing(now time.Time, size int, acts []Action) []Action {
	acts = m.Sent(now, now, acts)
	if m.trusted(now) {
		return m.send(sentPing{addr: m.best.Addr, at: now, purpose: user}, size, acts)
	}
	if m.cfg.Region != 0 {
		acts = m.send(sentPing{region: m.cfg.Region, at: now, purpose: user}, size, acts)
	}
	for _, c := range m.candidates {
		acts = m.send(sentPing{addr: c.addr, at: now, purpose: user}, size, acts)
	}
	return acts
}

// Candidate describes a candidate for people.
type Candidate struct {
	Addr           netip.AddrPort
	Listed         bool          // in the network map
	Called         bool          // in the peer's last call-me-maybe
	Heard          time.Time     // last ping received from it, zero if never
	Pinged, Ponged time.Time     // last ping sent and pong received, zero if never
	Latency        time.Duration // of that pong
	Best           bool
}

// Candidates lists all candidates.
func (m *Machine) Candidates() []Candidate {
	list := make([]Candidate, 0, len(m.candidates))
	for _, c := range m.candidates {
		list = append(list, Candidate{
			Addr: c.addr, Listed: c.listed, Called: c.called, Heard: c.heard, Pinged: c.pinged, Ponged: c.ponged,
			Latency: c.latency, Best: c.addr == m.best.Addr,
		})
	}
	return list
}

// Best returns the best path, zero if there is none.
func (m *Machine) Best() Quality { return m.best }
