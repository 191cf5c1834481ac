//go:build !linux

package relay

import "syscall"

// setSocketOptions does nothing here.
func setSocketOptions(syscall.Conn) {}
