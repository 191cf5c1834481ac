// Package paths says where the daemon's socket and state are unless told
// otherwise.
//
// It only names places, and looks which of them this user can have.
package paths

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
)

// SocketEnv is the environment variable that overrides DefaultSocket.
const SocketEnv = "GINNEL_SOCKET"

const (
	dirName    = "ginnel"
	socketName = "ginneld.sock"
	stateName  = "ginneld.state"
)

// runDir is where the system keeps sockets.
const runDir = "/var/run"

// DefaultSocket returns where a daemon of this user makes its socket: the value of
// SocketEnv if that is not empty; else for root, and whoever may write there, where the
// system keeps sockets; else the user's own place.
func DefaultSocket() string {
	if path := os.Getenv(SocketEnv); path != "" {
		return path
	}
	if path := socketIn(runDir); os.Geteuid() <= 0 || writable(filepath.Dir(path)) {
		return path
	}
	return userSocket()
}

// FindSocket returns where a client finds its daemon: the value of SocketEnv if that is
// not empty; else the socket of the system's daemon, unless there is only one of the
// user's own.
func FindSocket() string {
	if path := os.Getenv(SocketEnv); path != "" {
		return path
	}
	return firstThere(socketIn(runDir), userSocket())
}

// firstThere returns the first of the paths at which something is, or the first.
func firstThere(list ...string) string {
	for _, path := range list {
		if _, err := os.Lstat(path); err == nil {
			return path
		}
	}
	return list[0]
}

// userSocket returns the path of the socket of a user's own daemon. Directories for this
// purpose are the user's alone.
func userSocket() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, dirName, socketName)
	}
	return filepath.Join(userDataDir(), dirName, socketName)
}

// socketIn returns the socket's path under the given runtime directory.
func socketIn(runDir string) string {
	if info, err := os.Stat(runDir); err != nil || !info.IsDir() {
		return socketName
	}
	return filepath.Join(runDir, dirName, socketName)
}

// DefaultState returns the path of the daemon's state file: in the system's state
// directory for root and whoever may read that directory, and otherwise in the
// user's own data directory.
func DefaultState() string {
	system := systemStateDir()
	if os.Geteuid() <= 0 || readable(system) {
		return filepath.Join(system, stateName)
	}
	return filepath.Join(userDataDir(), dirName, stateName)
}

// DefaultStateDir returns the directory of DefaultState.
func DefaultStateDir() string { return filepath.Dir(DefaultState()) }

// systemStateDir returns the directory a system daemon keeps its state in.
func systemStateDir() string {
	switch runtime.GOOS {
	case "freebsd", "openbsd":
		return "/var/db/" + dirName
	case "darwin":
		return "/Library/Ginnel"
	case "windows":
		return filepath.Join(os.Getenv("ProgramData"), "Ginnel")
	}
	return "/var/lib/" + dirName
}

// readable reports whether dir is a directory this process may list.
func readable(dir string) bool {
	_, err := os.ReadDir(dir)
	return err == nil
}

// writable reports whether this process may make files in dir.
func writable(dir string) bool {
	f, err := os.CreateTemp(dir, ".ginnel-*")
	if err != nil {
		return false
	}
	name := f.Name()
	return errors.Join(f.Close(), os.Remove(name)) == nil
}

// userDataDir returns the user's own data directory, or the current directory
// when there is no telling.
func userDataDir() string {
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "."
	}
	return filepath.Join(home, ".local", "share")
}
