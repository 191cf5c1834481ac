package tailnet

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginnel/ginnel/wire/control"
)

// Commands that come in while a commit is under way share the next one.
func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Options{})
		_, secret := f.authKey(AuthKeyParams{Reusable: true})
		gate := make(chan struct{})
		f.store.mu.Lock()
		f.store.gate = gate
		before := f.store.commits
		f.store.mu.Unlock()
		var wg sync.WaitGroup
		const joins = 100
		for range joins {
			wg.Go(func() {
				p := newDevice("n").params()
				p.AuthKey = secret
				if _, err := f.Register(context.Background(), p); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if n := f.Snapshot().NodeCount(); n != 0 {
			t.Errorf("%d nodes were published before their commit", n)
		}
		close(gate)
		wg.Wait()
		if n := f.Snapshot().NodeCount(); n != joins {
			t.Errorf("%d nodes", n)
		}
		if got := f.store.commits - before; got > 3 {
			t.Errorf("%d commits for %d joins", got, joins)
		}
		f.Close()
	})
}

// A commit that fails leaves the model as it was, and everybody knows.
func TestFailedCommit(t *testing.T) {
	f := start(t, Options{})
	k, secret := f.authKey(AuthKeyParams{})
	seen := f.watch()
	full := errors.New("disk full")
	f.store.fail(full)
	d := newDevice("a")
	p := d.params()
	p.AuthKey = secret
	f.wantRefusal(p, full)
	if f.Health() == nil {
		t.Error("the service says that it is well")
	}
	if got := seen.take(); len(got) != 0 {
		t.Errorf("published %v", describe(got))
	}
	if f.Snapshot().NodeCount() != 0 || f.Snapshot().AuthKey(k.ID).Uses != 0 {
		t.Error("the failed command left something behind")
	}
	f.store.fail(nil)
	n := f.join(d, secret) // the one-off key is still good
	if n.ID != 1 || f.Health() != nil {
		t.Errorf("node %d, health %v", n.ID, f.Health())
	}
}

// Nodes go offline even when the disk refuses to note when.
func TestPresenceWithoutDisk(t *testing.T) {
	f := start(t, Options{})
	_, secret := f.authKey(AuthKeyParams{})
	n := f.join(newDevice("a"), secret)
	seen := f.watch()
	f.store.fail(errors.New("disk full"))
	if err := f.SetOnline(t.Context(), n.ID); err != nil {
		t.Errorf("going online: %v", err)
	}
	if !f.Snapshot().Node(n.ID).Online {
		t.Error("the node is not online")
	}
	if err := f.SetOffline(t.Context(), n.ID, time.Now()); err == nil {
		t.Error("going offline hides the failed commit")
	}
	if f.Snapshot().Node(n.ID).Online {
		t.Error("the node is still online")
	}
	got := seen.take()
	if len(got) != 2 || got[0].Fields != FieldOnline || got[1].Fields != FieldOnline|FieldLastSeen {
		t.Errorf("published %v", describe(got))
	}
}

func TestPresenceIsKeptInMemoryOnly(t *testing.T) {
	f := start(t, Options{})
	_, secret := f.authKey(AuthKeyParams{})
	n := f.join(newDevice("a"), secret)
	commits := f.store.commits
	if err := f.SetOnline(t.Context(), n.ID); err != nil {
		t.Fatal(err)
	}
	if f.store.commits != commits {
		t.Error("going online was written to disk")
	}
	f.Close()
	f.open(Options{})
	if f.Snapshot().Node(n.ID).Online {
		t.Error("the node is online after a restart")
	}
	at := time.Now().Add(time.Second)
	if err := f.SetOffline(t.Context(), n.ID, at); err != nil {
		t.Fatal(err)
	}
	f.Close()
	f.open(Options{})
	if got := f.Snapshot().Node(n.ID).LastSeen; !got.Equal(at.Truncate(time.Microsecond)) {
		t.Errorf("last seen %s, want %s", got, at)
	}
}

// A restart gives back the same model, and goes on counting where it was.
func TestReopen(t *testing.T) {
	f := start(t, Options{})
	_, secret := f.authKey(AuthKeyParams{Reusable: true})
	a, b := f.join(newDevice("a"), secret), f.join(newDevice("b"), secret)
	if err := f.DeleteNode(t.Context(), tester, b.ID); err != nil {
		t.Fatal(err)
	}
	seq := f.Snapshot().Seq()
	f.Close()
	f.open(Options{})
	if f.Snapshot().Seq() != seq || f.Snapshot().NodeByKey(a.Key) == nil || f.Snapshot().NodeByName(DefaultTailnet, "a") == nil {
		t.Error("the model changed by the restart")
	}
	if c := f.join(newDevice("c"), secret); c.ID <= b.ID {
		t.Errorf("node ID %d was given out again", c.ID)
	}
}

func TestSubscribeHasNoGap(t *testing.T) {
	f := start(t, Options{})
	_, secret := f.authKey(AuthKeyParams{Reusable: true})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				f.join(newDevice("n"), secret)
			}
		}
	})
	for range 50 {
		var mu sync.Mutex
		var last *Snapshot
		known := map[control.NodeID]bool{}
		first, cancel := f.Subscribe(func(cs ChangeSet) {
			mu.Lock()
			defer mu.Unlock()
			last = cs.Snapshot
			for _, c := range cs.Changes {
				known[c.New.ID] = true
			}
		})
		mu.Lock()
		for n := range first.Nodes(DefaultTailnet) {
			known[n.ID] = true
		}
		mu.Unlock()
		f.join(newDevice("mine"), secret)
		cancel()
		mu.Lock()
		if len(known) != last.NodeCount() {
			t.Errorf("knew %d nodes of %d", len(known), last.NodeCount())
		}
		mu.Unlock()
	}
	close(stop)
	wg.Wait()
}

func TestExpiryIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Options{NodeKeyExpiry: time.Hour})
		_, secret := f.authKey(AuthKeyParams{Reusable: true})
		a := f.join(newDevice("a"), secret)
		time.Sleep(time.Minute)
		b := f.join(newDevice("b"), secret)
		seen := f.watch()
		time.Sleep(59*time.Minute + time.Second)
		synctest.Wait()
		got := seen.take()
		if len(got) != 1 || got[0].Kind != NodeExpired || got[0].New.ID != a.ID {
			t.Errorf("after an hour: %v", describe(got))
		}
		if _, err := f.ExpireNode(context.Background(), tester, b.ID, time.Now()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if got := describe(seen.take()); !slices.Equal(got, []string{"2:key-expiry"}) {
			t.Errorf("after an expiry by command: %v", got)
		}
		f.Close()
	})
}

func TestEphemeralRemoval(t *testing.T) {
	const timeout = 2 * time.Minute
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		f := start(t, Options{EphemeralTimeout: timeout})
		_, secret := f.authKey(AuthKeyParams{Reusable: true, Ephemeral: true})
		_, lasting := f.authKey(AuthKeyParams{Reusable: true})
		alive := func(n *Node) bool { synctest.Wait(); return f.Snapshot().Node(n.ID) != nil }

		keeper := f.join(newDevice("keeper"), lasting)
		never := f.join(newDevice("never"), secret)
		d := newDevice("on")
		on := f.join(d, secret)
		if err := f.SetOnline(ctx, on.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(timeout + time.Second)
		if alive(never) || !alive(on) || !alive(keeper) {
			t.Errorf("after the timeout: never seen %t, online %t, lasting %t", alive(never), alive(on), alive(keeper))
		}
		f.SetOffline(ctx, on.ID, time.Now())
		time.Sleep(timeout - time.Second)
		f.SetOnline(ctx, on.ID)
		time.Sleep(timeout)
		f.SetOffline(ctx, on.ID, time.Now())
		time.Sleep(timeout - time.Second)
		f.mustRegister(d.params()) // starts again: it is about to poll
		time.Sleep(timeout - time.Second)
		if !alive(on) {
			t.Error("removed although it came back")
		}
		f.Close()

		f.open(Options{EphemeralTimeout: timeout}) // the time runs anew from a restart
		time.Sleep(timeout - time.Second)
		if !alive(on) {
			t.Error("removed too soon after a restart")
		}
		time.Sleep(2 * time.Second)
		if alive(on) {
			t.Error("never removed after a restart")
		}
		if !alive(keeper) {
			t.Error("a lasting node was removed")
		}
		f.Close()
	})
}

func TestClosedServiceRefuses(t *testing.T) {
	f := start(t, Options{})
	f.Close()
	if _, err := f.CreateUser(t.Context(), tester, DefaultTailnet, UserParams{LoginName: "x"}); !errors.Is(err, ErrClosed) {
		t.Errorf("command after close: %v", err)
	}
	if f.Snapshot().NodeCount() != 0 {
		t.Error("no snapshot after close")
	}
}

func BenchmarkUpdate10kNodes(b *testing.B) {
	var st MemoryStore
	s, err := Open(context.Background(), &st, Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	u, err := s.CreateUser(context.Background(), tester, DefaultTailnet, UserParams{LoginName: "x"})
	if err != nil {
		b.Fatal(err)
	}
	_, secret, err := s.CreateAuthKey(context.Background(), tester, AuthKeyParams{UserID: u.ID, Reusable: true})
	if err != nil {
		b.Fatal(err)
	}
	for range 10000 {
		p := newDevice("n").params()
		p.AuthKey = secret
		if _, err := s.Register(context.Background(), p); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		id := control.NodeID(1 + i%10000)
		if err := s.SetOnline(context.Background(), id); err != nil {
			b.Fatal(err)
		}
		if err := s.SetOffline(context.Background(), id, time.Now()); err != nil {
			b.Fatal(err)
		}
	}
}
