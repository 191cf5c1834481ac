package udpbatch

import "golang.org/x/sys/unix"

// setOptions sets what the kernel grants; buffers beyond the system's limit need the
// FORCE variants, which need root.
func setOptions(fd uintptr, o Options) {
	if o.Mark != 0 {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(o.Mark))
	}
	if o.Buffer <= 0 {
		return
	}
	for force, ordinary := range map[int]int{
		unix.SO_RCVBUFFORCE: unix.SO_RCVBUF,
		unix.SO_SNDBUFFORCE: unix.SO_SNDBUF,
	} {
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, force, o.Buffer) != nil {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, ordinary, o.Buffer)
		}
	}
}
