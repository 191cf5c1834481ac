package client

import (
	"net/netip"
	"slices"
	"time"

	"github.com/ginnel/ginnel/wire/disco"
	"github.com/ginnel/ginnel/wire/key"
)

// handshake binds to a session and finds out whether it works.
type handshake struct {
	peer     *peer
	endpoint *disco.RelayEndpoint
	bind     disco.Bind // what is sent; with the challenge once that is known
	ends     time.Time

	at      netip.AddrPort // the address of the relay that a challenge came from first
	heard   bool           // something came through from the peer: the answer arrived
	pings   []sentPing
	repeats int
	next    time.Time // when to repeat what was sent last, zero for never
}

// sentPing is a ping that may be answered.
type sentPing struct {
	id disco.TxID
	at time.Time
}

// shake begins a handshake for a session, unless it is known or older than one that is.
// tell says that we made the session, so that the peer is to be told.
func (m *Machine) shake(now time.Time, p *peer, e *disco.RelayEndpoint, tell bool, acts []Action) []Action {
	e = m.accept(e)
	if e == nil {
		return acts
	}
	for _, h := range p.shakes {
		if h.endpoint.Server == e.Server && h.endpoint.LamportID >= e.LamportID {
			return acts
		}
	}
	if tell {
		acts = append(acts, Action{Kind: SendVia, Peer: p.Peer, Endpoint: e})
	}
	if p.path.Trusted && p.path.Relay == e.Server && p.path.VNI == e.VNI {
		return acts // to bind again might move what works to where it does not
	}
	p.shakes = slices.DeleteFunc(p.shakes, func(h *handshake) bool {
		if h.endpoint.Server == e.Server {
			acts = append(acts, h.gaveUp(Replaced))
			return true
		}
		return false
	})
	if len(p.shakes) >= maxServers || !m.begin(p) {
		return acts
	}
	if m.generation++; m.generation == 0 {
		m.generation = 1
	}
	h := &handshake{
		peer: p, endpoint: e, ends: now.Add(min(e.BindLifetime, MaxHandshake)),
		bind: disco.Bind{VNI: e.VNI, Generation: m.generation, Remote: p.Disco},
	}
	p.shakes = append(p.shakes, h)
	h.repeatIn(now)
	return m.sendBinds(h, acts)
}

// accept returns a copy of an endpoint as far as it is of use, nil if it is of none.
func (m *Machine) accept(e *disco.RelayEndpoint) *disco.RelayEndpoint {
	if e.VNI == 0 || e.Server.IsZero() || e.Server == e.Clients[0] || e.Server == e.Clients[1] || e.BindLifetime <= 0 {
		return nil
	}
	c := *e
	c.Addrs = nil
	for _, a := range e.Addrs {
		if len(c.Addrs) < maxAddrs && m.cfg.Usable(a) && !slices.Contains(c.Addrs, a) {
			c.Addrs = append(c.Addrs, a)
		}
	}
	if len(c.Addrs) == 0 {
		return nil
	}
	return &c
}

// repeatIn sets when to repeat what is being sent, for the first or a further time.
func (h *handshake) repeatIn(now time.Time) {
	h.next = time.Time{}
	if h.repeats < maxRepeats {
		h.next = now.Add(min(firstRepeat<<h.repeats, lastRepeat))
	}
	h.repeats++
}

// deadline returns when Tick has something to do for the handshake.
func (h *handshake) deadline() time.Time {
	if !h.next.IsZero() && h.next.Before(h.ends) {
		return h.next
	}
	return h.ends
}

// repeat sends what nothing came back to again.
func (m *Machine) repeat(now time.Time, h *handshake, acts []Action) []Action {
	h.repeatIn(now)
	if !h.at.IsValid() {
		return m.sendBinds(h, acts)
	}
	if !h.heard {
		acts = append(acts, h.action(SendAnswer, h.at))
	}
	return m.ping(now, h, acts)
}

// sendBinds asks for bind requests to all addresses of the relay.
func (m *Machine) sendBinds(h *handshake, acts []Action) []Action {
	for _, a := range h.endpoint.Addrs {
		acts = append(acts, h.action(SendBind, a))
	}
	return acts
}

// action returns an action of the handshake towards an address of the relay.
func (h *handshake) action(kind ActionKind, to netip.AddrPort) Action {
	return Action{Kind: kind, Peer: h.peer.Peer, Endpoint: h.endpoint, To: Addr{to, h.endpoint.VNI},
		Relay: h.endpoint.Server, Bind: h.bind}
}

// gaveUp returns the action that says that the handshake failed.
func (h *handshake) gaveUp(why Reason) Action {
	return Action{Kind: GaveUp, Peer: h.peer.Peer, Endpoint: h.endpoint, Relay: h.endpoint.Server, Why: why}
}

// reason returns why a handshake that takes too long failed.
func (h *handshake) reason() Reason {
	if h.at.IsValid() {
		return NoPong
	}
	return NoChallenge
}

// ping asks for a ping, unless there were enough.
func (m *Machine) ping(now time.Time, h *handshake, acts []Action) []Action {
	if len(h.pings) >= MaxPings {
		return acts
	}
	p := sentPing{at: now}
	m.cfg.Random(p.id[:])
	h.pings = append(h.pings, p)
	act := h.action(SendPing, h.at)
	act.TxID = p.id
	return append(acts, act)
}

// Challenged takes a challenge of a relay, from an address and with the VNI of its Geneve
// header. The first one of a handshake decides by which address the session is used.
func (m *Machine) Challenged(now time.Time, relay key.DiscoPublic, from Addr, c *disco.Bind, acts []Action) []Action {
	for _, p := range m.working {
		if p.Disco != c.Remote {
			continue
		}
		for _, h := range p.shakes {
			if h.endpoint.Server != relay || h.endpoint.VNI != from.VNI || c.VNI != from.VNI ||
				c.Generation != h.bind.Generation || h.at.IsValid() {
				continue
			}
			h.at, h.bind.Challenge, h.repeats = from.AddrPort, c.Challenge, 0
			h.repeatIn(now)
			return m.ping(now, h, append(acts, h.action(SendAnswer, h.at)))
		}
	}
	return acts
}

// Pinged takes a ping of a peer that came through a session. It is always answered: the
// peer may have finished its handshake after we did.
func (m *Machine) Pinged(now time.Time, who Peer, from Addr, id disco.TxID, acts []Action) []Action {
	acts = append(acts, Action{Kind: SendPong, Peer: who, To: from, TxID: id})
	if h := m.through(who, from); h != nil {
		h.heard = true
		acts = m.ping(now, h, acts)
	}
	return acts
}

// Ponged takes a pong of a peer that came through a session. The first one ends the
// handshake.
func (m *Machine) Ponged(now time.Time, who Peer, from Addr, id disco.TxID, acts []Action) []Action {
	h := m.through(who, from)
	if h == nil {
		return acts
	}
	i := slices.IndexFunc(h.pings, func(p sentPing) bool { return p.id == id })
	if i < 0 {
		return acts
	}
	act := h.action(Ready, h.at)
	act.Latency = now.Sub(h.pings[i].at)
	h.peer.shakes = slices.DeleteFunc(h.peer.shakes, func(x *handshake) bool { return x == h })
	m.tidy()
	return append(acts, act)
}

// through returns the handshake with a peer that an address belongs to, nil if there is
// none.
func (m *Machine) through(who Peer, from Addr) *handshake {
	p := m.peers[who.Node]
	if p == nil || p.Disco != who.Disco {
		return nil
	}
	for _, h := range p.shakes {
		if h.at == from.AddrPort && h.endpoint.VNI == from.VNI && h.at.IsValid() {
			return h
		}
	}
	return nil
}
