package netmon

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func pfx(s ...string) (out []netip.Prefix) {
	for _, x := range s {
		out = append(out, netip.MustParsePrefix(x))
	}
	return out
}

// state returns a machine with one ordinary interface.
func state(addrs ...string) *State {
	s := &State{
		Tunnel: "tun0", DefaultInterface: "eth0", Gateway: netip.MustParseAddr("192.168.1.1"),
		Interfaces: map[string]Interface{
			"lo":   {Index: 1, Up: true, Loopback: true, Addrs: pfx("127.0.0.1/8")},
			"eth0": {Index: 2, Up: true, MTU: 1500, Addrs: pfx(addrs...)},
			"tun0": {Index: 3, Up: true, MTU: 1280, Addrs: pfx("100.64.0.9/32")},
		},
	}
	s.complete()
	return s
}

func TestLocalAddrs(t *testing.T) {
	s := state("192.168.1.5/24", "2001:db8::5/64", "fe80::1/64", "fd7a:115c:a1e0::77/128")
	s.Interfaces["wifi"] = Interface{Index: 4, Addrs: pfx("10.0.0.1/8")} // down
	got := s.LocalAddrs()
	if len(got) != 2 || got[0] != netip.MustParseAddr("192.168.1.5") || got[1] != netip.MustParseAddr("2001:db8::5") {
		t.Errorf("local addresses %v", got)
	}
	if !s.HaveV4 || !s.HaveV6 {
		t.Error("families are not seen")
	}
	if n := state("fe80::1/64"); n.AnyUp() {
		t.Error("link-local alone counts as a way out")
	}
}

func TestClassify(t *testing.T) {
	base := func() *State { return state("192.168.1.5/24") }
	change := func(f func(*State)) *State {
		s := base()
		f(s)
		s.complete()
		return s
	}
	eth := func(f func(*Interface)) func(*State) {
		return func(s *State) { i := s.Interfaces["eth0"]; f(&i); s.Interfaces["eth0"] = i }
	}
	for _, c := range []struct {
		name             string
		old, now         *State
		slept, long      bool
		rebind, down, up bool
	}{
		{"first", nil, base(), false, false, true, false, false},
		{"nothing", base(), base(), false, false, false, false, false},
		{"address", base(), state("192.168.1.6/24"), false, false, true, false, false},
		{"another address", base(), state("192.168.1.5/24", "192.168.2.5/24"), false, false, true, false, false},
		{"link-local address", base(), state("192.168.1.5/24", "fe80::1/64"), false, false, false, false, false},
		{"prefix length", base(), state("192.168.1.5/16"), false, false, false, false, false},
		{"IPv6 arrives", base(), state("192.168.1.5/24", "2001:db8::1/64"), false, false, true, false, false},
		{"MTU", base(), change(eth(func(i *Interface) { i.MTU = 9000 })), false, false, false, false, false},
		{"down", base(), change(eth(func(i *Interface) { i.Up = false })), false, false, false, true, false},
		{"up again", change(eth(func(i *Interface) { i.Up = false })), base(), false, false, true, false, true},
		{"gateway", base(), change(func(s *State) { s.Gateway = netip.MustParseAddr("192.168.1.254") }), false, false, true, false, false},
		{"default route gone", base(), change(func(s *State) { s.DefaultInterface = "" }), false, false, false, false, false},
		{"default is the tunnel", base(), change(func(s *State) { s.DefaultInterface = "tun0" }), false, false, false, false, false},
		{"tunnel address", base(), change(func(s *State) { s.Interfaces["tun0"] = Interface{Index: 3, Up: true, Addrs: pfx("100.64.0.10/32")} }), false, false, false, false, false},
		{"unused interface appears", base(), change(func(s *State) { s.Interfaces["eth1"] = Interface{Index: 9, Up: true} }), false, false, false, false, false},
		{"short sleep", base(), base(), true, false, false, false, false},
		{"long sleep", base(), base(), true, true, true, false, false},
	} {
		got := classify(c.old, c.now, c.slept, c.long)
		if got.RebindLikely != c.rebind || got.Down != c.down || got.Up != c.up || got.Slept != c.slept {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

// fakeSource is a network that the test changes.
type fakeSource struct {
	mu     sync.Mutex
	state  *State
	looks  int
	events chan error
}

func (f *fakeSource) set(s *State) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state = s
}

func (f *fakeSource) lookCount() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.looks
}

func (f *fakeSource) State() (*State, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looks++
	return f.state, nil
}

func (f *fakeSource) Wait(ctx context.Context) error {
	select {
	case err := <-f.events:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// start runs a Monitor in a bubble and returns its changes.
func start(t *testing.T, f *fakeSource, now func() time.Time) (changes chan Change, stop func()) {
	m, err := New(Options{Source: f, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	changes = make(chan Change, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Run(ctx, func(c Change) { changes <- c })
	}()
	synctest.Wait()
	return changes, func() { cancel(); <-done }
}

func TestFirstEventAtOnceThenTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeSource{state: state("192.168.1.5/24"), events: make(chan error)}
		changes, stop := start(t, f, nil)
		defer stop()
		f.set(state("192.168.1.6/24"))
		f.events <- nil
		synctest.Wait()
		if len(changes) != 1 {
			t.Fatalf("%d changes at once, want 1", len(changes))
		}
		if c := <-changes; !c.RebindLikely || c.New.LocalAddrs()[0] != netip.MustParseAddr("192.168.1.6") {
			t.Errorf("change %+v", c)
		}
		looks := f.lookCount()
		for range 10 {
			f.set(state("192.168.1.7/24"))
			f.events <- nil
			synctest.Wait()
		}
		if len(changes) != 0 || f.lookCount() != looks {
			t.Error("events in the quiet time were acted on")
		}
		time.Sleep(quiet)
		synctest.Wait()
		if len(changes) != 1 || f.lookCount() != looks+1 {
			t.Errorf("%d changes and %d looks after the quiet time, want 1 and 1", len(changes), f.lookCount()-looks)
		}
		<-changes
		// An event without a change is not reported.
		time.Sleep(2 * quiet)
		f.events <- nil
		synctest.Wait()
		if len(changes) != 0 {
			t.Error("a change without a difference")
		}
	})
}

func TestPollingWithoutNotifications(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeSource{state: state("192.168.1.5/24"), events: make(chan error, 1)}
		f.events <- errors.New("no netlink here")
		changes, stop := start(t, f, nil)
		defer stop()
		f.set(state("192.168.1.6/24"))
		time.Sleep(pollInterval)
		synctest.Wait()
		if len(changes) != 1 {
			t.Errorf("%d changes after a poll", len(changes))
		}
	})
}

func TestSleepIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var jump time.Duration
		now := func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return time.Now().Add(jump)
		}
		f := &fakeSource{state: state("192.168.1.5/24"), events: make(chan error)}
		changes, stop := start(t, f, now)
		defer stop()
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if len(changes) != 0 {
			t.Fatal("a change while the clock ran evenly")
		}
		sleep := func(d time.Duration) Change {
			t.Helper()
			mu.Lock()
			jump += d
			mu.Unlock()
			time.Sleep(clockCheck)
			synctest.Wait()
			if len(changes) != 1 {
				t.Fatalf("%d changes after a jump of %v", len(changes), d)
			}
			return <-changes
		}
		if c := sleep(time.Minute); !c.Slept || c.LongSleep || c.RebindLikely {
			t.Errorf("after a minute: %+v", c)
		}
		if c := sleep(time.Hour); !c.Slept || !c.LongSleep || !c.RebindLikely {
			t.Errorf("after an hour: %+v", c)
		}
	})
}

// TestOwnTunnelIsNoNews has the node's own interface come up, get its addresses and go,
// with notifications of each.
func TestOwnTunnelIsNoNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		with := func(i *Interface) *State {
			s := state("192.168.1.5/24")
			delete(s.Interfaces, "tun0")
			if i != nil {
				s.Interfaces["tun0"] = *i
			}
			s.complete()
			return s
		}
		f := &fakeSource{state: with(nil), events: make(chan error)}
		changes, stop := start(t, f, nil)
		defer stop()
		for _, i := range []*Interface{
			{Index: 3}, {Index: 3, Up: true, MTU: 1280},
			{Index: 3, Up: true, MTU: 1280, Addrs: pfx("100.64.0.9/32", "fd7a:115c:a1e0::9/128", "fe80::9/64")}, nil,
		} {
			f.set(with(i))
			looks := f.lookCount()
			time.Sleep(2 * quiet)
			f.events <- nil
			synctest.Wait()
			if f.lookCount() != looks+1 || len(changes) != 0 {
				t.Fatalf("tunnel %+v: %d looks, %d changes, want 1 and none", i, f.lookCount()-looks, len(changes))
			}
		}
		f.set(state("192.168.1.6/24")) // what others do is news as before
		time.Sleep(2 * quiet)
		f.events <- nil
		synctest.Wait()
		if len(changes) != 1 {
			t.Errorf("%d changes, want 1", len(changes))
		}
	})
}
