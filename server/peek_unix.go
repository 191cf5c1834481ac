//go:build unix

package server

import (
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// peek returns the first byte of a connection, and the connection with that byte
// still to be read, which is c itself.
func peek(c net.Conn) (byte, net.Conn, error) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return peekByReading(c)
	}
	raw, err := sc.SyscallConn()
	if errors.Is(err, errors.ErrUnsupported) {
		return peekByReading(c)
	}
	if err != nil {
		return 0, nil, err
	}
	var b [1]byte
	var n int
	var peekErr error
	err = raw.Read(func(fd uintptr) bool {
		for {
			n, _, peekErr = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK)
			if peekErr != unix.EINTR {
				return peekErr != unix.EAGAIN
			}
		}
	})
	switch {
	case err != nil:
		return 0, nil, err
	case peekErr != nil:
		return 0, nil, peekErr
	case n == 0:
		return 0, nil, errNoByte
	}
	return b[0], c, nil
}
