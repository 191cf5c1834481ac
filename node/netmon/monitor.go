package netmon

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// Timing (wire document paths, section 19).
const (
	quiet        = 200 * time.Millisecond // after an event, before looking again: a change has many
	clockCheck   = 15 * time.Second       // between looks at the wall clock
	clockJump    = 22500 * time.Millisecond
	longSleep    = 10 * time.Minute
	pollInterval = 10 * time.Second // without notifications from the system
)

// Source gives states and notifications. The system's own is used by default;
// tests have theirs.
type Source interface {
	// State takes a snapshot.
	State() (*State, error)
	// Wait blocks until something may have changed. An error means that
	// there will be no more notifications; the Monitor then polls.
	Wait(ctx context.Context) error
}

// Options are the surroundings of a Monitor.
type Options struct {
	// Logger may be nil.
	Logger *slog.Logger
	// Tunnel is the name of the node's own interface.
	Tunnel string
	// Source may be nil for the system's.
	Source Source
	// Now is the wall clock; nil for the system's. It is compared without its
	// monotonic part, which stands still while a machine sleeps.
	Now func() time.Time
}

// Monitor watches the network. Create it with New, then call Run.
type Monitor struct {
	log    *slog.Logger
	source Source
	now    func() time.Time
	state  atomic.Pointer[State]
	poke   chan struct{}
}

// New takes a first snapshot.
func New(o Options) (*Monitor, error) {
	m := &Monitor{log: o.Logger, source: o.Source, now: o.Now, poke: make(chan struct{}, 1)}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	if m.now == nil {
		m.now = time.Now
	}
	if m.source == nil {
		s, err := systemSource(o.Tunnel)
		if err != nil {
			return nil, err
		}
		m.source = s
	}
	first, err := m.source.State()
	if err != nil {
		return nil, err
	}
	m.state.Store(first)
	return m, nil
}

// State returns the latest snapshot. It is never nil.
func (m *Monitor) State() *State { return m.state.Load() }

// Poke makes the Monitor look at once, as after an event.
func (m *Monitor) Poke() {
	select {
	case m.poke <- struct{}{}:
	default:
	}
}

// Run calls onChange, one call at a time, for every change until ctx ends. The
// first event of a series is acted on at once, the rest together a little
// later.
func (m *Monitor) Run(ctx context.Context, onChange func(Change)) {
	events := make(chan struct{}, 1)
	ended := make(chan struct{})
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer close(ended)
		m.listen(ctx, events)
	}()
	defer func() {
		cancel()
		<-ended
	}()
	clock := time.NewTicker(clockCheck)
	defer clock.Stop()
	last := m.wall()
	var pause <-chan time.Time // set while events wait for quiet
	pending := false
	for {
		slept := time.Duration(0)
		select {
		case <-ctx.Done():
			return
		case <-events:
			if pause != nil {
				pending = true
				continue
			}
		case <-m.poke:
		case <-pause:
			pause = nil
			if !pending {
				continue
			}
			pending = false
		case <-clock.C:
		}
		pause = time.After(quiet)
		now := m.wall()
		if d := now.Sub(last); d > clockJump {
			slept = d
		}
		last = now
		m.look(slept, onChange)
	}
}

// wall returns the wall clock without its monotonic part.
func (m *Monitor) wall() time.Time { return m.now().Round(0) }

// look takes a snapshot and reports what changed.
func (m *Monitor) look(slept time.Duration, onChange func(Change)) {
	now, err := m.source.State()
	if err != nil {
		m.log.Warn("cannot read the network state", "err", err)
		return
	}
	old := m.state.Load()
	if now.Equal(old) && slept == 0 {
		return
	}
	m.state.Store(now)
	c := classify(old, now, slept > 0, slept >= longSleep)
	m.log.Info("network changed", "default", now.DefaultInterface, "rebind", c.RebindLikely, "slept", slept, "ipv4", now.HaveV4, "ipv6", now.HaveV6)
	onChange(c)
}

// listen turns notifications into events, or polls.
func (m *Monitor) listen(ctx context.Context, events chan<- struct{}) {
	signal := func() {
		select {
		case events <- struct{}{}:
		default:
		}
	}
	for {
		if err := m.source.Wait(ctx); err != nil {
			if ctx.Err() == nil {
				m.log.Warn("no notifications of network changes; polling", "err", err, "every", pollInterval)
			}
			break
		}
		signal()
	}
	t := time.NewTicker(pollInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			signal()
		}
	}
}
