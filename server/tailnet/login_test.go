package tailnet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginnel/ginnel/wire/control"
)

type answer struct {
	r   RegisterResult
	err error
}

// follow sends the followup of a login and returns where its answer will come.
func (f *fixture) follow(p RegisterParams, id string) <-chan answer {
	p.FollowupID = id
	out := make(chan answer, 1)
	go func() {
		r, err := f.Register(context.Background(), p)
		out <- answer{r, err}
	}()
	return out
}

func TestInteractiveLogin(t *testing.T) {
	f := start(t, Options{})
	d := newDevice("a")
	p := d.params()
	p.Hostinfo.RequestTags = []string{"tag:x"}
	id := f.wantStatus(p, LoginPending).LoginID
	if again := f.wantStatus(p, LoginPending).LoginID; again != id {
		t.Error("the same request got another login")
	}
	if l, ok := f.PendingLogin(id); !ok || l.NodeKey != d.node || l.Hostinfo.Hostname != "a" {
		t.Errorf("pending login %+v", l)
	}
	first, second := f.follow(p, id), f.follow(p, id)
	n, err := f.ApproveLogin(t.Context(), tester, id, f.user.ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(n.Tags) != 1 || n.Tags[0] != "tag:x" || !n.Authorized {
		t.Errorf("approved as %+v", n)
	}
	for _, ch := range []<-chan answer{first, second} {
		if a := <-ch; a.err != nil || a.r.Status != Registered || a.r.Node.ID != n.ID || a.r.User.ID != f.user.ID {
			t.Errorf("followup: %+v", a)
		}
	}
	// A followup that was lost on the way is sent again, after the login is gone.
	if a := <-f.follow(p, id); a.err != nil || a.r.Status != Registered {
		t.Errorf("late followup: %+v", a)
	}
	if _, err := f.ApproveLogin(t.Context(), tester, id, f.user.ID, nil); !errors.Is(err, ErrLoginUnknown) {
		t.Errorf("second approval: %v", err)
	}
	if len(f.PendingLogins()) != 0 {
		t.Error("the login is still pending")
	}
}

func TestLoginDenied(t *testing.T) {
	f := start(t, Options{})
	p := newDevice("a").params()
	id := f.wantStatus(p, LoginPending).LoginID
	waiting := f.follow(p, id)
	// Deny may come before the followup waits; then it starts a new login.
	if err := f.DenyLogin(t.Context(), tester, id); err != nil {
		t.Fatal(err)
	}
	if a := <-waiting; !errors.Is(a.err, ErrLoginDenied) && (a.r.Status != LoginPending || a.r.LoginID == id) {
		t.Errorf("followup of a refused login: %+v", a)
	}
	if f.Snapshot().NodeCount() != 0 {
		t.Error("a refused login made a node")
	}
}

func TestDeniedFollowupIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Options{})
		p := newDevice("a").params()
		id := f.wantStatus(p, LoginPending).LoginID
		waiting := f.follow(p, id)
		synctest.Wait()
		if err := f.DenyLogin(context.Background(), tester, id); err != nil {
			t.Fatal(err)
		}
		if a := <-waiting; !errors.Is(a.err, ErrLoginDenied) {
			t.Errorf("followup of a refused login: %+v", a)
		}
		f.Close()
	})
}

func TestFollowupOfUnknownLogin(t *testing.T) {
	f := start(t, Options{})
	p := newDevice("a").params()
	p.FollowupID = "gone"
	id := f.wantStatus(p, LoginPending).LoginID
	if id == "" || id == "gone" {
		t.Errorf("login ID %q", id)
	}
	// Somebody else's login is unknown too.
	other := newDevice("b").params()
	other.FollowupID = id
	if got := f.wantStatus(other, LoginPending).LoginID; got == id {
		t.Error("two machines share a login")
	}
}

func TestFollowupEndsWithContextAndService(t *testing.T) {
	f := start(t, Options{})
	p := newDevice("a").params()
	p.FollowupID = f.wantStatus(p, LoginPending).LoginID
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := f.Register(ctx, p); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled followup: %v", err)
	}
	waiting := f.follow(p, p.FollowupID)
	f.Close()
	if a := <-waiting; !errors.Is(a.err, ErrClosed) {
		t.Errorf("followup of a closed service: %+v", a)
	}
}

// An expired node that waits for a login must not be told to make a new key.
func TestFollowupNeverAnswersKeyExpired(t *testing.T) {
	f := start(t, Options{NodeKeyExpiry: time.Hour})
	_, secret := f.authKey(AuthKeyParams{Reusable: true})
	d := newDevice("a")
	n := f.join(d, secret)
	if _, err := f.ExpireNode(t.Context(), tester, n.ID, time.Now()); err != nil {
		t.Fatal(err)
	}
	p := d.params()
	p.FollowupID = "gone"
	id := f.wantStatus(p, LoginPending).LoginID
	if _, err := f.ApproveLogin(t.Context(), tester, id, f.user.ID, nil); err != nil {
		t.Fatal(err)
	}
	if m := f.mustRegister(d.params()); m.ID != n.ID {
		t.Errorf("node %d came back as %d", n.ID, m.ID)
	}
}

func TestPendingLoginsAreBounded(t *testing.T) {
	f := start(t, Options{})
	first := newDevice("first").params()
	firstID := f.wantStatus(first, LoginPending).LoginID
	waiting := f.follow(first, firstID)
	pending := func() bool { // without looking at it as a user of it would
		f.logins.mu.Lock()
		defer f.logins.mu.Unlock()
		return f.logins.byID[firstID] != nil
	}
	for pending() {
		f.wantStatus(newDevice("x").params(), LoginPending)
	}
	if len(f.PendingLogins()) != maxLogins {
		t.Errorf("%d pending logins, want %d", len(f.PendingLogins()), maxLogins)
	}
	// The node that waited on the one pushed out gets a new one.
	if a := <-waiting; a.err != nil || a.r.Status != LoginPending || a.r.LoginID == firstID {
		t.Errorf("followup of a login pushed out: %+v", a)
	}
}

// Whoever makes many logins pushes out their own, however many keys they have, and
// not those of others.
func TestLoginsOfOthersStay(t *testing.T) {
	f := start(t, Options{})
	from := func(addr string) RegisterParams {
		p := newDevice("x").params()
		p.From = netip.MustParseAddr(addr)
		return p
	}
	honest := []string{"192.0.2.1", "192.0.2.2", "2001:db8:1::1", "192.0.2.1"}
	var ids []string
	for _, addr := range honest {
		ids = append(ids, f.wantStatus(from(addr), LoginPending).LoginID)
	}
	flood := f.wantStatus(from("2001:db8:2::1"), LoginPending).LoginID
	for i := range maxLogins + 100 { // a /48 counts as one
		f.wantStatus(from(fmt.Sprintf("2001:db8:2:%x::%x", i%500, i)), LoginPending)
	}
	// A late one finds room too.
	ids = append(ids, f.wantStatus(from("192.0.2.3"), LoginPending).LoginID)
	for i, id := range ids {
		if _, ok := f.PendingLogin(id); !ok {
			t.Errorf("login %d was pushed out", i)
		}
	}
	if _, ok := f.PendingLogin(flood); ok {
		t.Error("the oldest of the flood is still there")
	}
	if n := len(f.PendingLogins()); n != maxLogins {
		t.Errorf("%d pending logins, want %d", n, maxLogins)
	}
	if got, want := f.Stats().LoginsEvicted, uint64(len(ids)+1+maxLogins+100-maxLogins); got != want {
		t.Errorf("%d evicted, want %d", got, want)
	}
}

// A machine has a few logins at most, the newest, and large ones count for more.
func TestLoginsOfOneMachine(t *testing.T) {
	f := start(t, Options{})
	d := newDevice("a")
	var ids []string
	for range maxMachineLogins + 2 {
		var p RegisterParams
		d, p = d.rotated()
		ids = append(ids, f.wantStatus(p, LoginPending).LoginID)
	}
	for i, id := range ids {
		if _, ok := f.PendingLogin(id); ok != (i >= 2) {
			t.Errorf("login %d of %d: pending is %v", i, len(ids), ok)
		}
	}
	for range 2 * maxLoginBytes / maxHostinfo {
		p := newDevice("big").params()
		p.From = netip.MustParseAddr("192.0.2.9")
		p.Hostinfo.Package = strings.Repeat("x", maxHostinfo-1000)
		f.wantStatus(p, LoginPending)
	}
	if n, most := len(f.PendingLogins()), maxMachineLogins+maxLoginBytes/(maxHostinfo-1000); n > most {
		t.Errorf("%d large logins are kept, %d have room", n, most)
	}
	if _, ok := f.PendingLogin(ids[len(ids)-1]); !ok {
		t.Error("large logins pushed out those of another address")
	}
	for _, l := range f.PendingLogins() {
		if err := f.DenyLogin(t.Context(), tester, l.ID); err != nil {
			t.Fatal(err)
		}
	}
	if tb := &f.logins; tb.bytes != 0 || len(tb.byNode)+len(tb.byMachine)+len(tb.bySource) != 0 {
		t.Errorf("something is left behind: %d bytes, %d nodes, %d machines, %d sources",
			tb.bytes, len(tb.byNode), len(tb.byMachine), len(tb.bySource))
	}
}

func TestOldLoginsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Options{})
		p := newDevice("a").params()
		id := f.wantStatus(p, LoginPending).LoginID
		time.Sleep(maxLoginAge)
		if _, ok := f.PendingLogin(id); ok {
			t.Error("the login has outlived its time")
		}
		if again := f.wantStatus(p, LoginPending).LoginID; again == id {
			t.Error("the old login was offered again")
		}
		f.Close()
	})
}

func TestBadTagsRefuseLogin(t *testing.T) {
	f := start(t, Options{})
	p := newDevice("a").params()
	p.Hostinfo = &control.Hostinfo{RequestTags: []string{"x"}}
	f.wantRefusal(p, ErrTags)
}
