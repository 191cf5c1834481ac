// Package paths says where the daemon's socket and state are unless told
// otherwise.
//
// It only names places: it creates, opens and checks nothing but whether a
// directory can be read.
package paths

import (
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

// DefaultSocket returns the path of the daemon's socket: the value of SocketEnv if
// that is not empty, and otherwise where the system keeps sockets. Without such a
// place it is a file in the current directory.
func DefaultSocket() string {
	if path := os.Getenv(SocketEnv); path != "" {
		return path
	}
	return socketIn("/var/run")
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
