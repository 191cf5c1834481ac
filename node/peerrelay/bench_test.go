package peerrelay

import (
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ginnel/ginnel/node/path/udpbatch"
	"github.com/ginnel/ginnel/wire/disco"
	"github.com/ginnel/ginnel/wire/key"
)

// raceDetector says that allocations cannot be counted.
var raceDetector bool

// sink is a socket that takes everything.
type sink struct{ packets int }

func (s *sink) ReadBatch([][]byte, []int, []netip.AddrPort) (int, error) { return 0, net.ErrClosed }
func (s *sink) WriteBatch(bufs [][]byte, _ netip.AddrPort) error         { s.packets += len(bufs); return nil }
func (s *sink) LocalAddr() netip.AddrPort                                { return serverAddr }
func (s *sink) SetReadDeadline(time.Time) error                          { return nil }
func (s *sink) Close() error                                             { return nil }

// batchOf returns a reader with a full batch of data both ways, and where it goes.
func batchOf(b *bench) (*reader, *sink) {
	out := &sink{}
	r := newReader(&Server{table: b.Table}, &shard{out, out}, UDP4)
	for i := range r.bufs {
		n := copy(r.bufs[i], b.data())
		r.sizes[i], r.from[i] = n+1200, aliceAddr
		if i%3 == 0 {
			r.from[i] = bobAddr
		}
	}
	return r, out
}

// TestNoAllocations forwards batches, and drops what is to be dropped.
func TestNoAllocations(t *testing.T) {
	b := newBench(t, Config{})
	b.open()
	r, out := batchOf(b)
	r.batch(b.now, len(r.bufs))
	if out.packets != len(r.bufs) || r.used != 0 {
		t.Fatalf("%d of %d packets sent", out.packets, len(r.bufs))
	}
	want := (len(r.bufs) + 2) / 3
	if n := b.Counters().Forwarded[UDP4][UDP4].Packets; n != uint64(want) {
		t.Errorf("%d packets to IPv4 counted, want %d", n, want)
	}
	junk := b.message(key.NewDisco(), b.bob, disco.TypeBind, disco.Bind{VNI: b.vni, Generation: 1})
	if raceDetector {
		return
	}
	for name, f := range map[string]func(){
		"batch":    func() { r.batch(b.now, len(r.bufs)) },
		"stranger": func() { b.Input(b.now, otherAddr, junk, nil) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// BenchmarkBatch handles packets of 1,200 bytes without a system call; figures are per
// packet.
func BenchmarkBatch(b *testing.B) {
	x := newBench(b, Config{})
	x.open()
	r, _ := batchOf(x)
	b.ReportAllocs()
	for i := 0; i < b.N; i += len(r.bufs) {
		r.batch(x.now, len(r.bufs))
	}
}

// BenchmarkManySessions handles packets of 10,000 sessions in turn.
func BenchmarkManySessions(b *testing.B) {
	x := newBench(b, Config{})
	var pkts [][]byte
	for range 10_000 {
		e, err := x.Allocate(x.now, key.NewDisco().Public(), key.NewDisco().Public())
		if err != nil {
			b.Fatal(err)
		}
		s := x.index.get(e.VNI)
		s.sides[0].addr.Store(&aliceAddr)
		s.sides[1].addr.Store(&bobAddr)
		x.vni = e.VNI
		pkts = append(pkts, x.data())
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if v := x.Table.input(1, aliceAddr, pkts[i%len(pkts)], nil); v.Why != Forwarded {
			b.Fatal(v.Why)
		}
		i++
	}
}

// BenchmarkFlood has forged messages of a client, each from somewhere else.
func BenchmarkFlood(b *testing.B) {
	x := newBench(b, Config{})
	x.allocate()
	junk := x.message(x.alice, x.bob, disco.TypeBind, disco.Bind{VNI: x.vni, Generation: 1})
	junk[len(junk)-1] ^= 1
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		x.Input(x.now, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 1), junk, nil)
	}
}

// BenchmarkHandshake binds a client: two messages opened, one sealed, without the client's
// part.
func BenchmarkHandshake(b *testing.B) {
	x := newBench(b, Config{})
	x.allocate()
	request := x.message(x.alice, x.bob, disco.TypeBind, disco.Bind{VNI: x.vni, Generation: 1})
	answer := x.message(x.alice, x.bob, disco.TypeAnswer, x.challenge(x.alice, x.Input(x.now, aliceAddr, request, nil)))
	buf := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		x.sleep(100 * time.Millisecond)
		x.challenger.made = x.at(x.now)
		if x.Input(x.now, aliceAddr, request, buf).Why != Answered || x.Input(x.now, aliceAddr, answer, buf).Why != Answered {
			b.Fatal("refused")
		}
	}
}

// BenchmarkLoopback forwards over real sockets on loopback: one client sends batches of
// 1,400 bytes as fast as it can, the other one counts. Sender, relay and receiver share the
// machine. What the system drops is not counted.
func BenchmarkLoopback(b *testing.B) {
	s, err := Start(Options{Config: Config{Key: key.NewDisco()}})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), s.Port(UDP4))
	s.SetAddresses(Addresses{Static: []netip.AddrPort{to}})
	e, err := s.Allocate(key.NewDisco().Public(), key.NewDisco().Public())
	if err != nil {
		b.Fatal(err)
	}
	var conns [2]udpbatch.Conn
	session := s.table.index.get(e.VNI)
	for i := range conns {
		pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		_ = pc.(*net.UDPConn).SetReadBuffer(socketBuffer)
		conns[i] = udpbatch.New(pc)
		defer conns[i].Close()
		addr := conns[i].LocalAddr()
		session.sides[i].addr.Store(&addr)
	}
	var got atomic.Int64
	go receiveAll(conns[1], &got)
	const size = 1400
	pkts := make([][]byte, 32)
	for i := range pkts {
		pkts[i] = append(disco.Geneve{Protocol: disco.ProtocolWireGuard, VNI: e.VNI}.Append(nil), make([]byte, size-disco.GeneveLen)...)
	}
	b.SetBytes(size)
	b.ReportAllocs()
	b.ResetTimer()
	// Stay ahead of the receiver by less than the queues hold: packets that get lost would
	// only cost the sender's time. What is lost nevertheless is forgotten after a while.
	sent, stuck := int64(0), time.Time{}
	for got.Load() < int64(b.N) {
		if sent-got.Load() > 1024 {
			if stuck.IsZero() {
				stuck = time.Now()
			} else if time.Since(stuck) > 100*time.Millisecond {
				sent, stuck = got.Load(), time.Time{}
			}
			runtime.Gosched()
			continue
		}
		stuck = time.Time{}
		if err := conns[0].WriteBatch(pkts, to); err != nil {
			b.Fatal(err)
		}
		sent += int64(len(pkts))
	}
	b.StopTimer()
}

// receiveAll counts what comes until the socket is closed.
func receiveAll(c udpbatch.Conn, got *atomic.Int64) {
	bufs := make([][]byte, udpbatch.BatchSize)
	for i := range bufs {
		bufs[i] = make([]byte, udpbatch.BufferSize)
	}
	sizes, from := make([]int, len(bufs)), make([]netip.AddrPort, len(bufs))
	for {
		n, err := c.ReadBatch(bufs, sizes, from)
		if err != nil {
			return
		}
		got.Add(int64(n))
	}
}
