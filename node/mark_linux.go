package node

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ginnel/ginnel/node/route"
)

// markBypass keeps the packets of a socket out of the tunnel. Without the right to
// mark, the socket works as any other.
func markBypass(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, route.MarkBypass)
	})
}
