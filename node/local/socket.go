package local

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// ErrInUse is in the chain of Listen's error when another daemon serves the
// socket.
var ErrInUse = errors.New("another daemon is already running there")

// Listen listens at the socket path, replacing what a dead daemon left there. The
// socket can be opened by everybody where callers can be told apart, and otherwise
// only by the daemon's own user.
func Listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("making the directory of the local API socket: %w", err)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			err = ErrInUse
		}
		return nil, fmt.Errorf("local API socket %s: %w; choose another with --socket", path, err)
	}
	mode := fs.FileMode(0o600)
	if haveCredentials {
		mode = 0o666
	}
	if err := os.Chmod(path, mode); err != nil {
		return nil, errors.Join(fmt.Errorf("local API socket: %w", err), l.Close())
	}
	return l, nil
}

// removeStale removes a socket that nobody serves.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("local API socket: %w", err)
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("local API socket: %s exists and is no socket; it was left alone", path)
	}
	conn, err := net.DialTimeout("unix", path, 2*time.Second)
	if err == nil {
		conn.Close()
		return fmt.Errorf("local API socket %s: %w; stop it, or choose another path with --socket", path, ErrInUse)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("local API socket %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("local API socket: %w", err)
	}
	return nil
}
