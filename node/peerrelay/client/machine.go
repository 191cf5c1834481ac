package client

import (
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"github.com/ginnel/ginnel/node/path/probing"
	"github.com/ginnel/ginnel/wire/disco"
	"github.com/ginnel/ginnel/wire/key"
)

// Times of wire document paths, sections 6 and 20.
const (
	// DiscoveryGap is the least time between discoveries for one peer.
	DiscoveryGap = 30 * time.Second
	// UpgradeGap is the least time while a session works.
	UpgradeGap = 60 * time.Second
	// AllocateRetry is when an allocation request is repeated, AllocateTimeout when it is
	// given up.
	AllocateRetry   = 3 * time.Second
	AllocateTimeout = 10 * time.Second
	// MaxHandshake bounds how long a handshake may take, whatever the server grants.
	MaxHandshake = 30 * time.Second
	// MaxPings bounds the pings sent in one handshake.
	MaxPings = 10
)

const (
	// firstRepeat is when a message that nothing came back to is first repeated; the time
	// doubles from then on, up to lastRepeat.
	firstRepeat = 500 * time.Millisecond
	lastRepeat  = 2 * time.Second
	// maxRepeats bounds the repetitions of one message.
	maxRepeats = 8
	// maxAddrs bounds the addresses taken from one endpoint.
	maxAddrs = 16
	// maxServers bounds the servers asked for one peer, and the handshakes with one peer
	// under way.
	maxServers = 16
	// maxPeers bounds the peers with work under way.
	maxPeers = 512
	// viaBurst and viaGap bound the sessions that a peer may tell of: so many at once, and
	// one per gap in the long run.
	viaBurst = maxServers
	viaGap   = 2 * time.Second
)

// Config configures a Machine.
type Config struct {
	// Self is this node's disco key.
	Self key.DiscoPublic
	// Servers are the nodes that may relay for us, this one perhaps among them.
	Servers []key.NodePublic
	// Usable reports whether an address of a relay may be sent to; nil means
	// probing.Usable.
	Usable func(netip.AddrPort) bool
	// Random makes random bytes; nil means crypto/rand.
	Random func([]byte)
}

// Machine gets this node sessions on peer relays.
type Machine struct {
	cfg     Config
	peers   map[key.NodePublic]*peer
	working []*peer // those with work under way, in the order in which it began

	allocations uint32 // the generation of the last one
	generation  uint32 // of the last handshake
}

// peer is what is known of a peer.
type peer struct {
	Peer
	path   Path      // when last told
	last   time.Time // when discovery began last, zero if never
	via    int       // sessions that it told of, as of viaAt
	viaAt  time.Time
	allocs []*allocation
	shakes []*handshake // one per server key
}

// allocation is a request to a server.
type allocation struct {
	server     key.NodePublic
	generation uint32
	began      time.Time
	repeated   bool
}

// New returns a machine without work.
func New(cfg Config) *Machine {
	m := &Machine{peers: map[key.NodePublic]*peer{}}
	m.setConfig(cfg)
	var seed [8]byte
	m.cfg.Random(seed[:])
	// A relay remembers the generation of a handshake that was not finished: after a
	// restart it should be another one.
	m.generation = binary.BigEndian.Uint32(seed[:4])
	m.allocations = binary.BigEndian.Uint32(seed[4:])
	return m
}

func (m *Machine) setConfig(cfg Config) {
	if cfg.Usable == nil {
		cfg.Usable = probing.Usable
	}
	if cfg.Random == nil {
		cfg.Random = func(b []byte) { rand.Read(b) } // never fails
	}
	m.cfg = cfg
}

// Configure takes a new configuration. With another key of our own all work is void.
// Requests to servers that are none any more are given up.
func (m *Machine) Configure(cfg Config) {
	if cfg.Self != m.cfg.Self {
		m.peers, m.working = map[key.NodePublic]*peer{}, nil
	}
	m.setConfig(cfg)
	for _, p := range m.working {
		p.allocs = slices.DeleteFunc(p.allocs, func(a *allocation) bool { return !slices.Contains(cfg.Servers, a.server) })
	}
	m.tidy()
}

// Forget ends all work for a peer and forgets it.
func (m *Machine) Forget(node key.NodePublic) {
	if p := m.peers[node]; p != nil {
		p.allocs, p.shakes = nil, nil
		delete(m.peers, node)
		m.tidy()
	}
}

// Stop ends the work for a peer: it is reached without a relay.
func (m *Machine) Stop(node key.NodePublic) {
	if p := m.peers[node]; p != nil {
		p.allocs, p.shakes = nil, nil
		m.tidy()
	}
}

// peerFor returns what is known of a peer. With another disco key than before, it is not
// much.
func (m *Machine) peerFor(who Peer) *peer {
	p := m.peers[who.Node]
	if p == nil {
		p = &peer{}
		m.peers[who.Node] = p
	}
	if p.Disco != who.Disco {
		p.allocs, p.shakes, p.last = nil, nil, time.Time{}
		m.tidy()
	}
	p.Peer = who
	return p
}

// tidy takes peers without work from the working ones.
func (m *Machine) tidy() {
	m.working = slices.DeleteFunc(m.working, func(p *peer) bool { return !p.busy() })
}

func (p *peer) busy() bool { return len(p.allocs)+len(p.shakes) > 0 }

// begin notes that a peer is about to have work, unless too many have.
func (m *Machine) begin(p *peer) bool {
	if slices.Contains(m.working, p) {
		return true
	}
	if len(m.working) >= maxPeers {
		return false
	}
	m.working = append(m.working, p)
	return true
}

// Wanted reports whether Discover would look for sessions with a peer now.
func (m *Machine) Wanted(now time.Time, node key.NodePublic, path Path) bool {
	if len(m.cfg.Servers) == 0 || path.Direct {
		return false
	}
	p := m.peers[node]
	if p == nil || p.last.IsZero() {
		return true
	}
	gap := DiscoveryGap
	if path.Trusted {
		gap = UpgradeGap
	}
	return now.Sub(p.last) >= gap
}

// Discover asks all servers for a session with a peer, unless that is not wanted now. It is
// to be called whenever something is sent to the peer while there is no direct path, and
// when the peer calls.
func (m *Machine) Discover(now time.Time, who Peer, path Path, acts []Action) []Action {
	if p := m.peers[who.Node]; p != nil && p.Disco != who.Disco {
		m.peerFor(who) // a peer that was restarted need not wait
	}
	if !m.Wanted(now, who.Node, path) || who.Disco.IsZero() || who.Disco == m.cfg.Self {
		return acts
	}
	p := m.peerFor(who)
	if !m.begin(p) {
		return acts
	}
	p.path, p.last = path, now
	for _, server := range m.cfg.Servers[:min(len(m.cfg.Servers), maxServers)] {
		if server == who.Node || slices.ContainsFunc(p.allocs, func(a *allocation) bool { return a.server == server }) {
			continue
		}
		m.allocations++
		a := &allocation{server: server, generation: m.allocations, began: now}
		p.allocs = append(p.allocs, a)
		acts = append(acts, m.request(p, a))
	}
	m.tidy()
	return acts
}

// pair returns the clients of a session with a peer.
func (m *Machine) pair(p *peer) [2]key.DiscoPublic {
	pair := [2]key.DiscoPublic{m.cfg.Self, p.Disco}
	if pair[0].Compare(pair[1]) > 0 {
		pair[0], pair[1] = pair[1], pair[0]
	}
	return pair
}

// request asks for an allocation request.
func (m *Machine) request(p *peer, a *allocation) Action {
	return Action{Kind: SendAllocate, Peer: p.Peer, Server: a.server,
		Request: disco.AllocateRequest{Clients: m.pair(p), Generation: a.generation}}
}

// Allocated takes an allocation response that came through a relay region from a node,
// sealed with its disco key.
func (m *Machine) Allocated(now time.Time, from key.NodePublic, r *disco.AllocateResponse, acts []Action) []Action {
	for _, p := range m.working {
		for i, a := range p.allocs {
			if a.server != from || a.generation != r.Generation || m.pair(p) != r.Endpoint.Clients {
				continue
			}
			p.allocs = slices.Delete(p.allocs, i, i+1)
			acts = m.shake(now, p, &r.Endpoint, true, acts)
			m.tidy()
			return acts
		}
	}
	return acts
}

// Called takes a call-me-maybe-via message of a peer, that came through a relay region and
// was sealed with the peer's disco key.
func (m *Machine) Called(now time.Time, who Peer, path Path, via *disco.CallMeMaybeVia, acts []Action) []Action {
	p := m.peerFor(who)
	if who.Disco.IsZero() || m.pair(p) != via.Endpoint.Clients || !p.takeVia(now) {
		return acts
	}
	p.path = path
	acts = m.shake(now, p, &via.Endpoint, false, acts)
	m.tidy()
	return acts
}

// takeVia counts a session that the peer told of, if it may.
func (p *peer) takeVia(now time.Time) bool {
	if p.via > 0 {
		n := int(now.Sub(p.viaAt) / viaGap)
		p.via = max(0, p.via-n)
		p.viaAt = p.viaAt.Add(time.Duration(n) * viaGap)
	}
	if p.via == 0 {
		p.viaAt = now
	}
	if p.via >= viaBurst {
		return false
	}
	p.via++
	return true
}

// Expects reports whether a handshake with the relay that has this disco key is under way.
func (m *Machine) Expects(relay key.DiscoPublic) bool {
	for _, p := range m.working {
		for _, h := range p.shakes {
			if h.endpoint.Server == relay {
				return true
			}
		}
	}
	return false
}

// Deadline returns when Tick is to be called next, zero for never.
func (m *Machine) Deadline() time.Time {
	var d time.Time
	earliest := func(t time.Time) {
		if d.IsZero() || t.Before(d) {
			d = t
		}
	}
	for _, p := range m.working {
		for _, a := range p.allocs {
			earliest(a.deadline())
		}
		for _, h := range p.shakes {
			earliest(h.deadline())
		}
	}
	return d
}

func (a *allocation) deadline() time.Time {
	if !a.repeated {
		return a.began.Add(AllocateRetry)
	}
	return a.began.Add(AllocateTimeout)
}

// Tick does what is due.
func (m *Machine) Tick(now time.Time, acts []Action) []Action {
	for _, p := range m.working {
		p.allocs = slices.DeleteFunc(p.allocs, func(a *allocation) bool {
			if !now.Before(a.began.Add(AllocateTimeout)) {
				acts = append(acts, Action{Kind: GaveUp, Peer: p.Peer, Server: a.server, Why: NoAllocation})
				return true
			}
			if !a.repeated && !now.Before(a.deadline()) {
				a.repeated = true
				acts = append(acts, m.request(p, a))
			}
			return false
		})
		p.shakes = slices.DeleteFunc(p.shakes, func(h *handshake) bool {
			if !now.Before(h.ends) {
				acts = append(acts, h.gaveUp(h.reason()))
				return true
			}
			if !now.Before(h.deadline()) {
				acts = m.repeat(now, h, acts)
			}
			return false
		})
	}
	m.tidy()
	return acts
}
