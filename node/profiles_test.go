package node

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/ginnel/ginnel/node/ctl/ctltest"
	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/node/state"
	"github.com/ginnel/ginnel/wire/control"
)

// profiles returns the current profile and all of them.
func (n *testNode) profiles() (api.LoginProfile, []api.LoginProfile) {
	n.t.Helper()
	current, all, err := n.Profiles(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	return current, all
}

// addAccount logs in to another server in a profile of its own.
func (n *testNode) addAccount(serverURL string) {
	n.t.Helper()
	if err := n.NewProfile(n.t.Context()); err != nil {
		n.t.Fatal(err)
	}
	n.up(serverURL)
}

// switchTo switches and waits for the state.
func (n *testNode) switchTo(id string, want api.State) {
	n.t.Helper()
	if err := n.SwitchProfile(n.t.Context(), id); err != nil {
		n.t.Fatal(err)
	}
	n.watch()("the state after the switch", isState(want))
}

func TestTwoProfiles(t *testing.T) {
	a, b := newServer(t), newServer(t)
	n := newTestNode(t, "")
	n.up(a.URL())
	keyA, discoA := n.Status(false).Self.PublicKey, n.plane.last().DiscoKey
	if _, err := n.EditPrefs(t.Context(), &api.MaskedPrefs{Prefs: api.Prefs{Hostname: "at-a"}, HostnameSet: true}); err != nil {
		t.Fatal(err)
	}
	n.addAccount(b.URL())
	keyB, discoB := n.Status(false).Self.PublicKey, n.plane.last().DiscoKey
	if keyA == keyB || discoA.Equal(discoB) {
		t.Error("two profiles share a key")
	}
	if n.Prefs().Hostname != "" {
		t.Error("the new profile has the preferences of the old one")
	}
	current, all := n.profiles()
	if len(all) != 2 || all[0].ControlURL != a.URL() || all[1].ID != current.ID || current.ControlURL != b.URL() ||
		current.Name != "ann@example" || current.NodeID != "one" || current.NetworkProfile.DomainName != "example" {
		t.Fatalf("profiles = %+v, current %+v", all, current)
	}
	if len(a.Registers()) != 1 || len(b.Registers()) != 1 {
		t.Errorf("%d and %d registrations", len(a.Registers()), len(b.Registers()))
	}

	n.switchTo(all[0].ID, api.Running)
	if st := n.Status(false); st.Self.PublicKey != keyA || n.Prefs().Hostname != "at-a" || !n.plane.last().DiscoKey.Equal(discoA) {
		t.Errorf("after the switch: %+v", st)
	}
	until(t, "the first server", func() bool { return len(a.Registers()) == 2 })
	if r := a.Registers()[1]; r.NodeKey != keyA {
		t.Error("the first server got another key")
	}

	// The choice survives a restart.
	n.close()
	n = newTestNode(t, n.path)
	n.watch()("running", isState(api.Running))
	if n.Status(false).Self.PublicKey != keyA {
		t.Error("the restart took another profile")
	}

	// A profile that is not current is forgotten without any effect on the other.
	if err := n.DeleteProfile(t.Context(), all[1].ID); err != nil {
		t.Fatal(err)
	}
	if _, left := n.profiles(); len(left) != 1 || left[0].ID != all[0].ID || n.State() != api.Running {
		t.Errorf("left: %+v", left)
	}
	var gone error
	if gone = n.SwitchProfile(t.Context(), all[1].ID); !errors.Is(gone, state.ErrNoProfile) || n.State() != api.Running {
		t.Errorf("switch to a deleted profile: %v", gone)
	}
	if gone = n.DeleteProfile(t.Context(), all[1].ID); !errors.Is(gone, state.ErrNoProfile) {
		t.Errorf("deleting it again: %v", gone)
	}
}

// TestSwitchWithoutServer switches to a profile whose server is away.
func TestSwitchWithoutServer(t *testing.T) {
	a, b := newServer(t), newServer(t)
	n := newTestNode(t, "")
	n.up(a.URL())
	n.addAccount(b.URL())
	a.Stop()
	_, all := n.profiles()
	n.switchTo(all[0].ID, api.Running)
	if st := n.Status(true); st.Self.Online || len(st.Peer) != 1 {
		t.Errorf("by the map on disk: %+v", st)
	}
}

func TestLogoutLeavesOtherProfiles(t *testing.T) {
	a, b := newServer(t), newServer(t)
	n := newTestNode(t, "")
	n.up(a.URL())
	n.addAccount(b.URL())
	if err := n.Logout(t.Context()); err != nil {
		t.Fatal(err)
	}
	current, all := n.profiles()
	if len(all) != 1 || all[0].ControlURL != a.URL() || current.ID != "" {
		t.Fatalf("after the logout: current %+v of %+v", current, all)
	}
	if r := a.Registers(); len(r) != 1 {
		t.Errorf("the other server was told: %+v", r)
	}
	n.switchTo(all[0].ID, api.Running)
}

func TestDeleteCurrentProfile(t *testing.T) {
	s := newServer(t)
	n := newTestNode(t, "")
	n.up(s.URL())
	current, _ := n.profiles()
	cached := filepath.Join(filepath.Dir(n.path), "profile-data", current.ID)
	until(t, "the map on disk", func() bool { _, err := os.Stat(cached); return err == nil })
	if err := n.DeleteProfile(t.Context(), current.ID); err != nil {
		t.Fatal(err)
	}
	if st := n.Status(false); st.HaveNodeKey || n.State() != api.NeedsLogin || n.plane.last().Map != nil {
		t.Errorf("after deleting: %+v", st)
	}
	if _, err := os.Stat(cached); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the map is still on disk: %v", err)
	}
	if regs := s.Registers(); len(regs) != 1 {
		t.Errorf("the server was told: %+v", regs)
	}
}

// TestSameAccountIsOneProfile logs in to an account that there is a profile of.
func TestSameAccountIsOneProfile(t *testing.T) {
	s := newServer(t)
	n := newTestNode(t, "")
	n.up(s.URL())
	first, _ := n.profiles()
	n.addAccount(s.URL())
	if current, all := n.profiles(); len(all) != 1 || current.ID != first.ID || !current.Created.Equal(first.Created) {
		t.Errorf("current %+v of %+v, first %+v", current, all, first)
	}

	// Another account of the same server and another node is a profile of its own,
	// until its login turns out to be the first account's.
	user := control.UserID(8)
	s.SetRegister(func(*control.RegisterRequest) (int, *control.RegisterResponse) {
		return http.StatusOK, &control.RegisterResponse{User: control.User{ID: user}, Login: control.Login{LoginName: "bob@example"}}
	})
	inner := s.Stream
	s.Stream = func(r *control.MapRequest, f *ctltest.Frames) {
		if user == 8 {
			me := self(r.NodeKey)
			me.StableID = "another"
			f.Send(&control.MapResponse{Node: me, Domain: "example"})
			f.Hold()
			return
		}
		inner(r, f)
	}
	n.addAccount(s.URL())
	until(t, "two profiles", func() bool {
		current, all := n.profiles()
		return len(all) == 2 && current.ID != first.ID && current.NodeID == "another"
	})
}

func TestProfileNamesAreUnique(t *testing.T) {
	a, b := newServer(t), newServer(t)
	n := newTestNode(t, "")
	name := func(text string) error {
		_, err := n.EditPrefs(t.Context(), &api.MaskedPrefs{Prefs: api.Prefs{ProfileName: text}, ProfileNameSet: true})
		return err
	}
	n.up(a.URL())
	if err := name("work"); err != nil {
		t.Fatal(err)
	}
	n.addAccount(b.URL())
	var refused *PrefsError
	if err := name("work"); !errors.As(err, &refused) {
		t.Errorf("a name that is taken: %v", err)
	}
	if err := name("home"); err != nil {
		t.Error(err)
	}
	if current, all := n.profiles(); current.Name != "home" || all[0].Name != "work" {
		t.Errorf("profiles = %+v", all)
	}
}

// TestBlankProfileIsNotStored leaves a blank profile again.
func TestBlankProfileIsNotStored(t *testing.T) {
	s := newServer(t)
	n := newTestNode(t, "")
	n.up(s.URL())
	for range 2 {
		if err := n.NewProfile(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n.State() != api.NeedsLogin || n.Prefs().ControlURL != "" || n.Status(false).HaveNodeKey {
			t.Errorf("a blank profile is %v, %+v", n.State(), n.Prefs())
		}
	}
	_, all := n.profiles()
	if len(all) != 1 {
		t.Fatalf("profiles = %+v", all)
	}
	n.switchTo(all[0].ID, api.Running)
}
