package node

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/ginnel/ginnel/node/ctl"
	"github.com/ginnel/ginnel/node/ctl/ctltest"
	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/wire/control"
)

func TestLogoutMakesANewDiscoKey(t *testing.T) {
	s := newServer(t)
	n := newTestNode(t, "")
	n.up(s.URL())
	before := n.plane.last().DiscoKey
	if err := n.Logout(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.up(s.URL())
	after := n.plane.last().DiscoKey
	if before.IsZero() || after.IsZero() || after.Equal(before) {
		t.Error("the disco key outlived the logout")
	}
	n.close()
	again := newTestNode(t, n.path)
	again.watch()("running", isState(api.Running))
	if !again.plane.last().DiscoKey.Equal(after) {
		t.Error("the new disco key was not stored")
	}
}

// TestCrashDuringRotation ends the node after the server has accepted a new node key and
// before the node has heard of it.
func TestCrashDuringRotation(t *testing.T) {
	s := newServer(t)
	n := newTestNode(t, "")
	n.up(s.URL())
	old := n.Status(false).Self.PublicKey

	// The server knows the old key until it is replaced; the answer to that is lost.
	var mu sync.Mutex
	known, lose := old, true
	rotated := make(chan struct{}, 10)
	s.SetRegister(func(r *control.RegisterRequest) (int, *control.RegisterResponse) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case r.NodeKey == known:
		case r.Auth != nil && r.OldNodeKey == known:
			known = r.NodeKey
		default:
			return http.StatusOK, &control.RegisterResponse{AuthURL: s.URL() + "/login/1"}
		}
		if lose && r.NodeKey != old {
			rotated <- struct{}{}
			return http.StatusServiceUnavailable, nil
		}
		return ctltest.Accept(r)
	})
	n.box.post(func() { n.connect(ctl.LoginOptions{AuthKey: "k2", FreshKey: true}, true) })
	<-rotated
	n.close()
	mu.Lock()
	next := known
	lose = false
	mu.Unlock()
	if next == old {
		t.Fatal("the key was not rotated")
	}

	again := newTestNode(t, n.path)
	until(t, "the new key to be in use", func() bool {
		st := again.Status(false)
		return st.Self.PublicKey == next && st.BackendState == api.Running.String() && st.Self.Online
	})
	if st := again.Status(false); st.AuthURL != "" {
		t.Errorf("a login is asked for at %s", st.AuthURL)
	}
	again.close()

	// The old key is remembered for good, the interim entry is gone.
	last := newTestNode(t, n.path)
	before := len(s.Registers())
	until(t, "another registration", func() bool { return len(s.Registers()) > before })
	if r := s.Registers()[before]; r.NodeKey != next || r.OldNodeKey != old {
		t.Errorf("registered as %v after %v, want %v after %v", r.NodeKey, r.OldNodeKey, next, old)
	}
	if left, err := last.store.NextKey(old); err != nil || !left.Key.IsZero() {
		t.Errorf("next key %v, %v", left, err)
	}
}

// TestKeyForARunningNodeIsANewLogin does what front ends do for "log in again, by this
// auth key": Start and then an interactive login.
func TestKeyForARunningNodeIsANewLogin(t *testing.T) {
	s := newServer(t)
	n := newTestNode(t, "")
	n.up(s.URL())
	s.SetRegister(func(r *control.RegisterRequest) (int, *control.RegisterResponse) {
		switch {
		case r.Auth == nil:
			return http.StatusOK, &control.RegisterResponse{AuthURL: s.URL() + "/login/1"}
		case r.Auth.AuthKey == "wrong":
			return http.StatusOK, &control.RegisterResponse{Error: "invalid auth key"}
		}
		return ctltest.Accept(r)
	})
	again := func(key string) {
		t.Helper()
		prefs := n.Prefs()
		prefs.WantRunning, prefs.LoggedOut = true, false
		if err := n.Start(t.Context(), api.StartOptions{UpdatePrefs: prefs, AuthKey: key}); err != nil {
			t.Fatal(err)
		}
		if err := n.LoginInteractive(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	first := n.Status(false).Self.PublicKey

	wait := n.watch()
	again("wrong")
	if e := wait("the refusal", func(m *api.Notify) bool { return m.ErrMessage != nil }); !strings.Contains(*e.ErrMessage, "invalid auth key") {
		t.Errorf("refused with %q", *e.ErrMessage)
	}
	if st := n.Status(false); st.BackendState != api.Running.String() || st.Self.PublicKey != first || st.AuthURL != "" || len(st.Health) != 0 {
		t.Errorf("after a wrong key: %s, %v, URL %q, health %v", st.BackendState, st.Self.PublicKey, st.AuthURL, st.Health)
	}

	before := len(s.Registers())
	again("k2")
	wait("login", func(m *api.Notify) bool { return m.LoginFinished != nil })
	wait("that it runs, though it did before", isState(api.Running))
	until(t, "a map for the new key", func() bool {
		cfg := n.plane.last()
		return cfg.Map != nil && cfg.Map.Self.Key != first && cfg.Key.Public() == cfg.Map.Self.Key
	})
	got := s.Registers()[before:]
	if len(got) != 1 || got[0].NodeKey == first || got[0].OldNodeKey != first || got[0].Auth == nil || got[0].Auth.AuthKey != "k2" {
		t.Errorf("registered %+v", got)
	}

	second := n.Status(false).Self.PublicKey // Start alone is enough while in contact
	if err := n.Start(t.Context(), api.StartOptions{AuthKey: "k3"}); err != nil {
		t.Fatal(err)
	}
	until(t, "another key", func() bool { k := n.Status(false).Self.PublicKey; return k != first && k != second })
}

// TestKeyGivenAtEachStartKeepsTheNode restarts a node under a program that gives the auth
// key each time.
func TestKeyGivenAtEachStartKeepsTheNode(t *testing.T) {
	s := newServer(t)
	n := newTestNode(t, "")
	n.up(s.URL())
	first := n.Status(false).Self.PublicKey
	n.close()
	s.Stop() // so that the restarted node is not in contact
	again := newTestNode(t, n.path)
	if err := again.Start(t.Context(), api.StartOptions{AuthKey: "k"}); err != nil {
		t.Fatal(err)
	}
	s.Resume()
	until(t, "contact", func() bool { return again.Status(false).Self.Online })
	if got := again.Status(false).Self.PublicKey; got != first {
		t.Error("the node key was replaced")
	}
}

// TestAbandonedRotationKeepsTheOldKey ends the node while a login waits for its user.
func TestAbandonedRotationKeepsTheOldKey(t *testing.T) {
	s := newServer(t)
	n := newTestNode(t, "")
	n.up(s.URL())
	old := n.Status(false).Self.PublicKey
	s.SetRegister(func(r *control.RegisterRequest) (int, *control.RegisterResponse) {
		if r.NodeKey != old {
			return http.StatusOK, &control.RegisterResponse{AuthURL: s.URL() + "/login/1"}
		}
		return ctltest.Accept(r)
	})
	if err := n.LoginInteractive(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, "a login URL", func() bool { return n.Status(false).AuthURL != "" })
	n.close()
	again := newTestNode(t, n.path)
	until(t, "the old key to be in use", func() bool {
		st := again.Status(false)
		return st.Self.PublicKey == old && st.BackendState == api.Running.String() && st.Self.Online && st.AuthURL == ""
	})
}
