package peerrelay

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ginnel/ginnel/wire/disco"
	"github.com/ginnel/ginnel/wire/key"
)

// session is an allocation for two clients.
type session struct {
	vni     uint32
	lamport uint64
	clients [2]key.DiscoPublic // ascending

	work rate // of opening sealed messages

	mu        sync.Mutex // guards the following
	allocated int64      // when it was asked for last
	shared    [2]key.DiscoShared
	pending   [2]uint32 // the generation of the handshake under way, 0 for none
	closed    bool

	sides [2]side // in the order of clients
}

// side is what is known of a client. Forwarding reads and writes it without a lock.
type side struct {
	_     [64]byte // a cache line of its own
	addr  atomic.Pointer[netip.AddrPort]
	heard atomic.Int64 // when a packet came last, in nanoseconds
	in    traffic      // from the client, forwarded
}

// forward returns which side sends from an address and where that goes.
func (s *session) forward(from netip.AddrPort) (at *side, to netip.AddrPort, why Drop) {
	a, b := s.sides[0].addr.Load(), s.sides[1].addr.Load()
	switch {
	case a == nil || b == nil:
		return nil, to, NotBound
	case *a == from:
		return &s.sides[0], *b, Forwarded
	case *b == from:
		return &s.sides[1], *a, Forwarded
	}
	return nil, to, WrongSource
}

// bound reports whether both clients have bound an address.
func (s *session) bound() bool {
	return s.sides[0].addr.Load() != nil && s.sides[1].addr.Load() != nil
}

// expired reports whether the session is over at time now. The lock is held.
func (s *session) expired(now int64) bool {
	if !s.bound() {
		return now-s.allocated > int64(BindLifetime)
	}
	return now-s.sides[0].heard.Load() > int64(SteadyLifetime) || now-s.sides[1].heard.Load() > int64(SteadyLifetime)
}

// sender returns which client sent a sealed message, by its claim.
func (s *session) sender(sealed []byte) (client int, ok bool) {
	from, _ := disco.Sender(sealed)
	for i, k := range s.clients {
		if k == from {
			return i, true
		}
	}
	return 0, false
}

// open returns the inner message of what a client sealed.
func (s *session) open(own key.DiscoPrivate, client int, sealed, buf []byte) ([]byte, error) {
	return disco.Open(buf, sealed, s.sharedWith(own, client))
}

// sharedWith returns the key shared with a client, computed at the first need.
func (s *session) sharedWith(own key.DiscoPrivate, client int) key.DiscoShared {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shared[client].IsZero() {
		s.shared[client] = own.Shared(s.clients[client])
	}
	return s.shared[client]
}

// begin takes a client's bind request.
func (s *session) begin(client int, m *disco.Bind) Drop {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return UnknownVNI
	}
	if m.VNI != s.vni || m.Remote != s.clients[1-client] || m.Generation == 0 {
		return WrongBind
	}
	s.pending[client] = m.Generation
	return Answered
}

// finish takes a client's answer to a challenge from src. proven says that it is the
// challenge that was sent there.
func (s *session) finish(now int64, client int, m *disco.Bind, src netip.AddrPort, proven func() bool) Drop {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return UnknownVNI
	case m.VNI != s.vni || m.Remote != s.clients[1-client]:
		return WrongBind
	case s.pending[client] == 0 || s.pending[client] != m.Generation:
		return WrongGeneration
	case !proven():
		return WrongChallenge
	}
	s.pending[client] = 0
	s.sides[client].heard.Store(now)
	s.sides[client].addr.Store(&src)
	return Answered
}

// Session describes a session.
type Session struct {
	VNI     uint32
	Lamport uint64
	// Clients are in ascending order of their keys.
	Clients [2]Client
	// Open says that both clients are bound.
	Open bool
	// Asked is how long ago somebody asked for the session last.
	Asked time.Duration
}

// Client describes one side of a session.
type Client struct {
	Key key.DiscoPublic
	// Addr is where the client is bound, not valid if it is not.
	Addr netip.AddrPort
	// Heard is how long ago the client was heard, 0 if it never was.
	Heard time.Duration
	// Sent is what the client sent and was forwarded.
	Sent Traffic
}

// describe describes the session at time now.
func (s *session) describe(now int64) Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := Session{VNI: s.vni, Lamport: s.lamport, Open: s.bound(), Asked: time.Duration(now - s.allocated)}
	for i := range s.sides {
		c := &d.Clients[i]
		c.Key, c.Sent = s.clients[i], s.sides[i].in.load()
		if a := s.sides[i].addr.Load(); a != nil {
			c.Addr, c.Heard = *a, time.Duration(now-s.sides[i].heard.Load())
		}
	}
	return d
}
