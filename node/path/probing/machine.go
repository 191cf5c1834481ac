package probing

import (
	"net/netip"
	"time"

	"github.com/ginnel/ginnel/wire/disco"
)

// Config is what the network map says of a peer.
type Config struct {
	// Endpoints are its UDP addresses.
	Endpoints []netip.AddrPort
	// Region is its home relay region, 0 if unknown.
	Region int
	// Disco says that the peer has a disco key. One without is reached through the relay
	// only, or, if Fixed is set too, at its first endpoint only.
	Disco bool
	// Fixed marks a peer that speaks nothing but WireGuard.
	Fixed bool
}

// Machine finds the best path to one peer. The zero value is not usable; see New.
type Machine struct {
	cfg  Config
	txID func() disco.TxID

	candidates []*candidate // in the order in which they became known
	byAddr     map[netip.AddrPort]*candidate
	pings      []sentPing // in the order sent

	best         Quality
	trustedUntil time.Time
	lastRound    time.Time // last full round
	lastCall     time.Time // last call-me-maybe asked for

	lastSend  time.Time // zero if never
	active    bool      // a session: sent within SessionActive as far as known
	heartbeat time.Time // next heartbeat while active
	userPings int       // pings of purpose user among pings
	budget    budget    // of discovery pings
	live      liveness
}

// New returns the machine for a peer. txID makes random transaction IDs.
func New(cfg Config, txID func() disco.TxID) *Machine {
	m := &Machine{txID: txID}
	m.setConfig(cfg)
	return m
}

// setConfig stores cfg and marks which candidates are listed.
func (m *Machine) setConfig(cfg Config) (added bool) {
	m.cfg = cfg
	for _, c := range m.candidates {
		c.listed = false
	}
	for _, addr := range cfg.Endpoints {
		if !Usable(addr) {
			continue
		}
		c, isNew := m.candidate(addr)
		c.listed = true
		added = added || isNew
	}
	return added
}

// Configure takes a new configuration. Endpoints that are new get pinged at once if
// they are needed.
func (m *Machine) Configure(now time.Time, cfg Config, acts []Action) []Action {
	added := m.setConfig(cfg)
	m.prune(now)
	if !cfg.Disco {
		m.active, m.live = false, liveness{}
		m.clearBest()
		return m.dropPings(acts)
	}
	if added && m.active && !m.trusted(now) {
		// Its NAT may let our pings in only after it has sent some to us.
		acts = m.call(now, m.round(now, acts))
	}
	return acts
}

// Route returns where to send data now.
func (m *Machine) Route() Route {
	r := Route{
		Addr: m.best.Addr, TrustedUntil: m.trustedUntil, Region: m.cfg.Region,
		Active: m.active || !m.cfg.Disco, Flowing: m.live.flowing || !m.cfg.Disco,
	}
	if m.cfg.Fixed && !m.cfg.Disco && len(m.cfg.Endpoints) > 0 {
		r.Addr, r.TrustedUntil, r.Active = m.cfg.Endpoints[0], farFuture, true
	}
	return r
}

// farFuture is a time that no node lives to see.
var farFuture = time.Unix(1<<40, 0)

// Deadline returns when Tick is to be called next, zero for never.
func (m *Machine) Deadline() time.Time {
	var d time.Time
	earliest := func(t time.Time) {
		if d.IsZero() || t.Before(d) {
			d = t
		}
	}
	if len(m.pings) > 0 {
		earliest(m.pings[0].at.Add(PingTimeout))
	}
	if m.active {
		earliest(m.heartbeat)
		seek := m.lastRound.Add(CandidateGap)
		if call := m.lastCall.Add(CandidateGap); m.cfg.Region != 0 && call.Before(seek) {
			seek = call
		}
		if m.best.Addr.IsValid() {
			seek = maxTime(m.trustedUntil, seek)
		}
		earliest(seek)
		if t := m.liveDeadline(); !t.IsZero() {
			earliest(t)
		}
	}
	return d
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Tick does what is due.
func (m *Machine) Tick(now time.Time, acts []Action) []Action {
	acts = m.expirePings(now, acts)
	if !m.active {
		return acts
	}
	if now.Sub(m.lastSend) > SessionActive {
		m.active, m.live = false, liveness{}
		return acts
	}
	if !now.Before(m.heartbeat) {
		m.heartbeat = now.Add(HeartbeatInterval)
		if m.best.Addr.IsValid() && m.live.asks == 0 {
			acts = m.ask(now, acts)
		}
	}
	acts = m.watch(now, acts)
	return m.seek(now, acts)
}

// seek looks for a better path if one is wanted and that was not done just now.
func (m *Machine) seek(now time.Time, acts []Action) []Action {
	wanted := m.roundWanted(now)
	if wanted && now.Sub(m.lastRound) >= CandidateGap {
		acts = m.round(now, acts)
	}
	// A round that the peer asked for does not stand in for our own call: it may not know
	// where we are now.
	if wanted && !m.trusted(now) {
		acts = m.call(now, acts)
	}
	return acts
}

// Sent says that data was last sent to the peer at the given time.
func (m *Machine) Sent(now, at time.Time, acts []Action) []Action {
	if at.After(m.lastSend) {
		m.lastSend = at
	}
	if !m.cfg.Disco || now.Sub(m.lastSend) > SessionActive {
		return acts
	}
	if !m.live.flowing && now.Sub(m.lastSend) < FlowDuration {
		m.live.flowing = true
		acts = m.watch(now, acts)
	}
	if m.active {
		return acts
	}
	m.active = true
	m.heartbeat = now.Add(HeartbeatInterval)
	if !m.trusted(now) {
		acts = m.seek(now, acts)
	}
	return acts
}

// trusted reports whether the best path is used alone.
func (m *Machine) trusted(now time.Time) bool {
	return m.best.Addr.IsValid() && now.Before(m.trustedUntil)
}

// clearBest forgets the best path.
func (m *Machine) clearBest() {
	m.best = Quality{}
	m.trustedUntil = time.Time{}
	m.live.asks = 0
}

// roundWanted reports whether a better path than the best should be looked for.
func (m *Machine) roundWanted(now time.Time) bool {
	switch {
	case !m.best.Addr.IsValid() || m.lastRound.IsZero() || !m.trusted(now):
		return true
	case m.best.Latency <= GoodEnough:
		return false
	}
	return now.Sub(m.lastRound) >= UpgradeInterval
}

// round pings all candidates.
func (m *Machine) round(now time.Time, acts []Action) []Action {
	if !m.cfg.Disco {
		return acts
	}
	m.lastRound = now
	m.prune(now)
	for _, c := range m.candidates {
		if !c.pinged.IsZero() && now.Sub(c.pinged) < CandidateGap {
			continue
		}
		if !m.budget.take(now) {
			break // the next round goes on
		}
		acts = m.discover(now, c, acts)
	}
	return acts
}

// call asks the peer to ping our endpoints, unless that was done just now.
func (m *Machine) call(now time.Time, acts []Action) []Action {
	if m.cfg.Region == 0 || !m.cfg.Disco || !m.lastCall.IsZero() && now.Sub(m.lastCall) < CandidateGap {
		return acts
	}
	m.lastCall = now
	return append(acts, Action{Kind: SendCallMeMaybe, Region: m.cfg.Region})
}

// Rebound says that our sockets or network changed: nothing known of any path holds. The
// best path is used beside the relay as long as it may still work. Pings through the
// relay are still waited for.
func (m *Machine) Rebound(now time.Time, acts []Action) []Action {
	if m.trusted(now) {
		m.trustedUntil = now
	}
	m.live.asks = 0
	acts = m.dropDirectPings(acts)
	for _, c := range m.candidates {
		c.pinged, c.latency, c.ponged = time.Time{}, 0, time.Time{}
	}
	m.lastRound, m.lastCall = time.Time{}, time.Time{}
	if m.active {
		acts = m.call(now, m.round(now, acts))
	}
	return acts
}

// Rekeyed says that the peer has another disco key: it did not understand the pings so
// far. The path in use stays as long as it is trusted.
func (m *Machine) Rekeyed(now time.Time, acts []Action) []Action {
	acts = m.dropPings(acts)
	for _, c := range m.candidates {
		c.pinged = time.Time{}
	}
	if m.active {
		m.lastCall = time.Time{}
		acts = m.call(now, m.round(now, acts))
	}
	return acts
}

// Unreachable says that the system has no route to addr.
func (m *Machine) Unreachable(addr netip.AddrPort) {
	if m.best.Addr == addr {
		m.clearBest()
	}
}
