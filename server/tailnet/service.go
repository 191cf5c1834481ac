package tailnet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ginnel/ginnel/wire/control"
)

// Options are what a Service needs beside its Store.
type Options struct {
	// Logger may be nil.
	Logger *slog.Logger
	// IPv4 and IPv6 are the ranges that nodes get addresses from. The zero
	// Prefix means the protocol's own, DefaultIPv4 and DefaultIPv6.
	IPv4, IPv6 netip.Prefix
	// NodeKeyExpiry is how long a node key of an untagged node is valid after
	// a login; 0 is for ever.
	NodeKeyExpiry time.Duration
	// RequireApproval makes new devices wait until an administrator approves
	// them.
	RequireApproval bool
	// EphemeralTimeout is how long an ephemeral node may be offline before it
	// is removed; 0 means DefaultEphemeralTimeout.
	EphemeralTimeout time.Duration
	// AuditKeep is how long audit records are kept; 0 is for ever.
	AuditKeep time.Duration
	// OnlineEvery is how often it is noted who is online; 0 means
	// DefaultOnlineEvery.
	OnlineEvery time.Duration
}

// DefaultEphemeralTimeout is how long an ephemeral node may be offline.
const DefaultEphemeralTimeout = 5 * time.Minute

// Service runs commands on the model. Its methods are safe for concurrent use.
type Service struct {
	o     Options
	log   *slog.Logger
	store Store
	addrs addrPool

	requests chan *request
	stop     chan struct{} // closed by Close
	done     chan struct{} // closed when the loop has ended
	closing  sync.Once
	notes    sync.WaitGroup // of who is online

	current atomic.Pointer[Snapshot]
	logins  loginTable
	stats   counters
	// lastCommit is how the last commit ended.
	lastCommit atomic.Pointer[error]

	pubMu   sync.Mutex
	subs    map[int]func(ChangeSet)
	nextSub int

	// What follows belongs to the loop.
	work      *Snapshot // the newest version, never published itself
	expiredTo time.Time // key expiries up to here have been told
	ephemeral map[control.NodeID]*time.Timer
	names     nameHints
	decisions []decision // of the batch under way
}

// Stats are counts since the service was opened.
type Stats struct {
	// Commands that changed the model, and Commits that held them.
	Commands, Commits, CommitErrors uint64
	// CommitTime is the time spent in commits.
	CommitTime time.Duration
	// LoginsEvicted are pending logins that went because there were too many.
	LoginsEvicted uint64
}

type counters struct {
	commands, commits, commitErrors atomic.Uint64
	commitTime                      atomic.Int64
}

// Open loads the model from the store and starts the service. Close ends it; the
// store stays open.
func Open(ctx context.Context, st Store, o Options) (*Service, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.EphemeralTimeout == 0 {
		o.EphemeralTimeout = DefaultEphemeralTimeout
	}
	if o.OnlineEvery == 0 {
		o.OnlineEvery = DefaultOnlineEvery
	}
	pool, err := newAddrPool(o.IPv4, o.IPv6)
	if err != nil {
		return nil, err
	}
	state, err := st.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("loading the model: %w", err)
	}
	s := &Service{
		o:         o,
		log:       o.Logger,
		store:     st,
		addrs:     pool,
		requests:  make(chan *request, 1024),
		stop:      make(chan struct{}),
		done:      make(chan struct{}),
		subs:      map[int]func(ChangeSet){},
		work:      newSnapshot(),
		expiredTo: timestamp(),
		ephemeral: map[control.NodeID]*time.Timer{},
		names:     nameHints{},
	}
	s.logins.init()
	s.work.seq, s.work.counters = state.Seq, state.Counters
	for _, u := range state.Users {
		s.work.putUser(u)
	}
	for _, k := range state.AuthKeys {
		s.work.putAuthKey(k)
	}
	for _, n := range state.Nodes {
		s.work.putNode(n)
		s.addrs.sawAddr(n.IPv4)
	}
	if got := s.work.byKey.len(); got != s.work.nodes.len() {
		return nil, errors.New("loading the model: two nodes have the same node key; the database is damaged, restore a backup")
	}
	s.current.Store(s.work.clone())
	for _, n := range state.Nodes {
		s.watchEphemeral(n)
	}
	go s.loop()
	s.takeOnline(ctx, state.Online)
	s.notes.Go(s.noteOnline)
	return s, nil
}

// Close waits for the commands under way, refuses new ones and ends the service.
func (s *Service) Close() error {
	s.closing.Do(func() { close(s.stop) })
	<-s.done
	s.notes.Wait()
	return nil
}

// Snapshot returns the newest published version of the model.
func (s *Service) Snapshot() *Snapshot { return s.current.Load() }

// Stats returns counts since the service was opened.
func (s *Service) Stats() Stats {
	return Stats{
		Commands:     s.stats.commands.Load(),
		Commits:      s.stats.commits.Load(),
		CommitErrors: s.stats.commitErrors.Load(),
		CommitTime:   time.Duration(s.stats.commitTime.Load()),

		LoginsEvicted: s.logins.evicted(),
	}
}

// Health returns the error of the last commit, nil when it succeeded.
func (s *Service) Health() error {
	if err := s.lastCommit.Load(); err != nil && *err != nil {
		return *err
	}
	return nil
}

// Audit returns the newest audit records, newest first, at most limit, all with
// a Seq below before when that is not 0.
func (s *Service) Audit(ctx context.Context, t TailnetID, before uint64, limit int) ([]AuditRecord, error) {
	return s.store.Audit(ctx, t, before, limit)
}

// Subscribe calls fn with every change set published after the returned
// snapshot, in order and without a gap. fn runs on the goroutine that owns the
// model: it must return soon and must neither call commands nor cancel. After
// cancel has returned fn is not called again.
func (s *Service) Subscribe(fn func(ChangeSet)) (start *Snapshot, cancel func()) {
	s.pubMu.Lock()
	defer s.pubMu.Unlock()
	id := s.nextSub
	s.nextSub++
	s.subs[id] = fn
	return s.current.Load(), func() {
		s.pubMu.Lock()
		defer s.pubMu.Unlock()
		delete(s.subs, id)
	}
}

// publish makes a version the current one and tells the subscribers.
func (s *Service) publish(snap *Snapshot, changes []Change) {
	s.pubMu.Lock()
	defer s.pubMu.Unlock()
	s.current.Store(snap)
	if len(changes) == 0 {
		return
	}
	for _, fn := range s.subs {
		fn(ChangeSet{Snapshot: snap, Changes: changes})
	}
}

// timestamp is the time as the model keeps it: UTC, in the microseconds that
// every database can hold.
func timestamp() time.Time { return normalTime(time.Now()) }

func normalTime(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond)
}
