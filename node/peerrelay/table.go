package peerrelay

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/maphash"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/ginnel/ginnel/wire/disco"
	"github.com/ginnel/ginnel/wire/key"
)

// Times of wire document paths, section 21.
const (
	// BindLifetime is how long a session waits for both clients to bind.
	BindLifetime = 30 * time.Second
	// SteadyLifetime is how long a session lives without a packet from either client.
	SteadyLifetime = 5 * time.Minute
	// CollectInterval is the time between calls of Collect.
	CollectInterval = 30 * time.Second
	// SecretLifetime is how long challenges are made with one secret. Answers are taken
	// for as long again.
	SecretLifetime = 2 * time.Minute
)

const (
	maxVNI = 1<<24 - 1

	// controlLen is the length of each of the bind messages as a datagram.
	controlLen = disco.GeneveLen + disco.Overhead + 72

	defaultMaxSessions  = 16384
	defaultMaxPerClient = 1024
)

// Errors of Allocate.
var (
	// ErrNotReady says that the server does not know its addresses yet. Clients ask again.
	ErrNotReady = errors.New("peer relay: no address to be reached at is known yet")
	// ErrFull says that there are as many sessions as there may be.
	ErrFull = errors.New("peer relay: too many sessions")
	// ErrClientFull says that one of the clients has as many sessions as it may have.
	ErrClientFull = errors.New("peer relay: too many sessions of one client")
	// ErrClients says that the two keys cannot be clients of a session.
	ErrClients = errors.New("peer relay: a session needs two different clients, neither of them the server")
)

// Config configures a Table.
type Config struct {
	// Key is the server's disco key. It is to be fresh for each process, and not the
	// node's own.
	Key key.DiscoPrivate
	// Random makes random bytes; nil means crypto/rand.
	Random func([]byte)
	// MaxSessions bounds the sessions, 0 for 16384; MaxPerClient those of one key, 0 for
	// 1024.
	MaxSessions, MaxPerClient int
}

// Table holds the sessions of a peer relay. Its methods may be called by many goroutines
// at once. The times given to them should not run backwards.
type Table struct {
	cfg    Config
	public key.DiscoPublic
	start  time.Time

	index      index // written under mu
	challenger challenger
	sources    sourceLimit
	total      rate
	counters   counters

	mu        sync.Mutex // guards the following
	addrs     []netip.AddrPort
	sessions  map[[2]key.DiscoPublic]*session
	perClient map[key.DiscoPublic]int
	lastVNI   uint32
	lamport   uint64
}

// NewTable returns a table without sessions or addresses at time now.
func NewTable(now time.Time, cfg Config) *Table {
	cfg.MaxSessions = min(cmp.Or(cfg.MaxSessions, defaultMaxSessions), maxVNI)
	cfg.MaxPerClient = cmp.Or(cfg.MaxPerClient, defaultMaxPerClient)
	if cfg.Random == nil {
		cfg.Random = func(b []byte) { rand.Read(b) } // never fails
	}
	t := &Table{
		cfg: cfg, public: cfg.Key.Public(), start: now, sources: sourceLimit{seed: maphash.MakeSeed()},
		sessions: map[[2]key.DiscoPublic]*session{}, perClient: map[key.DiscoPublic]int{},
	}
	t.challenger.init(0, cfg.Random)
	return t
}

// Public returns the server's disco key.
func (t *Table) Public() key.DiscoPublic { return t.public }

// at returns now as the table counts time.
func (t *Table) at(now time.Time) int64 { return int64(now.Sub(t.start)) }

// SetAddrs sets the addresses that new and old sessions are offered at.
func (t *Table) SetAddrs(addrs []netip.AddrPort) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.addrs = slices.Clone(addrs)
}

// Sort returns two keys in ascending order.
func Sort(a, b key.DiscoPublic) [2]key.DiscoPublic {
	if a.Compare(b) > 0 {
		a, b = b, a
	}
	return [2]key.DiscoPublic{a, b}
}

// Allocate returns the session of two clients, making it if need be. Asked for again, a
// session that is not bound yet gets its full time to do so.
func (t *Table) Allocate(now time.Time, a, b key.DiscoPublic) (disco.RelayEndpoint, error) {
	if a == b || a == t.public || b == t.public || a.IsZero() || b.IsZero() {
		return disco.RelayEndpoint{}, ErrClients
	}
	at, pair := t.at(now), Sort(a, b)
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.addrs) == 0 {
		return disco.RelayEndpoint{}, ErrNotReady
	}
	s := t.sessions[pair]
	if s != nil && !t.renew(at, s) {
		s = nil
	}
	if s == nil {
		var err error
		if s, err = t.add(at, pair); err != nil {
			return disco.RelayEndpoint{}, err
		}
	}
	return disco.RelayEndpoint{
		Server: t.public, Clients: pair, LamportID: s.lamport, VNI: s.vni,
		BindLifetime: BindLifetime, SteadyLifetime: SteadyLifetime, Addrs: slices.Clone(t.addrs),
	}, nil
}

// renew gives a session time to bind, or removes it and reports false if it has expired
// and was only not collected yet.
func (t *Table) renew(at int64, s *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.expired(at) {
		t.remove(s)
		return false
	}
	s.allocated = at
	return true
}

// add makes a session. The lock is held.
func (t *Table) add(at int64, pair [2]key.DiscoPublic) (*session, error) {
	if len(t.sessions) >= t.cfg.MaxSessions {
		return nil, ErrFull
	}
	for _, k := range pair {
		if t.perClient[k] >= t.cfg.MaxPerClient {
			return nil, fmt.Errorf("%w: %s", ErrClientFull, k.ShortString())
		}
	}
	t.lamport++
	s := &session{vni: t.nextVNI(), lamport: t.lamport, clients: pair, allocated: at}
	t.sessions[pair] = s
	for _, k := range pair {
		t.perClient[k]++
	}
	t.index.put(s)
	return s, nil
}

// nextVNI returns the first free VNI after the last one. There is one, since there are
// fewer sessions.
func (t *Table) nextVNI() uint32 {
	for {
		if t.lastVNI++; t.lastVNI > maxVNI {
			t.lastVNI = 1
		}
		if t.index.get(t.lastVNI) == nil {
			return t.lastVNI
		}
	}
}

// remove ends a session. Both locks are held.
func (t *Table) remove(s *session) {
	s.closed = true
	t.index.remove(s)
	delete(t.sessions, s.clients)
	for _, k := range s.clients {
		if t.perClient[k]--; t.perClient[k] == 0 {
			delete(t.perClient, k)
		}
	}
}

// Collect ends the sessions that have expired and returns their number. It is to be called
// every CollectInterval.
func (t *Table) Collect(now time.Time) (ended int) {
	at := t.at(now)
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.sessions {
		s.mu.Lock()
		if s.expired(at) {
			t.remove(s)
			ended++
		}
		s.mu.Unlock()
	}
	return ended
}

// Sessions lists the sessions by VNI.
func (t *Table) Sessions(now time.Time) []Session {
	at := t.at(now)
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]Session, 0, len(t.sessions))
	for _, s := range t.sessions {
		list = append(list, s.describe(at))
	}
	slices.SortFunc(list, func(a, b Session) int { return cmp.Compare(a.VNI, b.VNI) })
	return list
}

// States returns how many sessions wait for their clients to bind, and how many are open.
func (t *Table) States() (connecting, open int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.sessions {
		if s.bound() {
			open++
		}
	}
	return len(t.sessions) - open, open
}

// Counters returns what was counted so far.
func (t *Table) Counters() Counters { return t.counters.load() }
