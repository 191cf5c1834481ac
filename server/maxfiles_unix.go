//go:build unix

package server

import "golang.org/x/sys/unix"

// maxFiles returns how many files the process may have open.
func maxFiles() (uint64, bool) {
	var files unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files)
	return uint64(files.Cur), err == nil
}
