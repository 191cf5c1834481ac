package state

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func open(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStoreSurvivesReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "ginneld.state")
	s := open(t, path)
	if err := s.Write(Change{"a", []byte("one")}, Change{"b", []byte{0, 255}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Write(Change{"a", nil}, Change{"c", []byte{}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode = %v, %v; want 0600", info.Mode(), err)
	}
	s = open(t, path)
	if _, ok := s.Read("a"); ok {
		t.Error("deleted key came back")
	}
	if b, ok := s.Read("b"); !ok || string(b) != "\x00\xff" {
		t.Errorf("b = %q, %v", b, ok)
	}
	if c, ok := s.Read("c"); !ok || len(c) != 0 {
		t.Errorf("c = %q, %v; want an empty value", c, ok)
	}
}

func TestStoreFileFormat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := open(t, path)
	if got := readFile(t, path); got != "{}\n" {
		t.Errorf("fresh store = %q, want an empty object", got)
	}
	if err := s.Write(Change{"_machinekey", []byte("privkey:x")}); err != nil {
		t.Fatal(err)
	}
	if got, want := readFile(t, path), "{\n  \"_machinekey\": \"cHJpdmtleTp4\"\n}\n"; got != want {
		t.Errorf("file = %q, want %q", got, want)
	}
}

func TestDamagedFileIsRefusedAndKept(t *testing.T) {
	good := `{"_machinekey": "cHJpdmtleTp4"}`
	for name, content := range map[string]string{
		"empty":       "",
		"truncated":   good[:len(good)-4],
		"not json":    "\x00\x00\x00",
		"null":        "null",
		"list":        "[]",
		"not base64":  `{"a":"***"}`,
		"wrong value": `{"a":{"b":1}}`,
		"trailing":    good + good,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "ginneld.state")
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Open(path)
			var corrupt *CorruptError
			if !errors.As(err, &corrupt) || corrupt.Path != path {
				t.Fatalf("err = %v, want a CorruptError naming %s", err, path)
			}
			if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "backup") {
				t.Errorf("error does not say which file and what to do: %v", err)
			}
			if got := readFile(t, path); got != content {
				t.Errorf("file was changed to %q", got)
			}
			if _, err := Open(path); errors.Is(err, ErrInUse) {
				t.Error("failed open kept its lock")
			}
		})
	}
}

func TestSecondOpenIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first := open(t, path)
	if _, err := Open(path); !errors.Is(err, ErrInUse) {
		t.Fatalf("err = %v, want ErrInUse", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path)
}

func TestOpenTightensModeAndClearsLeftovers(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	leftover := filepath.Join(dir, ".s.123.tmp")
	for _, p := range []string{path, leftover} {
		if err := os.WriteFile(p, []byte("{}"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	open(t, path)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v, %v; want 0600", info.Mode(), err)
	}
	if _, err := os.Stat(leftover); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("leftover still there: %v", err)
	}
}

func TestFailedWriteChangesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	path := filepath.Join(dir, "s")
	s := open(t, path)
	if err := s.Write(Change{"k", []byte("old")}); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Write(Change{"k", []byte("new")}); err == nil {
		t.Fatal("write into a missing directory succeeded")
	}
	if v, _ := s.Read("k"); string(v) != "old" {
		t.Errorf("k = %q after a failed write, want the old value", v)
	}
}

func TestReadReturnsACopy(t *testing.T) {
	s := open(t, Memory)
	if err := s.Write(Change{"k", []byte("abc")}); err != nil {
		t.Fatal(err)
	}
	v, _ := s.Read("k")
	v[0] = 'X'
	if again, _ := s.Read("k"); string(again) != "abc" {
		t.Errorf("store changed through a returned slice: %q", again)
	}
	if !s.Ephemeral() || s.Path() != Memory {
		t.Errorf("memory store: ephemeral %v, path %q", s.Ephemeral(), s.Path())
	}
}

func TestUnsupportedScheme(t *testing.T) {
	if _, err := Open("kube:secret"); err == nil {
		t.Fatal("kube: store was opened")
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"_machinekey":"cHJpdmtleTp4"}`))
	f.Add([]byte("null"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, data []byte) {
		values, err := decode(data)
		if (values == nil) == (err == nil) {
			t.Fatalf("values %v, err %v", values, err)
		}
		if err != nil {
			return
		}
		s := &Store{values: values}
		if k, err := s.MachineKey(); err == nil && k.IsZero() {
			t.Fatal("a zero machine key was accepted")
		}
		if p, err := s.Current(); err == nil && (p == nil || p.Prefs == nil) {
			t.Fatal("no profile and no error")
		}
	})
}
