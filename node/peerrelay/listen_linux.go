package peerrelay

import (
	"context"
	"net"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// canShare says that many sockets can share a port, and that the kernel spreads what
// comes over them by sender.
const canShare = true

// listenShared opens a socket that shares its port with others. Buffers and mark are set
// as far as the kernel grants them.
func listenShared(network string, port uint16, mark uint32) (net.PacketConn, error) {
	set := func(fd int) error {
		if mark != 0 {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark))
		}
		for _, o := range [][2]int{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
			if unix.SetsockoptInt(fd, unix.SOL_SOCKET, o[0], socketBuffer) != nil {
				_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, o[1], socketBuffer)
			}
		}
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if ctlErr := c.Control(func(fd uintptr) { err = set(int(fd)) }); ctlErr != nil {
			return ctlErr
		}
		return err
	}}
	return lc.ListenPacket(context.Background(), network, net.JoinHostPort("", strconv.Itoa(int(port))))
}
