package udpbatch

import (
	"errors"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// controlLen is the room for one control message with a segment size.
const controlLen = 32

// sender is the memory of one WriteBatch call. Its messages point into itself and into
// the caller's buffers: nothing is copied.
type sender struct {
	msgs     [BatchSize]mmsghdr
	iovs     [BatchSize]unix.Iovec
	controls [BatchSize][controlLen]byte
	first    [BatchSize]int // index of the buffer that each message starts with
	addr     sockaddr

	n, done int // messages packed, and sent
	errno   unix.Errno
	write   func(fd uintptr) bool // sends from done on; false means wait
}

func newSender() *sender {
	s := new(sender)
	s.write = s.sendmmsg
	return s
}

// WriteBatch implements Conn.
func (c *offload) WriteBatch(bufs [][]byte, to netip.AddrPort) error {
	s := c.pool.Get().(*sender)
	defer c.release(s)
	addrLen := putSockaddr(&s.addr, to)
	gso := c.gso.Load()
	for start := 0; start < len(bufs); {
		used := s.pack(bufs[start:], addrLen, gso, c.max)
		err := c.send(s)
		if err == nil {
			start += used
			continue
		}
		if !gso || !c.retryPlain(err) {
			return err
		}
		start += s.first[s.done]
		gso = false
	}
	return nil
}

// release drops the references to the caller's buffers and keeps s for the next call.
func (c *offload) release(s *sender) {
	clear(s.iovs[:])
	c.pool.Put(s)
}

// retryPlain reports whether a coalesced send that failed is to be tried datagram by
// datagram. EIO means that some device cannot checksum segments, so that coalescing
// stays off; the others that these datagrams are too large for it.
func (c *offload) retryPlain(err error) bool {
	if errors.Is(err, unix.EIO) {
		c.gso.Store(false)
		return true
	}
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EMSGSIZE)
}

// pack lays out as many of bufs as fit and returns their number. With gso, runs of
// datagrams of one size, of which the last may be shorter, become one message.
func (s *sender) pack(bufs [][]byte, addrLen uint32, gso bool, maxPayload int) int {
	bufs = bufs[:min(len(bufs), BatchSize)]
	s.n, s.done = 0, 0
	for i := 0; i < len(bufs); {
		run := 1
		if gso {
			run = runLength(bufs[i:], maxPayload)
		}
		m := &s.msgs[s.n]
		s.first[s.n] = i
		for k, b := range bufs[i : i+run] {
			s.iovs[i+k].Base = unsafe.SliceData(b)
			s.iovs[i+k].SetLen(len(b))
		}
		m.hdr = unix.Msghdr{Name: (*byte)(unsafe.Pointer(&s.addr)), Namelen: addrLen, Iov: &s.iovs[i]}
		m.hdr.SetIovlen(run)
		if run > 1 {
			m.hdr.Control = &s.controls[s.n][0]
			m.hdr.SetControllen(putSegmentSize(&s.controls[s.n], len(bufs[i])))
		}
		i += run
		s.n++
	}
	return len(bufs)
}

// runLength returns how many datagrams at the start of bufs can go out as one message.
func runLength(bufs [][]byte, maxPayload int) int {
	size, total, n := len(bufs[0]), len(bufs[0]), 1
	if size == 0 {
		return 1
	}
	for n < len(bufs) && n < maxSegments {
		l := len(bufs[n])
		if l == 0 || l > size || total+l > maxPayload {
			break
		}
		n, total = n+1, total+l
		if l < size {
			break
		}
	}
	return n
}

// putSegmentSize writes a UDP_SEGMENT control message and returns its length.
func putSegmentSize(control *[controlLen]byte, size int) int {
	h := (*unix.Cmsghdr)(unsafe.Pointer(control))
	h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
	*(*uint16)(unsafe.Pointer(&control[unix.CmsgLen(0)])) = uint16(size)
	return unix.CmsgSpace(2)
}

// send sends all packed messages. After an error, s.done is the message that failed.
func (c *offload) send(s *sender) error {
	s.errno = 0
	if err := c.raw.Write(s.write); err != nil {
		return err
	}
	if s.errno != 0 {
		return os.NewSyscallError("sendmmsg", s.errno)
	}
	return nil
}

// sendmmsg sends messages until none is left, one fails or the socket is full.
func (s *sender) sendmmsg(fd uintptr) bool {
	for s.done < s.n {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&s.msgs[s.done])),
			uintptr(s.n-s.done), 0, 0, 0)
		switch errno {
		case 0:
			s.done += int(n)
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			s.errno = errno
			return true
		}
	}
	return true
}
