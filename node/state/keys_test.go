package state

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/wire/key"
)

func TestKeysBesideTheProfile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := open(t, path)
	p := &Profile{Prefs: api.NewPrefs(), DiscoKey: key.NewDisco(), OldNodeKey: key.NewNode()}
	p.Prefs.Config = &api.Persist{PrivateNodeKey: key.NewNode()}
	next := NextKey{Server: "http://x", Old: p.Prefs.Config.PrivateNodeKey.Public(), Key: key.NewNode()}
	if err := s.Save(p); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.SaveNextKey(next), s.SavePort(4711), s.Save(p)); err != nil {
		t.Fatal(err)
	}
	s.Close()

	s = open(t, path)
	again, err := s.Current()
	if err != nil || !again.DiscoKey.Equal(p.DiscoKey) || !again.OldNodeKey.Equal(p.OldNodeKey) {
		t.Fatalf("keys did not survive: %v", err)
	}
	if got, err := s.NextKey(next.Old); err != nil || !got.Key.Equal(next.Key) || got.Server != next.Server || got.Old != next.Old {
		t.Errorf("next key = %+v, %v", got, err)
	}
	if s.Port() != 4711 {
		t.Errorf("port %d", s.Port())
	}
	again.Prefs.Config.PrivateNodeKey = next.Key // the server has accepted it
	if err := s.Save(again); err != nil {
		t.Fatal(err)
	}
	if got, err := s.NextKey(next.Old); err != nil || !got.Key.IsZero() {
		t.Errorf("next key after it came into use: %+v, %v", got, err)
	}
	if err := s.Delete(again.ID); err != nil {
		t.Fatal(err)
	}
	for _, name := range s.Keys() {
		if name != keyPort && name != keyProfiles {
			t.Errorf("%s is left of a deleted profile", name)
		}
	}
}

func TestDamagedKeys(t *testing.T) {
	for _, text := range []string{"{", `{"DiscoKey":"zz"}`, `{"DiscoKey":"00ff"}`, `{"OldNodeKey":"x"}`} {
		s := open(t, Memory)
		if err := s.Write(Change{keyCurrent, []byte("profile-1")}, Change{"profile-1", []byte("{}")}, Change{keysPrefix + "1", []byte(text)}); err != nil {
			t.Fatal(err)
		}
		var corrupt *CorruptError
		if _, err := s.Current(); !errors.As(err, &corrupt) {
			t.Errorf("%s: err = %v, want a CorruptError", text, err)
		}
	}
	s := open(t, Memory)
	if err := s.Write(Change{keyNext, []byte("[")}, Change{keyPort, []byte("70000")}); err != nil {
		t.Fatal(err)
	}
	var corrupt *CorruptError
	if _, err := s.NextKey(key.NodePublic{}); !errors.As(err, &corrupt) || s.Port() != 0 {
		t.Errorf("next key: %v, port %d", err, s.Port())
	}
}
