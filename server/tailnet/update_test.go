package tailnet

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginnel/ginnel/wire/control"
)

// A server that is killed remembers of every node the last time that it stored
// something which the node did; one that ends remembers the end.
func TestLastSeenAcrossRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Options{})
		_, secret := f.authKey(AuthKeyParams{Reusable: true})
		time.Sleep(time.Hour)
		a, b := f.join(newDevice("a"), secret), f.join(newDevice("b"), secret)
		joined := time.Now()
		want := func(id control.NodeID, at time.Time) {
			t.Helper()
			if got := f.Snapshot().Node(id).LastSeen; !got.Equal(at) {
				t.Errorf("node %d was last seen at %v, want %v", id, got, at)
			}
		}
		// What is in memory only is lost by a kill; opening the store anew is one.
		again := func() {
			t.Helper()
			f.Close()
			f.open(Options{})
		}
		if err := f.SetOnline(t.Context(), a.ID); err != nil {
			t.Fatal(err)
		}
		again()
		want(a.ID, joined)

		time.Sleep(time.Hour)
		if _, err := f.UpdateNode(t.Context(), a.ID, NodeUpdate{Endpoints: []Endpoint{{Addr: netip.MustParseAddrPort("192.0.2.1:1")}}}); err != nil {
			t.Fatal(err)
		}
		updated := time.Now()
		again()
		want(a.ID, updated)
		want(b.ID, joined)
		// An end that was noted late does not move the time back.
		if err := f.SetOffline(t.Context(), a.ID, joined); err != nil {
			t.Fatal(err)
		}
		want(a.ID, updated)

		time.Sleep(time.Hour)
		if err := f.SetOnline(t.Context(), b.ID); err != nil {
			t.Fatal(err)
		}
		commits := f.store.commits
		if err := f.NoteSeen(t.Context(), map[control.NodeID]time.Time{a.ID: joined, b.ID: time.Now(), 99: time.Now()}); err != nil {
			t.Fatal(err)
		}
		if got := f.store.commits - commits; got != 1 {
			t.Errorf("%d commits", got)
		}
		if !f.Snapshot().Node(b.ID).Online {
			t.Error("the node went offline")
		}
		again()
		want(a.ID, updated)
		want(b.ID, time.Now())
		f.Close()
	})
}

// What nodes say of themselves is bounded.
func TestWhatANodeSaysIsBounded(t *testing.T) {
	f := start(t, Options{})
	_, secret := f.authKey(AuthKeyParams{Reusable: true})
	large := &control.Hostinfo{Hostname: "x", DeviceModel: strings.Repeat("<", maxHostinfo/6)} // six bytes each, as JSON
	refused := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "the server keeps") {
			t.Errorf("%s: %v", what, err)
		}
	}
	p := newDevice("a").params()
	p.AuthKey, p.Hostinfo = secret, large
	_, err := f.Register(context.Background(), p)
	refused("join", err)
	p.AuthKey = ""
	_, err = f.Register(context.Background(), p)
	refused("login", err)
	if n := len(f.PendingLogins()); n != 0 {
		t.Errorf("%d pending logins", n)
	}
	p = newDevice("b").params()
	p.AuthKey, p.KeySignature = secret, make([]byte, maxKeySignature+1)
	_, err = f.Register(context.Background(), p)
	refused("signature", err)

	n := f.join(newDevice("c"), secret)
	_, err = f.UpdateNode(t.Context(), n.ID, NodeUpdate{Hostinfo: large})
	refused("update", err)
	_, err = f.UpdateNode(t.Context(), n.ID, NodeUpdate{LockHead: strings.Repeat("x", maxLockHead+1)})
	refused("lock head", err)

	var many []Endpoint
	for port := range uint16(1000) {
		many = append(many, Endpoint{Addr: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), 1+port)})
	}
	fits := &control.Hostinfo{Hostname: "c", DeviceModel: strings.Repeat("x", maxHostinfo-1000)}
	if n, err = f.UpdateNode(t.Context(), n.ID, NodeUpdate{Hostinfo: fits, Endpoints: many}); err != nil {
		t.Fatal(err)
	}
	if len(n.Endpoints) != maxEndpoints || n.Endpoints[0] != many[0] {
		t.Errorf("%d endpoints, the first %v", len(n.Endpoints), n.Endpoints[0])
	}
}
