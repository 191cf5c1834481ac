package path

import "golang.org/x/sys/unix"

// setMark sets the firewall mark of a socket; without the right to it nothing happens.
func setMark(fd uintptr, mark int) {
	_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, mark)
}
