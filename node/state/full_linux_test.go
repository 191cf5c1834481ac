package state

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// smallDisk returns a directory on a file system of its own of 64 KiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		if errors.Is(err, unix.EPERM) && os.Getenv("CI") != "true" {
			t.Skip("mounting a file system needs root")
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes all space that is left in dir, until the file that it returns is removed.
func fill(t *testing.T, dir string) string {
	t.Helper()
	name := filepath.Join(dir, "filler")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 512); err == nil; {
		_, err = f.Write(block)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	return name
}

func TestFullDisk(t *testing.T) {
	dir := smallDisk(t)
	path := filepath.Join(dir, "state")
	s := open(t, path)
	machine, err := s.MachineKey()
	if err != nil {
		t.Fatal(err)
	}
	p := &Profile{Prefs: api.NewPrefs(), DiscoKey: key.NewDisco()}
	p.Prefs.Config = &api.Persist{PrivateNodeKey: key.NewNode()}
	if err := s.Save(p); err != nil {
		t.Fatal(err)
	}
	id := p.ID
	filler := fill(t, dir)

	// Nothing of what fails is left, in memory or on disk.
	p.Prefs.Hostname = "renamed"
	if err := s.Save(p); !errors.Is(err, unix.ENOSPC) || p.ID != id {
		t.Errorf("saving on a full disk: %v", err)
	}
	fresh := &Profile{Prefs: api.NewPrefs()}
	if err := s.Save(fresh); !errors.Is(err, unix.ENOSPC) || fresh.ID != "" {
		t.Errorf("saving a new profile on a full disk: %v, ID %q", err, fresh.ID)
	}
	big := &CachedMap{Map: &control.MapResponse{Domain: string(make([]byte, 100<<10))}}
	if err := s.SaveMap(id, big); err == nil {
		t.Error("a map of 100 KiB fits on a full disk")
	}
	left, err := filepath.Glob(filepath.Join(dir, ".*.tmp"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}

	// A restart on the full disk finds all as it was.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	again, err := s.Current()
	if err != nil || again.ID != id || again.Prefs.Hostname != "" || !again.Prefs.Config.PrivateNodeKey.Equal(p.Prefs.Config.PrivateNodeKey) {
		t.Fatalf("after a restart: %+v, %v", again, err)
	}
	if k, err := s.MachineKey(); err != nil || !k.Equal(machine) {
		t.Errorf("the machine key changed: %v", err)
	}

	// With space again it works again.
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(p); err != nil {
		t.Error(err)
	}
}

// TestFreshStoreOnFullDisk starts where nothing can be written.
func TestFreshStoreOnFullDisk(t *testing.T) {
	dir := smallDisk(t)
	fill(t, dir)
	if s, err := Open(filepath.Join(dir, "state")); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("opened %v, %v", s, err)
	}
}
