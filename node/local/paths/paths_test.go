package paths

import (
	"os"
	"path/filepath"
	"testing"
)

func TestDefaultSocket(t *testing.T) {
	t.Setenv(SocketEnv, "/tmp/x.sock")
	if got := DefaultSocket(); got != "/tmp/x.sock" {
		t.Errorf("with the variable set: %q", got)
	}
	dir := t.TempDir()
	if got, want := socketIn(dir), filepath.Join(dir, "ginnel", "ginneld.sock"); got != want {
		t.Errorf("socket = %q, want %q", got, want)
	}
	if got := socketIn(filepath.Join(dir, "absent")); got != "ginneld.sock" {
		t.Errorf("without a runtime directory: %q", got)
	}
}

// TestUserSocket has a user's daemon and client agree, and the system's daemon go first.
func TestUserSocket(t *testing.T) {
	t.Setenv(SocketEnv, "")
	run, data := t.TempDir(), t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", run)
	own := filepath.Join(run, "ginnel", "ginneld.sock")
	if got := userSocket(); got != own {
		t.Errorf("with a runtime directory: %q, want %q", got, own)
	}
	t.Setenv("XDG_RUNTIME_DIR", "")
	t.Setenv("XDG_DATA_HOME", data)
	if got, want := userSocket(), filepath.Join(data, "ginnel", "ginneld.sock"); got != want {
		t.Errorf("without a runtime directory: %q, want %q", got, want)
	}
	system := filepath.Join(t.TempDir(), "system.sock")
	if got := firstThere(system, own); got != system {
		t.Errorf("with no daemon at all: %q, want the system's", got)
	}
	if err := os.MkdirAll(filepath.Dir(own), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(own, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := firstThere(system, own); got != own {
		t.Errorf("with the user's daemon only: %q", got)
	}
	if err := os.WriteFile(system, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := firstThere(system, own); got != system {
		t.Errorf("with both: %q, want the system's", got)
	}
	if writable("/nonexistent") || !writable(run) {
		t.Error("writable is wrong")
	}
}

func TestUserDataDir(t *testing.T) {
	t.Setenv("HOME", "/home/x")
	t.Setenv("XDG_DATA_HOME", "")
	if got := userDataDir(); got != "/home/x/.local/share" {
		t.Errorf("without XDG_DATA_HOME: %q", got)
	}
	t.Setenv("XDG_DATA_HOME", "/data")
	if got := userDataDir(); got != "/data" {
		t.Errorf("with XDG_DATA_HOME: %q", got)
	}
	t.Setenv("XDG_DATA_HOME", "relative")
	if got := userDataDir(); got != "/home/x/.local/share" {
		t.Errorf("with a relative XDG_DATA_HOME: %q", got)
	}
}

func TestDefaultState(t *testing.T) {
	if os.Geteuid() == 0 && DefaultState() != filepath.Join(systemStateDir(), "ginneld.state") {
		t.Errorf("root's state is at %q", DefaultState())
	}
	if filepath.Join(DefaultStateDir(), "ginneld.state") != DefaultState() {
		t.Errorf("directory %q does not hold %q", DefaultStateDir(), DefaultState())
	}
	if !readable(t.TempDir()) || readable("/nonexistent") {
		t.Error("readable is wrong")
	}
}
