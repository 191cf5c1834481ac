package relay

import (
	"bytes"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginnel/ginnel/wire/key"
	wire "github.com/ginnel/ginnel/wire/relay"
)

func TestForward(t *testing.T) {
	s := newServer(t, Config{})
	a, b := plain(t, s), plain(t, s)
	for _, n := range []int{0, 1, 61, 1300, 16 << 10, 40 << 10, wire.MaxPacketData} {
		data := bytes.Repeat([]byte{byte(n)}, n)
		a.packet(b.key, data)
		b.expectPacket(a.key, data)
	}
	a.packet(a.key, []byte("to myself"))
	a.expectPacket(a.key, []byte("to myself"))
}

// TestForwardMixed sends one write of frames for several clients, of both classes,
// cut anywhere, and looks for all of them in the order of each class.
func TestForwardMixed(t *testing.T) {
	s := newServer(t, Config{})
	src := plain(t, s)
	dsts := []*pipeClient{plain(t, s), plain(t, s), plain(t, s)}
	var stream []byte
	want := make([][][]byte, len(dsts))
	for i := range 200 {
		d := i / 3 % len(dsts)
		data := fmt.Appendf(nil, "packet %d", i)
		if i%7 == 0 {
			data = append(bytes.Repeat([]byte{'x'}, i*20), data...)
		}
		stream = wire.AppendSendPacket(stream, dsts[d].key, data)
		want[d] = append(want[d], data)
		if i%10 == 0 {
			stream = wire.AppendFrame(stream, 0x7f, make([]byte, i)) // skipped
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; len(stream) > 0; i++ {
			n := min(len(stream), 1+i*i%5000)
			if _, err := src.nc.Write(stream[:n]); err != nil {
				t.Error(err)
				return
			}
			stream = stream[n:]
		}
	}()
	for i, d := range dsts {
		for _, data := range want[i] {
			d.expectPacket(src.key, data)
		}
	}
	<-done
}

func TestQueueFullDropsOldest(t *testing.T) {
	const queue, sent = 16, 100
	s := newServer(t, Config{QueuePackets: queue, WriteTimeout: time.Minute})
	a, slow, c := plain(t, s), plain(t, s), plain(t, s)
	rest := slow.stick(a, []byte("first"))
	for i := range sent {
		a.packet(slow.key, fmt.Appendf(nil, "data %d", i))
		a.sync() // the slow reader blocks nobody
	}
	a.packet(slow.key, disco(1))
	a.packet(c.key, []byte("hi"))
	c.expectPacket(a.key, []byte("hi"))
	// The first packet is in the writer's hands; of the rest the newest are left,
	// behind the discovery packet that came after them.
	rest()
	slow.expectPacket(a.key, disco(1))
	for i := sent - queue; i < sent; i++ {
		slow.expectPacket(a.key, fmt.Appendf(nil, "data %d", i))
	}
	slow.sync()
	if got := s.stats.dropped[dropHead][0].packets.Load(); got != sent-queue {
		t.Errorf("%d packets counted as dropped, want %d", got, sent-queue)
	}
}

func TestQueueFullByBytes(t *testing.T) {
	s := newServer(t, Config{QueueBytes: minQueueBytes, WriteTimeout: time.Minute})
	a, slow := plain(t, s), plain(t, s)
	big := bytes.Repeat([]byte{1}, wire.MaxPacketData)
	rest := slow.stick(a, []byte("first"))
	for i := range byte(10) {
		big[0] = i
		a.packet(slow.key, big)
	}
	a.packet(slow.key, []byte("last"))
	a.sync()
	rest()
	big[0] = 9
	slow.expectPacket(a.key, big)
	slow.expectPacket(a.key, []byte("last"))
}

// TestOldDataMakesRoom fills the queue of a reader that is stuck and looks for only
// the newer half after some time.
func TestOldDataMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Config{WriteTimeout: time.Minute})
		a, slow := plain(t, s), plain(t, s)
		rest := slow.stick(a, []byte("first"))
		half := func(mark byte) {
			for range 10 {
				a.packet(slow.key, bytes.Repeat([]byte{mark}, 30<<10))
			}
			a.sync()
		}
		half(1)
		time.Sleep(300 * time.Millisecond)
		half(2)
		rest()
		var got [3]int
		for got[2] < 10 {
			_, payload := slow.next()
			got[payload[wire.KeyLen]]++
		}
		if got[1] != 0 {
			t.Errorf("%d of 10 old packets came before the new ones", got[1])
		}
	})
}

func TestBudget(t *testing.T) {
	s := newServer(t, Config{WriteTimeout: time.Minute})
	s.limits.Budget = 1 << 20
	a, slow, other := plain(t, s), plain(t, s), plain(t, s)
	rest, restOther := slow.stick(a, []byte("first")), other.stick(a, []byte("first"))
	big := make([]byte, 30<<10)
	for range 100 {
		a.packet(slow.key, big)
	}
	a.packet(other.key, big)
	a.sync()
	c := s.table.get(slow.key).active.Load()
	if n := c.out.Queued().Bytes; n > 3<<19 {
		t.Errorf("%d bytes are queued with a budget of 1 MiB", n)
	}
	rest()
	restOther()
	other.expectPacket(a.key, big)
}

func TestSlowReaderIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Config{})
		a, slow := plain(t, s), plain(t, s)
		slow.packet(a.key, []byte("hi"))
		a.expectPacket(slow.key, []byte("hi"))
		a.packet(slow.key, []byte("nobody reads this"))
		a.sync()
		time.Sleep(defaultWriteTimeout - time.Millisecond)
		synctest.Wait()
		if n := s.stats.conns.Load(); n != 2 {
			t.Fatalf("%d connections just before the write timeout, want 2", n)
		}
		a.expect(wire.AppendPeerGone(nil, slow.key, wire.GoneDisconnected))
		slow.expectClosed()
		if n := s.stats.writeTimeouts.Load(); n != 1 {
			t.Errorf("%d write timeouts counted, want 1", n)
		}
	})
}

func TestKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Config{})
		a := plain(t, s)
		for range 3 {
			before := time.Now()
			a.expect(wire.AppendKeepAlive(nil))
			if d := time.Since(before); d < 60*time.Second || d > 65*time.Second {
				t.Errorf("keepalive after %v", d)
			}
		}
	})
}

func TestNotHere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Config{})
		a := plain(t, s)
		nobody := key.NewNode().Public()
		gone := wire.AppendPeerGone(nil, nobody, wire.GoneNotHere)
		a.packet(nobody, []byte("data gets no notice"))
		a.sync()
		for range 3 {
			a.packet(nobody, disco(0))
			a.expect(gone)
		}
		a.packet(nobody, disco(0)) // over the burst
		a.sync()
		time.Sleep(time.Second)
		a.packet(nobody, disco(0))
		a.expect(gone)
		a.packet(nobody, disco(0))
		a.sync()
	})
}

func TestPeerGone(t *testing.T) {
	s := newServer(t, Config{})
	a, b, c := plain(t, s), plain(t, s), plain(t, s)
	a.packet(b.key, []byte("hi"))
	b.expectPacket(a.key, []byte("hi"))
	c.packet(a.key, []byte("I only sent"))
	a.expectPacket(c.key, []byte("I only sent"))
	a.nc.Close()
	b.expect(wire.AppendPeerGone(nil, a.key, wire.GoneDisconnected))
	c.sync() // who was sent nothing is told nothing
	// The same again on the same connection of b: told again.
	a = connect(t, s, a.priv, wire.ClientInfo{})
	a.packet(b.key, []byte("again"))
	b.expectPacket(a.key, []byte("again"))
	a.nc.Close()
	b.expect(wire.AppendPeerGone(nil, a.key, wire.GoneDisconnected))
	if s.table.get(a.key) != nil {
		t.Error("the key is still in the table")
	}
}

func TestDuplicates(t *testing.T) {
	s := newServer(t, Config{})
	peer, first := plain(t, s), plain(t, s)
	first.packet(peer.key, []byte("from the first"))
	peer.expectPacket(first.key, []byte("from the first"))
	second := connect(t, s, first.priv, wire.ClientInfo{})
	second.sync()
	peer.packet(first.key, []byte("to the newer"))
	second.expectPacket(peer.key, []byte("to the newer"))
	first.sync() // it speaks, and gets nothing of the above
	peer.packet(first.key, []byte("to the last writer"))
	first.expectPacket(peer.key, []byte("to the last writer"))
	first.nc.Close()
	waitFor(t, func() bool { return s.stats.conns.Load() == 2 })
	peer.packet(first.key, []byte("to the one left"))
	second.expectPacket(peer.key, []byte("to the one left"))
	peer.sync() // no notice while one is left
	second.nc.Close()
	peer.expect(wire.AppendPeerGone(nil, first.key, wire.GoneDisconnected))
}

// waitFor polls a condition that must come true.
func waitFor(t testing.TB, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("condition did not come true in 10 s")
		}
	}
}

func TestForwardAllocates(t *testing.T) {
	s := newServer(t, Config{})
	b := plain(t, s)
	src := &client{s: s, key: key.NewNode().Public()} // without a reader of its own
	var run []byte
	for range 8 {
		run = wire.AppendSendPacket(run, b.key, make([]byte, 1300))
	}
	frames := make([]byte, len(run))
	n := testing.AllocsPerRun(1000, func() {
		copy(frames, run)
		in := &inbox{buf: frames, w: len(frames)}
		if _, err := src.takeFrames(in); err != nil {
			t.Error(err)
		}
		src.endBatch()
	})
	if n != 0 {
		t.Errorf("%v allocations a batch, want 0", n)
	}
}
