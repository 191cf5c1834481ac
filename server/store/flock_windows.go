package store

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// flock locks f, or returns ErrLocked when another process has it. It locks one byte
// far behind the end, for such a lock keeps others from reading what it covers.
func flock(f *os.File) error {
	at := &windows.Overlapped{OffsetHigh: 1}
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, at)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return ErrLocked
	}
	return err
}
