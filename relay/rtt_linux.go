package relay

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tcpRTT returns the smoothed round-trip time of a TCP connection.
func tcpRTT(c syscall.Conn) (rtt time.Duration, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	cerr := raw.Control(func(fd uintptr) {
		var info *unix.TCPInfo
		if info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			rtt = time.Duration(info.Rtt) * time.Microsecond
		}
	})
	if cerr != nil {
		err = cerr
	}
	return rtt, err
}
