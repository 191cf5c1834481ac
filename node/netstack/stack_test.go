package netstack

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ginnel/ginnel/internal/packet"
	"github.com/ginnel/ginnel/node/tun"
)

var (
	a4 = netip.MustParseAddr("100.64.0.1")
	b4 = netip.MustParseAddr("100.64.0.2")
	a6 = netip.MustParseAddr("fd7a:115c:a1e0::1")
	b6 = netip.MustParseAddr("fd7a:115c:a1e0::2")
)

func single(addrs ...netip.Addr) (out []netip.Prefix) {
	for _, a := range addrs {
		out = append(out, netip.PrefixFrom(a, a.BitLen()))
	}
	return out
}

// wire carries packets between two stacks.
type wire struct {
	drop     func(n int64) bool // may lose the n-th packet
	packets  atomic.Int64
	tooLong  atomic.Int64
	badSum   atomic.Int64
	checking bool
}

func (w *wire) carry(from, to *Stack) {
	bufs, sizes := make([][]byte, from.BatchSize()), make([]int, from.BatchSize())
	for i := range bufs {
		bufs[i] = make([]byte, tun.Headroom+tun.MaxPacket)
	}
	var p packet.Parsed
	for {
		n, err := from.Read(bufs, sizes, tun.Headroom)
		if errors.Is(err, tun.ErrWoken) {
			continue
		}
		if err != nil {
			return
		}
		var out [][]byte
		for i := range n {
			pkt := bufs[i][:tun.Headroom+sizes[i]]
			if sizes[i] > from.MTU() {
				w.tooLong.Add(1)
			}
			if w.checking && (p.Decode(pkt[tun.Headroom:]) != nil || !p.ChecksumOK()) {
				w.badSum.Add(1)
			}
			if n := w.packets.Add(1); w.drop == nil || !w.drop(n) {
				out = append(out, pkt)
			}
		}
		if _, err := to.Write(out, tun.Headroom); err != nil {
			return
		}
	}
}

// pair starts two stacks with a wire between them.
func pair(t testing.TB, w *wire, forward *Forward) (a, b *Stack) {
	t.Helper()
	newStack := func(f *Forward, addrs ...netip.Addr) *Stack {
		s, err := New(Config{Addrs: single(addrs...), Forward: f})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	a, b = newStack(nil, a4, a6), newStack(forward, b4, b6)
	var wg sync.WaitGroup
	wg.Go(func() { w.carry(a, b) })
	wg.Go(func() { w.carry(b, a) })
	t.Cleanup(func() {
		a.Close()
		b.Close()
		wg.Wait()
	})
	return a, b
}

// echoServer answers each connection with what it sends, until the test ends.
func echoServer(t testing.TB, l net.Listener) {
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				c.Close()
			}()
		}
	}()
}

// exchange sends size random bytes over an echoing connection and compares what
// comes back.
func exchange(t testing.TB, c net.Conn, size int) {
	t.Helper()
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	data := make([]byte, size)
	rand.Read(data)
	go func() {
		if _, err := c.Write(data); err != nil {
			t.Error(err)
		}
		if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Error(err)
		}
	}()
	h := sha256.New()
	n, err := io.Copy(h, c)
	if err != nil || n != int64(size) || [32]byte(h.Sum(nil)) != sha256.Sum256(data) {
		t.Errorf("%d of %d bytes came back, %v", n, size, err)
	}
}

func TestTCPBothFamilies(t *testing.T) {
	w := &wire{checking: true}
	a, b := pair(t, w, nil)
	for _, to := range []netip.Addr{b4, b6} {
		l, err := b.Listen(netip.AddrPortFrom(to, 7))
		if err != nil {
			t.Fatal(err)
		}
		echoServer(t, l)
		c, err := a.DialContext(t.Context(), "tcp", netip.AddrPortFrom(to, 7).String())
		if err != nil {
			t.Fatal(err)
		}
		exchange(t, c, 3<<20)
	}
	if w.tooLong.Load() != 0 || w.badSum.Load() != 0 {
		t.Errorf("of %d packets %d are longer than the MTU and %d have bad checksums", w.packets.Load(), w.tooLong.Load(), w.badSum.Load())
	}
}

func TestTCPOverLossyWire(t *testing.T) {
	a, b := pair(t, &wire{drop: func(n int64) bool { return n%50 == 0 }}, nil)
	l, err := b.Listen(netip.AddrPortFrom(b4, 7))
	if err != nil {
		t.Fatal(err)
	}
	echoServer(t, l)
	c, err := a.DialContext(t.Context(), "tcp", "100.64.0.2:7")
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, c, 1<<20)
}

func TestUDP(t *testing.T) {
	a, b := pair(t, &wire{checking: true}, nil)
	for _, to := range []netip.Addr{b4, b6} {
		pc, err := b.ListenPacket(netip.AddrPortFrom(to, 9))
		if err != nil {
			t.Fatal(err)
		}
		defer pc.Close()
		c, err := a.DialContext(t.Context(), "udp", netip.AddrPortFrom(to, 9).String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		big := bytes.Repeat([]byte("0123456789"), 400) // needs fragments
		for _, msg := range [][]byte{[]byte("hello"), big} {
			if _, err := c.Write(msg); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 8000)
			n, from, err := pc.ReadFrom(buf)
			if err != nil || !bytes.Equal(buf[:n], msg) {
				t.Fatalf("received %d bytes, %v", n, err)
			}
			if _, err := pc.WriteTo([]byte("answer"), from); err != nil {
				t.Fatal(err)
			}
			if n, err := c.Read(buf); err != nil || string(buf[:n]) != "answer" {
				t.Errorf("answer %q, %v", buf[:n], err)
			}
		}
	}
}

func TestDialErrors(t *testing.T) {
	a, b := pair(t, &wire{}, &Forward{Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, syscall.ECONNREFUSED
	}})
	if _, err := a.DialContext(t.Context(), "tcp", "100.64.0.2:81"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("refused by the forwarder: %v", err)
	}
	if _, err := b.DialContext(t.Context(), "tcp", "100.64.0.1:81"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nothing listens: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.DialContext(ctx, "tcp", "100.64.0.77:81"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	for _, c := range [][2]string{{"tcp", "name:80"}, {"tcp", "100.64.0.2"}, {"tcp6", "100.64.0.2:1"}, {"udp4", "[::1]:1"}, {"ip", "100.64.0.2:1"}} {
		if _, err := a.DialContext(t.Context(), c[0], c[1]); err == nil {
			t.Errorf("dial %v succeeded", c)
		}
	}
	l, err := a.Listen(netip.AddrPortFrom(a4, 5))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := a.Listen(netip.AddrPortFrom(a4, 5)); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("second listener: %v", err)
	}
}

func TestForwardToLoopback(t *testing.T) {
	a, b := pair(t, &wire{}, &Forward{})
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	echoServer(t, l)
	port := l.Addr().(*net.TCPAddr).AddrPort().Port()
	for _, to := range []netip.Addr{b4, b6} { // IPv6 falls back to 127.0.0.1
		c, err := a.DialContext(t.Context(), "tcp", netip.AddrPortFrom(to, port).String())
		if err != nil {
			t.Fatal(err)
		}
		exchange(t, c, 1<<20)
	}
	// A port with no service is refused, not accepted and closed.
	dead, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := dead.Addr().(*net.TCPAddr).AddrPort().Port()
	dead.Close()
	if _, err := a.DialContext(t.Context(), "tcp", netip.AddrPortFrom(b4, gone).String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dead port: %v", err)
	}
	// The service can ask who is behind a connection.
	seen := make(chan netip.AddrPort, 1)
	l2, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l2.Close()
	go func() {
		c, err := l2.Accept()
		if err != nil {
			return
		}
		peer, _ := b.PeerOf(netip.MustParseAddrPort(c.RemoteAddr().String()))
		seen <- peer
		c.Close()
	}()
	c, err := a.DialContext(t.Context(), "tcp", netip.AddrPortFrom(b4, l2.Addr().(*net.TCPAddr).AddrPort().Port()).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := <-seen; got.String() != c.LocalAddr().String() {
		t.Errorf("peer of the connection is %v, want %v", got, c.LocalAddr())
	}
}

func TestForwardUDP(t *testing.T) {
	a, _ := pair(t, &wire{}, &Forward{})
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	go func() {
		buf := make([]byte, 2000)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(append([]byte("re: "), buf[:n]...), from)
		}
	}()
	port := netip.MustParseAddrPort(pc.LocalAddr().String()).Port()
	c, err := a.DialContext(t.Context(), "udp", netip.AddrPortFrom(b4, port).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	buf := make([]byte, 2000)
	for _, msg := range []string{"one", "two"} {
		if _, err := c.Write([]byte(msg)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(buf); err != nil || string(buf[:n]) != "re: "+msg {
			t.Errorf("answer %q, %v", buf[:n], err)
		}
	}
}

func TestEchoAndAddressChange(t *testing.T) {
	w := &wire{}
	a, b := pair(t, w, nil)
	ping := func(src, dst netip.Addr) bool {
		pkt, err := packet.AppendEcho(make([]byte, tun.Headroom), src, dst, false, 1, 1, []byte("12345678"))
		if err != nil {
			t.Fatal(err)
		}
		before := b.stack.Stats().ICMP.V4.PacketsSent.EchoReply.Value() + b.stack.Stats().ICMP.V6.PacketsSent.EchoReply.Value()
		if _, err := b.Write([][]byte{pkt}, tun.Headroom); err != nil {
			t.Fatal(err)
		}
		return b.stack.Stats().ICMP.V4.PacketsSent.EchoReply.Value()+b.stack.Stats().ICMP.V6.PacketsSent.EchoReply.Value() > before
	}
	if !ping(a4, b4) || !ping(a6, b6) {
		t.Error("a ping is not answered")
	}
	l, err := b.Listen(netip.AddrPortFrom(netip.IPv4Unspecified(), 7))
	if err != nil {
		t.Fatal(err)
	}
	echoServer(t, l)
	old, err := a.DialContext(t.Context(), "tcp", "100.64.0.2:7")
	if err != nil {
		t.Fatal(err)
	}
	next := netip.MustParseAddr("100.64.0.3")
	if err := b.SetAddrs(single(b4, next)); err != nil {
		t.Fatal(err)
	}
	if ping(a6, b6) || !ping(a4, next) {
		t.Error("addresses were not changed")
	}
	exchange(t, old, 100_000) // its address stayed
	c, err := a.DialContext(t.Context(), "tcp", "100.64.0.3:7")
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, c, 1000)
	if err := b.SetAddrs([]netip.Prefix{{}}); err == nil {
		t.Error("an invalid address was taken")
	}
}

func TestGarbageIsHarmless(t *testing.T) {
	a, b := pair(t, &wire{}, &Forward{})
	for i := range 256 {
		pkt := make([]byte, tun.Headroom+i)
		rand.Read(pkt[tun.Headroom:])
		if i > 0 {
			pkt[tun.Headroom] = []byte{0x45, 0x60, 0xff}[i%3]
		}
		if _, err := b.Write([][]byte{pkt, pkt}, tun.Headroom); err != nil {
			t.Fatal(err)
		}
	}
	l, err := b.Listen(netip.AddrPortFrom(b4, 7))
	if err != nil {
		t.Fatal(err)
	}
	echoServer(t, l)
	c, err := a.DialContext(t.Context(), "tcp", "100.64.0.2:7")
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, c, 1000)
}

func TestCloseEndsEverything(t *testing.T) {
	s, err := New(Config{Addrs: single(a4)})
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Listen(netip.AddrPortFrom(a4, 7))
	if err != nil {
		t.Fatal(err)
	}
	accepted, read := make(chan error, 1), make(chan error, 1)
	go func() { _, err := l.Accept(); accepted <- err }()
	go func() { _, err := s.Read([][]byte{make([]byte, 2000)}, make([]int, 1), 16); read <- err }()
	s.Wake() // is not lost and does not end it for good
	if err := <-read; !errors.Is(err, tun.ErrWoken) {
		t.Errorf("woken read: %v", err)
	}
	go func() { _, err := s.Read([][]byte{make([]byte, 2000)}, make([]int, 1), 16); read <- err }()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-read; !errors.Is(err, os.ErrClosed) {
		t.Errorf("read: %v", err)
	}
	if err := <-accepted; err == nil {
		t.Error("accept goes on")
	}
	if _, err := s.Write([][]byte{make([]byte, 60)}, 16); !errors.Is(err, os.ErrClosed) {
		t.Errorf("write: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	if _, err := New(Config{MTU: 100}); err == nil {
		t.Error("a tiny MTU was taken")
	}
}

func BenchmarkBulkTCP(b *testing.B) {
	sa, sb := pair(b, &wire{}, nil)
	l, err := sb.Listen(netip.AddrPortFrom(b4, 7))
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	done := make(chan int64, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		n, _ := io.Copy(io.Discard, c)
		done <- n
	}()
	c, err := sa.DialContext(b.Context(), "tcp", "100.64.0.2:7")
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 128<<10)
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		if _, err := c.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
	c.Close()
	<-done
}

// TestIdleMemory bounds what a stack costs that nobody uses, with many idle
// connections through it.
func TestIdleMemory(t *testing.T) {
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	a, b := pair(t, &wire{}, nil)
	l, err := b.Listen(netip.AddrPortFrom(b4, 7))
	if err != nil {
		t.Fatal(err)
	}
	const conns = 50
	accepted := make(chan net.Conn, conns)
	go func() {
		defer close(accepted)
		for range conns {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	var open []net.Conn
	for range conns {
		c, err := a.DialContext(t.Context(), "tcp", "100.64.0.2:7")
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	for c := range accepted {
		open = append(open, c)
	}
	if len(open) != 2*conns {
		t.Fatalf("%d ends of %d connections", len(open), conns)
	}
	// The test's own wire holds two batches of the largest packets.
	used := heap() - before - 2*batchSize*tun.MaxPacket
	if limit := int64(4 << 20); used > limit {
		t.Errorf("two stacks with %d idle connections use %d bytes, more than %d", conns, used, limit)
	}
	t.Logf("%d KiB", used>>10)
	for _, c := range open {
		c.Close()
	}
	l.Close()
}
