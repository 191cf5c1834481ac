package node

import "golang.org/x/sys/unix"

// osVersion returns the release of the kernel.
func osVersion() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}
