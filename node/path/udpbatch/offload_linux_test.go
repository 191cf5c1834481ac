package udpbatch

import (
	"net"
	"net/netip"
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// disableGSO turns coalesced sends of c off.
func disableGSO(c Conn, off bool) {
	if o, ok := c.(*offload); ok && off {
		o.gso.Store(false)
	}
}

func TestRunLength(t *testing.T) {
	for _, c := range []struct {
		sizes []int
		max   int
		want  int
	}{
		{[]int{100}, 1000, 1},
		{[]int{100, 100, 100}, 1000, 3},
		{[]int{100, 100, 50, 50}, 1000, 3},
		{[]int{100, 101}, 1000, 1},
		{[]int{100, 100, 100}, 250, 2},
		{[]int{0, 100}, 1000, 1},
		{[]int{100, 0}, 1000, 1},
	} {
		var bufs [][]byte
		for _, n := range c.sizes {
			bufs = append(bufs, make([]byte, n))
		}
		if got := runLength(bufs, c.max); got != c.want {
			t.Errorf("%v up to %d: %d, want %d", c.sizes, c.max, got, c.want)
		}
	}
	many := make([][]byte, 100)
	for i := range many {
		many[i] = make([]byte, 10)
	}
	if got := runLength(many, maxPayload4); got != maxSegments {
		t.Errorf("100 small ones: %d, want %d", got, maxSegments)
	}
}

// TestRetry has what a failed coalesced send leads to.
func TestRetry(t *testing.T) {
	for errno, want := range map[unix.Errno]struct{ retry, gso bool }{
		unix.EIO:      {true, false},
		unix.EINVAL:   {true, true},
		unix.EMSGSIZE: {true, true},
		unix.EPERM:    {false, true},
	} {
		c := new(offload)
		c.gso.Store(true)
		if got := c.retryPlain(errno); got != want.retry || c.gso.Load() != want.gso {
			t.Errorf("%v: retry %v, then coalescing %v", errno, got, c.gso.Load())
		}
	}
}

func FuzzSegmentSize(f *testing.F) {
	var control [controlLen]byte
	n := putSegmentSize(&control, 1400)
	f.Add(control[:n])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		aligned := make([]uint64, (len(b)+7)/8+1) // control messages are aligned
		c := unsafeBytes(aligned)[:len(b)]
		copy(c, b)
		_ = segmentSize(c)
	})
}

func TestNoAllocations(t *testing.T) {
	a, aAddr := open(t, "udp4")
	_, bAddr := open(t, "udp4")
	bufs := make([][]byte, 64)
	for i := range bufs {
		bufs[i] = make([]byte, 100)
	}
	if n := testing.AllocsPerRun(100, func() { _ = a.WriteBatch(bufs, bAddr) }); n > 0.5 {
		t.Errorf("WriteBatch: %v allocations", n)
	}
	b, bAddr2 := open(t, "udp4")
	in := newInbox(BatchSize)
	if n := testing.AllocsPerRun(100, func() {
		_ = a.WriteBatch(bufs, bAddr2)
		for got := 0; got < len(bufs); {
			n, err := b.ReadBatch(in.bufs, in.sizes, in.from)
			if err != nil || in.from[0] != aAddr {
				t.Fatal(err)
			}
			got += n
		}
	}); n > 0.5 {
		t.Errorf("ReadBatch: %v allocations", n)
	}
}

// TestSockaddr goes to the kernel's form and back.
func TestSockaddr(t *testing.T) {
	for _, s := range []string{"127.0.0.1:1", "255.255.255.255:65535", "[::1]:443", "[2001:db8::1]:256"} {
		var sa sockaddr
		want := netip.MustParseAddrPort(s)
		putSockaddr(&sa, want)
		if got := getSockaddr(&sa); got != want {
			t.Errorf("%v came back as %v", want, got)
		}
	}
}

func BenchmarkWriteBatch(b *testing.B) {
	a, _ := open(b, "udp4")
	_, to := open(b, "udp4")
	bufs := make([][]byte, 128)
	for i := range bufs {
		bufs[i] = make([]byte, 1312)
	}
	b.SetBytes(128 * 1312)
	b.ReportAllocs()
	for b.Loop() {
		if err := a.WriteBatch(bufs, to); err != nil {
			b.Fatal(err)
		}
	}
}

// unsafeBytes returns the memory of words.
func unsafeBytes(words []uint64) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), 8*len(words))
}

// TestOptions reads back what Listen set.
func TestOptions(t *testing.T) {
	pc, err := Listen("udp4", 0, Options{Mark: 0x80000, Buffer: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	raw, err := pc.(*net.UDPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	get := func(option int) (v int) {
		if cerr := raw.Control(func(fd uintptr) { v, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, option) }); cerr != nil || err != nil {
			t.Fatal(cerr, err)
		}
		return v
	}
	// Without CAP_NET_ADMIN the mark is left out and buffers stay below the system's limit.
	if got := get(unix.SO_MARK); os.Geteuid() == 0 && got != 0x80000 || os.Geteuid() != 0 && got != 0 {
		t.Errorf("mark %#x", got)
	}
	if got := get(unix.SO_RCVBUF); os.Geteuid() == 0 && got < 1<<20 || got == 0 {
		t.Errorf("receive buffer of %d bytes", got)
	}
}
