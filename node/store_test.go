package node

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/node/netmap"
	"github.com/ginnel/ginnel/node/state"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// TestStoreComesBack logs in while the state cannot be written, which then passes.
func TestStoreComesBack(t *testing.T) {
	s := newServer(t)
	n := newTestNode(t, "")
	dir := filepath.Dir(n.path)
	moved := dir + ".away"
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	n.up(s.URL())
	if h := n.Status(false).Health; len(h) != 1 || !strings.Contains(h[0], "cannot be stored") {
		t.Errorf("health = %q", h)
	}
	if err := os.Rename(moved, dir); err != nil {
		t.Fatal(err)
	}
	err := n.call(t.Context(), func() error {
		if wait := n.nextWake(time.Now()); wait > retryStore {
			t.Errorf("the next try is in %v", wait)
		}
		n.storeAt = time.Now() // now is when it is due
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if h := n.Status(false).Health; len(h) != 0 {
		t.Errorf("health = %q", h)
	}
	before := n.Status(false).Self.PublicKey
	n.close()
	again := newTestNode(t, n.path)
	again.watch()("running", isState(api.Running))
	if again.Status(false).Self.PublicKey != before {
		t.Error("the identity was lost")
	}
}

// TestDamagedProfile has one of two profiles damaged.
func TestDamagedProfile(t *testing.T) {
	a, b := newServer(t), newServer(t)
	n := newTestNode(t, "")
	n.up(a.URL())
	n.addAccount(b.URL())
	_, all := n.profiles()
	if err := n.store.Write(state.Change{Key: "profile-" + all[0].ID, Value: []byte("{")}); err != nil {
		t.Fatal(err)
	}
	var corrupt *state.CorruptError
	if err := n.SwitchProfile(t.Context(), all[0].ID); !errors.As(err, &corrupt) {
		t.Errorf("switch to a damaged profile: %v", err)
	}
	if current, _ := n.profiles(); current.ID != all[1].ID || n.State() != api.Running {
		t.Errorf("the node is in %v with %+v", n.State(), current)
	}
	if err := n.DeleteProfile(t.Context(), all[0].ID); err != nil {
		t.Errorf("deleting a damaged profile: %v", err)
	}
}

// TestDamagedMapOnDisk starts with a map of the last run that cannot be read.
func TestDamagedMapOnDisk(t *testing.T) {
	s := newServer(t)
	n := newTestNode(t, "")
	n.up(s.URL())
	current, _ := n.profiles()
	n.close()
	name := filepath.Join(filepath.Dir(n.path), "profile-data", current.ID, "netmap.json")
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{"cut": string(whole[:len(whole)/2]), "empty": "", "null": "null", "another": `{"Map":{"Node":{}}}`} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		again := newTestNode(t, n.path)
		again.watch()("running by the map of the server", isState(api.Running))
		if st := again.Status(true); len(st.Peer) != 1 {
			t.Errorf("%s: %+v", what, st)
		}
		again.close()
	}
}

// TestSecondDaemonIsRefused opens one state twice.
func TestSecondDaemonIsRefused(t *testing.T) {
	n := newTestNode(t, "")
	if _, err := New(Options{StatePath: n.path, TUN: Userspace}); !errors.Is(err, state.ErrInUse) {
		t.Errorf("err = %v", err)
	}
}

func TestExpiryIsRemembered(t *testing.T) {
	now := time.Now()
	soon, late := peer(2), peer(3)
	soon.KeyExpiry, late.KeyExpiry = now.Add(time.Minute), now.Add(time.Hour)
	late.Key = key.NewNode().Public()
	var b netmap.Builder
	m, _, err := b.Apply(&control.MapResponse{Node: self(key.NewNode().Public()), Peers: []*control.Node{soon, late}}, now)
	if err != nil {
		t.Fatal(err)
	}
	var x expiry
	for after, want := range map[time.Duration]string{0: "", 30 * time.Second: ""} {
		if got := x.of(m, now.Add(after)); got != want {
			t.Errorf("after %v: %q", after, got)
		}
	}
	if got := x.of(m, now.Add(2*time.Minute)); got != "2 " || !x.next.Equal(late.KeyExpiry) {
		t.Errorf("after two minutes: %q, next %v", got, x.next)
	}
	if got := x.of(m, now.Add(time.Second)); got != "" {
		t.Errorf("after the clock was set back: %q", got)
	}
	change := func(c control.PeerChange) string {
		before := m
		next, ch, err := b.Apply(&control.MapResponse{PeersChangedPatch: []*control.PeerChange{&c}}, now)
		if err != nil {
			t.Fatal(err)
		}
		m = next
		x.mapChanged(before, m, ch)
		return x.of(m, now.Add(2*time.Second))
	}
	past := now.Add(-time.Second)
	if got := change(control.PeerChange{NodeID: 3, KeyExpiry: &past}); got != "3 " {
		t.Errorf("after a key was expired: %q", got)
	}
	if got := change(control.PeerChange{NodeID: 3, DERPRegion: 7}); got != "3 " || !x.valid {
		t.Errorf("after a peer moved: %q", got)
	}
	if got := change(control.PeerChange{NodeID: 3, KeyExpiry: &time.Time{}}); got != "" {
		t.Errorf("after a key was renewed: %q", got)
	}
}
