//go:build !linux

package udpbatch

import (
	"errors"
	"net"
)

func setOptions(uintptr, Options) {}

func newOffload(*net.UDPConn) (Conn, error) {
	return nil, errors.ErrUnsupported
}
