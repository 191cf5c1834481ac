package udpbatch

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"
)

// open returns a socket on a loopback port of the family and the address to reach it.
func open(t testing.TB, network string) (Conn, netip.AddrPort) {
	t.Helper()
	pc, err := Listen(network, 0, Options{Buffer: 7 << 20, Mark: 0x80000})
	if err != nil {
		t.Skipf("no %s here: %v", network, err)
	}
	c := New(pc)
	t.Cleanup(func() { c.Close() })
	ip := netip.MustParseAddr("127.0.0.1")
	if network == "udp6" {
		ip = netip.IPv6Loopback()
	}
	return c, netip.AddrPortFrom(ip, c.LocalAddr().Port())
}

// inbox is memory for ReadBatch.
type inbox struct {
	bufs  [][]byte
	sizes []int
	from  []netip.AddrPort
}

func newInbox(n int) *inbox {
	b := &inbox{make([][]byte, n), make([]int, n), make([]netip.AddrPort, n)}
	for i := range b.bufs {
		b.bufs[i] = make([]byte, BufferSize)
	}
	return b
}

// receive reads want datagrams from c.
func receive(t testing.TB, c Conn, in *inbox, want int) (got [][]byte, from netip.AddrPort) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	for len(got) < want {
		n, err := c.ReadBatch(in.bufs, in.sizes, in.from)
		if err != nil {
			t.Fatalf("after %d of %d datagrams: %v", len(got), want, err)
		}
		for i := range n {
			got = append(got, bytes.Clone(in.bufs[i][:in.sizes[i]]))
			from = in.from[i]
		}
	}
	return got, from
}

// datagram returns size bytes that depend on i.
func datagram(i, size int) []byte {
	b := make([]byte, size)
	for k := range b {
		b[k] = byte(i + k)
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	batches := map[string][]int{
		"one":               {100},
		"empty":             {0},
		"equal":             slices.Repeat([]int{1400}, 128),
		"shorter last":      append(slices.Repeat([]int{1400}, 20), 7),
		"mixed":             {100, 1400, 1400, 60, 60, 60, 1400, 9000, 9000, 1, 0, 5},
		"large":             {65507, 65000, 1, 30000, 30000, 30000},
		"more than a batch": slices.Repeat([]int{300}, 300),
	}
	for _, network := range []string{"udp4", "udp6"} {
		for name, sizes := range batches {
			for _, offloaded := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/%s/gso=%v", network, name, offloaded), func(t *testing.T) {
					a, aAddr := open(t, network)
					b, bAddr := open(t, network)
					disableGSO(a, !offloaded)
					var want [][]byte
					for i, size := range sizes {
						want = append(want, datagram(i, size))
					}
					if err := a.WriteBatch(want, bAddr); err != nil {
						t.Fatal(err)
					}
					got, from := receive(t, b, newInbox(BatchSize), len(want))
					if !slices.EqualFunc(got, want, bytes.Equal) {
						t.Fatalf("got %d datagrams that differ from the %d sent", len(got), len(want))
					}
					if from != aAddr {
						t.Errorf("from %v, want %v", from, aAddr)
					}
				})
			}
		}
	}
}

// TestPlain runs over a connection that is not a *net.UDPConn.
func TestPlain(t *testing.T) {
	b, bAddr := open(t, "udp4")
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := New(struct{ net.PacketConn }{pc})
	defer a.Close()
	want := [][]byte{datagram(1, 10), datagram(2, 20)}
	if err := a.WriteBatch(want, bAddr); err != nil {
		t.Fatal(err)
	}
	got, from := receive(t, b, newInbox(BatchSize), 2)
	if !slices.EqualFunc(got, want, bytes.Equal) || from != a.LocalAddr() {
		t.Fatalf("got %d datagrams from %v", len(got), from)
	}
	if err := b.WriteBatch(want[:1], a.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	if got, from := receive(t, a, newInbox(1), 1); !bytes.Equal(got[0], want[0]) || from != bAddr {
		t.Fatalf("got %x from %v", got[0], from)
	}
}

func TestTooLarge(t *testing.T) {
	a, _ := open(t, "udp4")
	b, bAddr := open(t, "udp4")
	if err := a.WriteBatch([][]byte{make([]byte, 65508)}, bAddr); err == nil {
		t.Fatal("a datagram that no packet can hold was sent")
	}
	if err := a.WriteBatch([][]byte{{1}, {2}}, bAddr); err != nil {
		t.Fatal(err)
	}
	if got, _ := receive(t, b, newInbox(BatchSize), 2); got[0][0] != 1 || got[1][0] != 2 {
		t.Fatalf("got %x", got)
	}
}

func TestCloseAndDeadline(t *testing.T) {
	a, _ := open(t, "udp4")
	in := newInbox(BatchSize)
	_ = a.SetReadDeadline(time.Unix(1, 0))
	if _, err := a.ReadBatch(in.bufs, in.sizes, in.from); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("past deadline: %v", err)
	}
	_ = a.SetReadDeadline(time.Time{})
	done := make(chan error)
	go func() {
		_, err := a.ReadBatch(in.bufs, in.sizes, in.from)
		done <- err
	}()
	a.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Fatalf("read from a closed socket: %v", err)
	}
	if err := a.WriteBatch([][]byte{{1}}, netip.MustParseAddrPort("127.0.0.1:9")); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("write to a closed socket: %v", err)
	}
}

func TestConcurrentWriters(t *testing.T) {
	a, _ := open(t, "udp4")
	const writers, each = 4, 50
	var dst [writers]Conn
	var addr [writers]netip.AddrPort
	for i := range dst {
		dst[i], addr[i] = open(t, "udp4")
	}
	var wg sync.WaitGroup
	for i := range dst {
		wg.Go(func() {
			for k := range each {
				b := datagram(i, 100)
				b[0], b[1] = byte(i), byte(k)
				if err := a.WriteBatch([][]byte{b, b}, addr[i]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for i := range dst {
		got, _ := receive(t, dst[i], newInbox(BatchSize), 2*each)
		for k, b := range got {
			if int(b[0]) != i || int(b[1]) != k/2 {
				t.Fatalf("socket %d: datagram %d is %d of writer %d", i, k, b[1], b[0])
			}
		}
	}
}
