package tun_test

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginnel/ginnel/filter"
	"github.com/ginnel/ginnel/internal/packet"
	"github.com/ginnel/ginnel/node/tun"
	"github.com/ginnel/ginnel/node/tun/tuntest"
	"github.com/ginnel/ginnel/wire/control"
)

var (
	self = netip.MustParseAddr("100.64.0.9")
	peer = netip.MustParseAddr("100.64.0.1")
)

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func udp(src, dst netip.Addr, body string) []byte {
	return must(packet.AppendUDP(nil, netip.AddrPortFrom(src, 1), netip.AddrPortFrom(dst, 2), []byte(body)))
}

// reader reads batches of a device into fresh packets.
type reader struct {
	dev   tun.Device
	bufs  [][]byte
	sizes []int
}

func newReader(dev tun.Device) *reader {
	r := &reader{dev: dev, sizes: make([]int, dev.BatchSize())}
	for range dev.BatchSize() {
		r.bufs = append(r.bufs, make([]byte, tun.Headroom+2048))
	}
	return r
}

func (r *reader) read() (pkts [][]byte, err error) {
	n, err := r.dev.Read(r.bufs, r.sizes, tun.Headroom)
	for i := range n {
		if r.sizes[i] > 0 {
			pkts = append(pkts, bytes.Clone(r.bufs[i][tun.Headroom:tun.Headroom+r.sizes[i]]))
		}
	}
	return pkts, err
}

// padded gives packets the headroom that Write asks for.
func padded(pkts ...[]byte) (out [][]byte) {
	for _, p := range pkts {
		out = append(out, append(make([]byte, tun.Headroom), p...))
	}
	return out
}

// plain hides a device's Wake, so that Wrap has to do without.
type plain struct{ tun.Device }

func devices(t *testing.T, f func(t *testing.T, host *tuntest.Device, dev tun.Device)) {
	t.Run("waker", func(t *testing.T) { d := tuntest.New(1280, 4); f(t, d, d) })
	t.Run("plain", func(t *testing.T) { d := tuntest.New(1280, 4); f(t, d, plain{d}) })
}

func TestPacketsPassInOrder(t *testing.T) {
	devices(t, func(t *testing.T, host *tuntest.Device, dev tun.Device) {
		w := tun.Wrap(dev, tun.Hooks{})
		defer w.Close()
		r := newReader(w)
		for i := range 50 {
			host.Send(udp(self, peer, string(rune('a'+i))))
		}
		for i := 0; i < 50; {
			pkts, err := r.read()
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range pkts {
				if want := udp(self, peer, string(rune('a'+i))); !bytes.Equal(p, want) {
					t.Fatalf("packet %d differs", i)
				}
				i++
			}
		}
		if n, err := w.Write(padded(udp(peer, self, "1"), udp(peer, self, "2")), tun.Headroom); n != 2 || err != nil {
			t.Fatalf("wrote %d, %v", n, err)
		}
		for _, s := range []string{"1", "2"} {
			if got := <-host.Received(); !bytes.Equal(got, udp(peer, self, s)) {
				t.Errorf("host received a wrong packet for %q", s)
			}
		}
		if c := w.Counters(); c.OutPackets != 50 || c.InPackets != 2 || c.InBytes != 2*29 {
			t.Errorf("counters %+v", c)
		}
	})
}

func TestInjectOutWakesReader(t *testing.T) {
	devices(t, func(t *testing.T, host *tuntest.Device, dev tun.Device) {
		w := tun.Wrap(dev, tun.Hooks{Out: func([]byte) tun.Verdict { return packet.Drop }})
		defer w.Close()
		r := newReader(w)
		for i := range 20 {
			got := make(chan [][]byte, 1)
			go func() {
				pkts, err := r.read()
				if err != nil {
					t.Error(err)
				}
				got <- pkts
			}()
			host.Send(udp(self, peer, "dropped by the hook"))
			want := udp(self, peer, string(rune('a'+i)))
			if err := w.InjectOut(want); err != nil {
				t.Fatal(err)
			}
			if pkts := <-got; len(pkts) != 1 || !bytes.Equal(pkts[0], want) {
				t.Fatalf("round %d: read %d packets, want the injected one", i, len(pkts))
			}
		}
	})
}

func TestInjectionIsBounded(t *testing.T) {
	w := tun.Wrap(tuntest.New(1280, 4), tun.Hooks{})
	defer w.Close()
	pkt := udp(self, peer, "x")
	n := 0
	for ; n < 10_000; n++ {
		if err := w.InjectOut(pkt); err != nil {
			if !errors.Is(err, tun.ErrQueueFull) {
				t.Fatal(err)
			}
			break
		}
	}
	if n == 0 || n == 10_000 {
		t.Fatalf("%d packets queued", n)
	}
	r := newReader(w)
	for got := 0; got < n; {
		pkts, err := r.read()
		if err != nil {
			t.Fatal(err)
		}
		got += len(pkts)
	}
	if err := w.InjectOut(pkt); err != nil {
		t.Errorf("after draining: %v", err)
	}
	if w.InjectOut(nil) == nil || w.InjectIn(make([]byte, tun.MaxPacket+1)) == nil {
		t.Error("a packet of impossible size was taken")
	}
}

func TestDroppedInTheMiddleOfABatch(t *testing.T) {
	host := tuntest.New(1280, 8)
	bad := func(pkt []byte) tun.Verdict {
		if bytes.Contains(pkt, []byte("bad")) {
			return packet.Drop
		}
		return packet.Accept
	}
	w := tun.Wrap(host, tun.Hooks{Out: bad, In: bad})
	defer w.Close()
	for _, s := range []string{"1", "bad", "2", "bad", "3"} {
		host.Send(udp(self, peer, s))
	}
	r := newReader(w)
	var got [][]byte
	for len(got) < 3 {
		pkts, err := r.read()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, pkts...)
	}
	for i, s := range []string{"1", "2", "3"} {
		if !bytes.Equal(got[i], udp(self, peer, s)) {
			t.Errorf("packet %d from the host differs", i)
		}
	}
	if n, err := w.Write(padded(udp(peer, self, "bad"), udp(peer, self, "1"), udp(peer, self, "bad"), udp(peer, self, "2")), tun.Headroom); n != 2 || err != nil {
		t.Errorf("wrote %d, %v", n, err)
	}
	for _, s := range []string{"1", "2"} {
		if got := <-host.Received(); !bytes.Equal(got, udp(peer, self, s)) {
			t.Errorf("packet %s from the mesh differs", s)
		}
	}
	if c := w.Counters(); c.OutDropped != 2 || c.InDropped != 2 {
		t.Errorf("counters %+v", c)
	}
}

func TestCloseEndsRead(t *testing.T) {
	devices(t, func(t *testing.T, host *tuntest.Device, dev tun.Device) {
		w := tun.Wrap(dev, tun.Hooks{})
		done := make(chan error, 1)
		go func() {
			_, err := newReader(w).read()
			done <- err
		}()
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, os.ErrClosed) {
			t.Errorf("read ended with %v", err)
		}
		if err := w.InjectOut(udp(self, peer, "x")); !errors.Is(err, os.ErrClosed) {
			t.Errorf("injection after close: %v", err)
		}
	})
}

// link carries packets between two wrapped devices until both are closed.
func link(a, b *tun.Wrapped) (wait func()) {
	var wg sync.WaitGroup
	carry := func(from, to *tun.Wrapped) {
		r := newReader(from)
		for {
			pkts, err := r.read()
			if err != nil {
				return
			}
			if len(pkts) > 0 {
				_, _ = to.Write(padded(pkts...), tun.Headroom)
			}
		}
	}
	wg.Go(func() { carry(a, b) })
	wg.Go(func() { carry(b, a) })
	return wg.Wait
}

func TestPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hostA, hostB := tuntest.New(1280, 4), tuntest.New(1280, 4)
		flt := filter.New() // refuses everything: node pings must work all the same
		p, err := filter.Compile(filter.Config{Local: []netip.Prefix{netip.PrefixFrom(peer, 32)}})
		if err != nil {
			t.Fatal(err)
		}
		flt.Set(p)
		a := tun.Wrap(hostA, tun.Hooks{})
		b := tun.Wrap(hostB, tun.Hooks{In: flt.In, Out: flt.Out, PeerAPIPort: func(a netip.Addr) uint16 {
			if a == peer {
				return 4321
			}
			return 0
		}})
		wait := link(a, b)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		r, err := a.Ping(ctx, self, peer, tun.PingTSMP)
		if err != nil || r.Src != peer || r.PeerAPIPort != 4321 {
			t.Errorf("TSMP ping: %+v, %v", r, err)
		}
		// The ICMP ping is refused by the filter, and then times out.
		if _, err := a.Ping(ctx, self, peer, tun.PingICMP); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("refused ICMP ping: %v", err)
		}
		// With a rule, the host on the other side answers.
		p, err = filter.Compile(filter.Config{Local: []netip.Prefix{netip.PrefixFrom(peer, 32)}, Rules: []control.FilterRule{
			{SrcIPs: []string{"*"}, DstPorts: []control.NetPortRange{{IP: "*", Ports: control.PortRange{First: 1, Last: 1}}}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		flt.Set(p)
		go func() {
			for pkt := range hostB.Received() {
				var d packet.Parsed
				if d.Decode(pkt) == nil && d.IsEchoRequest() {
					id, seq := d.EchoID()
					hostB.Send(must(packet.AppendEcho(nil, d.Dst, d.Src, true, id, seq, d.Payload())))
					return
				}
			}
		}()
		r, err = a.Ping(t.Context(), self, peer, tun.PingICMP)
		if err != nil || r.Src != peer {
			t.Errorf("ICMP ping: %+v, %v", r, err)
		}
		if _, err := a.Ping(t.Context(), self, netip.MustParseAddr("fd00::1"), tun.PingTSMP); err == nil {
			t.Error("ping between families was sent")
		}
		if _, err := a.Ping(t.Context(), self, peer, "smoke"); err == nil {
			t.Error("unknown kind of ping was sent")
		}
		select {
		case pkt := <-hostA.Received():
			t.Errorf("the host saw an answer to the node's ping: %x", pkt)
		default:
		}
		a.Close()
		b.Close()
		wait()
	})
}

// An echo reply that nobody here waits for is the host's.
func TestForeignEchoRepliesReachTheHost(t *testing.T) {
	host := tuntest.New(1280, 4)
	w := tun.Wrap(host, tun.Hooks{})
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _, _ = w.Ping(ctx, self, peer, tun.PingICMP) }()
	if pkts, err := newReader(w).read(); err != nil || len(pkts) != 1 {
		t.Fatalf("ping was not sent: %v", err)
	}
	reply := must(packet.AppendEcho(nil, peer, self, true, 1, 1, []byte("12345678")))
	if _, err := w.Write(padded(reply), tun.Headroom); err != nil {
		t.Fatal(err)
	}
	if got := <-host.Received(); !bytes.Equal(got, reply) {
		t.Error("wrong packet")
	}
	cancel()
	<-done
}

func TestNodeMessages(t *testing.T) {
	host := tuntest.New(1280, 4)
	keys := make(chan [32]byte, 1)
	rejects := make(chan packet.Reject, 1)
	w := tun.Wrap(host, tun.Hooks{
		DiscoKey: func(from netip.Addr, key [32]byte) {
			if from == peer {
				keys <- key
			}
		},
		Rejected: func(r packet.Reject) { rejects <- r },
		In:       func([]byte) tun.Verdict { return packet.RefuseACL },
	})
	defer w.Close()
	key := [32]byte{1, 2, 3}
	rej := packet.Reject{Proto: packet.TCP, Src: netip.AddrPortFrom(self, 4), Dst: netip.AddrPortFrom(peer, 80), Reason: packet.RejectACL}
	garbage := must(packet.AppendIP(nil, peer, self, packet.TSMP, []byte("unknown message")))
	syn := must(packet.AppendTCP(nil, netip.AddrPortFrom(peer, 5), netip.AddrPortFrom(self, 6), packet.TCPSyn, 1, 0, nil))
	n, err := w.Write(padded(
		must(packet.AppendDiscoKey(nil, peer, self, key)), must(packet.AppendReject(nil, rej)), garbage, syn), tun.Headroom)
	if n != 0 || err != nil {
		t.Errorf("%d packets reached the host, %v", n, err)
	}
	if got := <-keys; got != key {
		t.Errorf("disco key %x", got)
	}
	if got := <-rejects; got != rej {
		t.Errorf("rejection %+v", got)
	}
	// The refused connection is answered with the reason.
	pkts, err := newReader(w).read()
	if err != nil || len(pkts) != 1 {
		t.Fatalf("%d packets, %v", len(pkts), err)
	}
	var d packet.Parsed
	if err := d.Decode(pkts[0]); err != nil {
		t.Fatal(err)
	}
	want := packet.Reject{Proto: packet.TCP, Src: netip.AddrPortFrom(peer, 5), Dst: netip.AddrPortFrom(self, 6), Reason: packet.RejectACL}
	if got, ok := d.Reject(); !ok || got != want {
		t.Errorf("rejection sent: %+v", got)
	}
}

func TestIntercept(t *testing.T) {
	host := tuntest.New(1280, 4)
	service := netip.MustParseAddr("100.100.100.100")
	var w *tun.Wrapped
	w = tun.Wrap(host, tun.Hooks{
		InterceptOut: func(pkt []byte) bool {
			var d packet.Parsed
			if d.Decode(pkt) != nil || d.Dst != service {
				return false
			}
			if err := w.InjectIn(udp(service, self, "answer")); err != nil {
				t.Error(err)
			}
			return true
		},
		InterceptIn: func(pkt []byte) bool { return bytes.HasSuffix(pkt, []byte("mine")) },
	})
	defer w.Close()
	host.Send(udp(self, service, "question"))
	host.Send(udp(self, peer, "other"))
	r := newReader(w)
	for {
		pkts, err := r.read()
		if err != nil {
			t.Fatal(err)
		}
		if len(pkts) == 1 && bytes.Equal(pkts[0], udp(self, peer, "other")) {
			break
		}
		if len(pkts) != 0 {
			t.Fatal("the intercepted packet left for the mesh")
		}
	}
	if got := <-host.Received(); !bytes.Equal(got, udp(service, self, "answer")) {
		t.Error("wrong answer")
	}
	if n, err := w.Write(padded(udp(peer, self, "mine")), tun.Headroom); n != 0 || err != nil {
		t.Errorf("intercepted packet reached the host: %d, %v", n, err)
	}
}

// nullDevice gives the same packet for ever and takes everything.
type nullDevice struct {
	*tuntest.Device
	pkt []byte
}

func (d *nullDevice) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	for i := range bufs {
		sizes[i] = copy(bufs[i][offset:], d.pkt)
	}
	return len(bufs), nil
}

func (d *nullDevice) Write(bufs [][]byte, offset int) (int, error) { return len(bufs), nil }

func wrappedNull(b testing.TB) (*tun.Wrapped, [][]byte, []int) {
	flt := filter.New()
	p, err := filter.Compile(filter.Config{Local: []netip.Prefix{netip.PrefixFrom(self, 32)}})
	if err != nil {
		b.Fatal(err)
	}
	flt.Set(p)
	pkt := must(packet.AppendTCP(nil, netip.AddrPortFrom(peer, 5), netip.AddrPortFrom(self, 6), packet.TCPAck, 1, 0, make([]byte, 1200)))
	w := tun.Wrap(&nullDevice{tuntest.New(1280, 128), pkt}, tun.Hooks{In: flt.In, Out: flt.Out})
	bufs := make([][]byte, 128)
	for i := range bufs {
		bufs[i] = append(make([]byte, tun.Headroom), pkt...)
	}
	return w, bufs, make([]int, 128)
}

func TestHotPathAllocatesNothing(t *testing.T) {
	w, bufs, sizes := wrappedNull(t)
	n := testing.AllocsPerRun(50, func() {
		if n, err := w.Read(bufs, sizes, tun.Headroom); n != len(bufs) || err != nil {
			t.Fatal(n, err)
		}
		if n, err := w.Write(bufs, tun.Headroom); n != len(bufs) || err != nil {
			t.Fatal(n, err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations for a batch each way", n)
	}
}

func BenchmarkWrappedWrite(b *testing.B) {
	w, bufs, _ := wrappedNull(b)
	b.ReportAllocs()
	b.SetBytes(int64(len(bufs) * 1240))
	for b.Loop() {
		if _, err := w.Write(bufs, tun.Headroom); err != nil {
			b.Fatal(err)
		}
	}
}
