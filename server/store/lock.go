package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// LockName is the name of the file in the data directory that a running server
// keeps locked. It holds the server's process number, for people.
const LockName = "ginnel-server.lock"

// ErrLocked says that another process uses the data directory.
var ErrLocked = errors.New("another ginnel-server uses the data directory")

// dirLock is the lock of a data directory. It ends with the process, however
// that ends.
type dirLock struct{ f *os.File }

func lockDir(dir string) (*dirLock, error) {
	path := filepath.Join(dir, LockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock file: %w", err)
	}
	if err := flock(f); err != nil {
		defer f.Close()
		if !errors.Is(err, ErrLocked) {
			return nil, fmt.Errorf("locking %s: %w", path, err)
		}
		return nil, fmt.Errorf("%w %s (process %s): stop it, or choose another directory with --data-dir", ErrLocked, dir, holder(path))
	}
	if err := f.Truncate(0); err == nil {
		fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	return &dirLock{f}, nil
}

// holder returns the process number in a lock file.
func holder(path string) string {
	text, _ := os.ReadFile(path)
	if pid := strings.TrimSpace(string(text)); pid != "" {
		return pid
	}
	return "unknown"
}

// release gives up the lock. The file stays: removing it would let two
// processes lock two files of one name.
func (l *dirLock) release() error { return l.f.Close() }
