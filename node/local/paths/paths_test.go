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
