package tailnet

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginnel/ginnel/wire/control"
)

// crash ends a service as a crash would, and opens the next one on its store.
func (f *fixture) crash(o Options) *Service {
	f.t.Helper()
	f.Close() // without a word about who was seen
	s, err := Open(context.Background(), f.store, o)
	if err != nil {
		f.t.Fatal(err)
	}
	return s
}

// After a crash LastSeen is the last minute's at worst, and a second crash does not
// take it back.
func TestLastSeenAfterCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Options{})
		_, secret := f.authKey(AuthKeyParams{Reusable: true})
		stays, goes, never := f.join(newDevice("stays"), secret), f.join(newDevice("goes"), secret), f.join(newDevice("never"), secret)
		for _, n := range []*Node{stays, goes} {
			if err := f.SetOnline(context.Background(), n.ID); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Hour + 10*time.Second)
		left := timestamp()
		if err := f.SetOffline(context.Background(), goes.ID, left); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30*time.Minute + 40*time.Second)
		crashed := timestamp()
		s := f.crash(Options{})
		check := func(s *Service) {
			t.Helper()
			snap := s.Snapshot()
			if got := crashed.Sub(snap.Node(stays.ID).LastSeen); got < 0 || got > DefaultOnlineEvery {
				t.Errorf("a node that was online until the crash was last seen %v before it", got)
			}
			if got := snap.Node(goes.ID).LastSeen; !got.Equal(left) {
				t.Errorf("a node that left at %v was last seen at %v", left, got)
			}
			if got := snap.Node(never.ID).LastSeen; !got.Equal(never.LastSeen) {
				t.Errorf("a node that joined at %v was last seen at %v", never.LastSeen, got)
			}
		}
		check(s)
		// Only one of them comes back before the next crash.
		if err := s.SetOnline(context.Background(), goes.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		s.Close()
		s, err := Open(context.Background(), f.store, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if got := s.Snapshot().Node(goes.ID).LastSeen; timestamp().Sub(got) > DefaultOnlineEvery {
			t.Errorf("the node that came back was last seen at %v", got)
		}
		left = s.Snapshot().Node(goes.ID).LastSeen
		check(s)
	})
}

// A clock that is set back does not take LastSeen back, but for one that was far off.
func TestLastSeenOnlyGrows(t *testing.T) {
	s := &Service{}
	now := timestamp()
	at := func(d time.Duration) time.Time { return now.Add(d) }
	for _, c := range []struct{ before, seen, want time.Duration }{
		{before: -time.Hour, seen: 0, want: 0},
		{before: -time.Hour, seen: -2 * time.Hour, want: -time.Hour},
		{before: time.Second, seen: 0, want: time.Second},
		{before: maxClockStep, seen: -time.Minute, want: maxClockStep},
		{before: maxClockStep + time.Second, seen: 0, want: 0},
	} {
		x := &tx{s: s, now: now}
		if got := x.laterSeen(&Node{LastSeen: at(c.before)}, at(c.seen)); !got.Equal(at(c.want)) {
			t.Errorf("last seen at %v and now at %v: %v, want %v", c.before, c.seen, got.Sub(now), c.want)
		}
	}
}

// Updates and logins keep to it.
func TestUpdatesKeepLastSeen(t *testing.T) {
	f := start(t, Options{})
	_, secret := f.authKey(AuthKeyParams{Reusable: true})
	d := newDevice("a")
	n := f.join(d, secret)
	ahead := timestamp().Add(time.Minute)
	if err := f.NoteSeen(t.Context(), map[control.NodeID]time.Time{n.ID: ahead}); err != nil {
		t.Fatal(err)
	}
	n, err := f.UpdateNode(t.Context(), n.ID, NodeUpdate{Hostinfo: &control.Hostinfo{Hostname: "b"}})
	if err != nil || !n.LastSeen.Equal(ahead) {
		t.Errorf("after an update last seen at %v, %v; it was %v", n.LastSeen, err, ahead)
	}
	_, p := d.rotated()
	p.AuthKey = secret
	if n = f.mustRegister(p); !n.LastSeen.Equal(ahead) {
		t.Errorf("after a login last seen at %v; it was %v", n.LastSeen, ahead)
	}
}
