//go:build !linux

package relay

import (
	"errors"
	"syscall"
	"time"
)

// tcpRTT cannot be known here.
func tcpRTT(syscall.Conn) (time.Duration, error) { return 0, errors.ErrUnsupported }
