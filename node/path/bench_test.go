package path

import (
	"net/netip"
	"testing"
	"time"

	"github.com/ginnel/ginnel/node/path/probing"
	"github.com/ginnel/ginnel/wire/key"
)

// sender returns an engine over real sockets with one peer that has a direct path, and
// packets for it.
func sender(t testing.TB) (*Engine, key.NodePublic, [][]byte) {
	t.Helper()
	sink, err := systemListen(false)("udp4", 0)
	if err != nil {
		t.Fatal(err)
	}
	e, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close(); sink.Close() })
	p := Peer{Key: key.NewNode().Public(), Disco: key.NewDisco().Public()}
	if err := e.Apply(Config{PrivateKey: key.NewNode(), Peers: []Peer{p}}); err != nil {
		t.Fatal(err)
	}
	port := netip.MustParseAddrPort(sink.LocalAddr().String()).Port()
	e.lookup(p.Key).route.Store(&probing.Route{Addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port),
		TrustedUntil: time.Now().Add(time.Hour), Active: true, Flowing: true})
	pkts := make([][]byte, BatchSize)
	for i := range pkts {
		pkts[i] = make([]byte, 1312)
		pkts[i][0] = 4
	}
	return e, p.Key, pkts
}

func TestSendAllocatesNothing(t *testing.T) {
	e, k, pkts := sender(t)
	if n := testing.AllocsPerRun(200, func() {
		if err := e.Send(k, pkts); err != nil {
			t.Fatal(err)
		}
	}); n > 0.5 {
		t.Errorf("%v allocations to send a batch", n)
	}
}

// raceDetector says that the tests run with it: then pools drop things at random.
var raceDetector bool

// TestRelayedSendAllocatesNothing sends through a relay that is read as fast as it is
// written.
func TestRelayedSendAllocatesNothing(t *testing.T) {
	if raceDetector {
		t.Skip("with the race detector allocations say nothing")
	}
	var q sendQueue
	q.init()
	now, pkts := time.Now(), [][]byte{make([]byte, 1312), make([]byte, 1312)}
	var b sendBatch
	if n := testing.AllocsPerRun(200, func() {
		q.add(now, key.NodePublic{}, pkts, false)
		q.take(now, &b)
		b.release()
	}); n > 0.5 {
		t.Errorf("%v allocations to queue packets", n)
	}
}

func BenchmarkSend(b *testing.B) {
	e, k, pkts := sender(b)
	b.SetBytes(int64(len(pkts) * len(pkts[0])))
	b.ReportAllocs()
	for b.Loop() {
		if err := e.Send(k, pkts); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSendOne(b *testing.B) {
	e, k, pkts := sender(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := e.Send(k, pkts[:1]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReceive sends and receives batches over loopback.
func BenchmarkReceive(b *testing.B) {
	e, k, pkts := sender(b)
	r, err := New(Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	r.Receivers()
	defer r.StopReceiving()
	e.lookup(k).route.Store(&probing.Route{Addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), r.LocalPort()),
		TrustedUntil: time.Now().Add(time.Hour), Active: true, Flowing: true})
	rx := r.newReceiver(&r.sock4)
	bufs, sizes, from := make([][]byte, BatchSize), make([]int, BatchSize), make([]*Source, BatchSize)
	for i := range bufs {
		bufs[i] = make([]byte, 65535)
	}
	talker := &peer{}
	talker.route.Store(&probing.Route{})
	r.sources.bind(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), e.LocalPort()), talker)
	b.SetBytes(int64(len(pkts) * len(pkts[0])))
	b.ReportAllocs()
	for b.Loop() {
		if err := e.Send(k, pkts); err != nil {
			b.Fatal(err)
		}
		for got := 0; got < len(pkts); {
			n, err := rx.receive(bufs, sizes, from)
			if err != nil {
				b.Fatal(err)
			}
			got += n
		}
	}
}
