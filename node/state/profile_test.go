package state

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

func TestMachineKeyIsMadeOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := open(t, path)
	first, err := s.MachineKey()
	if err != nil || first.IsZero() {
		t.Fatal(first, err)
	}
	s.Close()
	again, err := open(t, path).MachineKey()
	if err != nil || !again.Equal(first) {
		t.Fatalf("the machine key changed: %v", err)
	}
}

func TestDamagedIdentityIsNeverReplaced(t *testing.T) {
	for name, values := range map[string][]Change{
		"bad machine key":      {{keyMachine, []byte("privkey:zz")}},
		"empty machine key":    {{keyMachine, []byte{}}},
		"zero machine key":     {{keyMachine, []byte("privkey:" + strings.Repeat("0", 64))}},
		"profiles without key": {{keyCurrent, []byte("profile-1234")}},
	} {
		s := open(t, Memory)
		if err := s.Write(values...); err != nil {
			t.Fatal(err)
		}
		var corrupt *CorruptError
		if _, err := s.MachineKey(); !errors.As(err, &corrupt) {
			t.Errorf("%s: err = %v, want a CorruptError", name, err)
		}
	}
	for name, values := range map[string][]Change{
		"missing profile":  {{keyCurrent, []byte("profile-1234")}},
		"odd name":         {{keyCurrent, []byte("xyz")}},
		"broken profile":   {{keyCurrent, []byte("profile-1")}, {"profile-1", []byte("{")}},
		"broken node key":  {{keyCurrent, []byte("profile-1")}, {"profile-1", []byte(`{"Config":{"PrivateNodeKey":"x"}}`)}},
		"broken profiles":  {{keyCurrent, []byte("profile-1")}, {"profile-1", []byte("{}")}, {keyProfiles, []byte("[]")}},
		"truncated values": {{keyCurrent, []byte("profile-1")}, {"profile-1", []byte{}}},
	} {
		s := open(t, Memory)
		if err := s.Write(values...); err != nil {
			t.Fatal(err)
		}
		var corrupt *CorruptError
		if p, err := s.Current(); !errors.As(err, &corrupt) {
			t.Errorf("%s: profile %v, err = %v, want a CorruptError", name, p, err)
		}
	}
}

func TestProfileRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := open(t, path)
	blank, err := s.Current()
	if err != nil || blank.ID != "" || !blank.Prefs.LoggedOut {
		t.Fatalf("blank profile = %+v, %v", blank, err)
	}
	blank.Prefs.Hostname = "box"
	blank.Prefs.ControlURL = "http://x"
	blank.Prefs.Config = &api.Persist{
		PrivateNodeKey: key.NewNode(), NetworkLockKey: key.NewLock(), NodeID: "n1",
		UserProfile: control.UserProfile{ID: 3, LoginName: "ann"},
	}
	if err := s.Save(blank); err != nil || len(blank.ID) != 4 {
		t.Fatalf("saved as %q: %v", blank.ID, err)
	}
	if err := s.Save(blank); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = open(t, path)
	p, err := s.Current()
	if err != nil {
		t.Fatal(err)
	}
	if p.ID != blank.ID || !p.Prefs.Equal(blank.Prefs) || !p.Prefs.Config.PrivateNodeKey.Equal(blank.Prefs.Config.PrivateNodeKey) {
		t.Errorf("profile came back as %+v", p.Prefs)
	}
	list, err := s.Profiles()
	if err != nil || len(list) != 1 || list[p.ID].Name != "ann" || list[p.ID].Created.IsZero() {
		t.Errorf("list = %+v, %v", list, err)
	}
	if err := s.Delete(p.ID); err != nil {
		t.Fatal(err)
	}
	if p, err := s.Current(); err != nil || p.ID != "" {
		t.Errorf("after delete: %+v, %v", p, err)
	}
}

func TestDeleteAllKeepsMachineKey(t *testing.T) {
	s := open(t, Memory)
	before, err := s.MachineKey()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := s.Save(&Profile{Prefs: api.NewPrefs()}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.DeleteAll(); err != nil {
		t.Fatal(err)
	}
	if keys := s.Keys(); len(keys) != 1 {
		t.Errorf("keys left: %v", keys)
	}
	if after, err := s.MachineKey(); err != nil || !after.Equal(before) {
		t.Errorf("machine key changed: %v", err)
	}
}

func TestMapCache(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := open(t, path)
	k := key.NewNode().Public()
	m := &CachedMap{NodeKey: k, Map: &control.MapResponse{Domain: "d", Node: &control.Node{ID: 5, Key: k}}}
	if got, err := s.LoadMap("1a2b", k); got != nil || err != nil {
		t.Fatalf("before saving: %v, %v", got, err)
	}
	if err := s.SaveMap("1a2b", m); err != nil {
		t.Fatal(err)
	}
	if got, err := s.LoadMap("1a2b", k); err != nil || got == nil || got.Map.Domain != "d" {
		t.Errorf("loaded %+v, %v", got, err)
	}
	if got, err := s.LoadMap("1a2b", key.NewNode().Public()); got != nil || err != nil {
		t.Errorf("map of another key: %v, %v", got, err)
	}
	if info, err := os.Stat(s.mapPath("1a2b")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(s.mapPath("1a2b"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := s.LoadMap("1a2b", k); got != nil || err == nil {
		t.Errorf("damaged cache: %v, %v", got, err)
	}
	if err := s.DeleteMap("1a2b"); err != nil {
		t.Fatal(err)
	}
	if got, err := s.LoadMap("1a2b", k); got != nil || err != nil {
		t.Errorf("after delete: %v, %v", got, err)
	}
}
