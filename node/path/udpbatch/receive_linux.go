package udpbatch

import (
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// receiver is the memory of ReadBatch.
type receiver struct {
	msgs     [BatchSize]mmsghdr
	iovs     [BatchSize]unix.Iovec
	controls [BatchSize][controlLen]byte
	addrs    [BatchSize]sockaddr

	want, got int
	errno     unix.Errno
	read      func(fd uintptr) bool // false means wait

	last     sockaddr // the sender seen last, and what it converts to
	lastAddr netip.AddrPort
}

func newReceiver() *receiver {
	r := new(receiver)
	r.read = r.recvmmsg
	return r
}

// ReadBatch implements Conn.
func (c *offload) ReadBatch(bufs [][]byte, sizes []int, from []netip.AddrPort) (int, error) {
	r := c.rx
	bufs = bufs[:min(len(bufs), BatchSize)]
	first := 0
	if c.gro && len(bufs) > reads {
		first = len(bufs) - reads
	}
	r.prepare(bufs[first:])
	if err := c.raw.Read(r.read); err != nil {
		return 0, err
	}
	if r.errno != 0 {
		return 0, os.NewSyscallError("recvmmsg", r.errno)
	}
	return r.split(bufs, first, sizes, from), nil
}

// prepare points the messages at the buffers to read into.
func (r *receiver) prepare(bufs [][]byte) {
	r.want, r.got, r.errno = len(bufs), 0, 0
	for i, b := range bufs {
		r.iovs[i].Base = unsafe.SliceData(b)
		r.iovs[i].SetLen(len(b))
		m := &r.msgs[i]
		m.n = 0
		m.hdr = unix.Msghdr{
			Name: (*byte)(unsafe.Pointer(&r.addrs[i])), Namelen: uint32(unsafe.Sizeof(r.addrs[i])),
			Iov: &r.iovs[i], Control: &r.controls[i][0],
		}
		m.hdr.SetIovlen(1)
		m.hdr.SetControllen(controlLen)
	}
}

// recvmmsg receives what is there.
func (r *receiver) recvmmsg(fd uintptr) bool {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.msgs[0])),
			uintptr(r.want), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			r.got = int(n)
			return true
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			r.errno = errno
			return true
		}
	}
}

// split spreads what was received into bufs[first:] over bufs from the start on, one
// datagram each, and returns their number. The write position never overtakes the
// message being read except with its very last datagram.
func (r *receiver) split(bufs [][]byte, first int, sizes []int, from []netip.AddrPort) int {
	out := 0
	for i := range r.got {
		at := first + i
		data := bufs[at][:r.msgs[i].n]
		addr := r.sender(i)
		size := segmentSize(r.controls[i][:r.msgs[i].hdr.Controllen])
		if size <= 0 || size > len(data) {
			size = max(len(data), 1)
		}
		for off := 0; off == 0 || off < len(data); off += size {
			if out > at || out == at && off+size < len(data) {
				break // more datagrams than buffers: the rest is lost
			}
			sizes[out] = copyInto(bufs[out], data[off:min(off+size, len(data))])
			from[out] = addr
			out++
		}
	}
	return out
}

// copyInto copies unless src already starts dst.
func copyInto(dst, src []byte) int {
	if unsafe.SliceData(dst) == unsafe.SliceData(src) {
		return len(src)
	}
	return copy(dst, src)
}

// sender returns who sent message i.
func (r *receiver) sender(i int) netip.AddrPort {
	sa := &r.addrs[i]
	if *sa != r.last {
		r.last, r.lastAddr = *sa, getSockaddr(sa)
	}
	return r.lastAddr
}

// segmentSize returns the size of the datagrams that were coalesced, or 0 if control
// does not say.
func segmentSize(control []byte) int {
	for len(control) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(unsafe.SliceData(control)))
		length := int(h.Len)
		if length < unix.SizeofCmsghdr || length > len(control) {
			return 0
		}
		if h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && length >= unix.CmsgLen(4) {
			return int(*(*int32)(unsafe.Pointer(&control[unix.CmsgLen(0)])))
		}
		next := unix.CmsgSpace(length - unix.CmsgLen(0))
		if next > len(control) {
			return 0
		}
		control = control[next:]
	}
	return 0
}
