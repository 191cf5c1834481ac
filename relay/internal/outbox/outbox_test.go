package outbox

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginnel/ginnel/wire/relay"
)

// gate is a Writer that blocks while it is closed.
type gate struct {
	mu      sync.Mutex
	cond    sync.Cond
	shut    bool
	err     error
	got     []byte
	batches int
	packets Count
	failed  []error
	lost    Lost
}

func newGate() *gate {
	g := &gate{}
	g.cond.L = &g.mu
	return g
}

func (g *gate) WriteFrames(chunks [][]byte, packets Count) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.shut {
		g.cond.Wait()
	}
	if g.err != nil {
		return g.err
	}
	g.batches++
	g.packets.add(packets)
	for _, b := range chunks {
		g.got = append(g.got, b...)
	}
	return nil
}

func (g *gate) Failed(err error, lost Lost) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failed, g.lost = append(g.failed, err), lost
}

// set changes the gate.
func (g *gate) set(shut bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut, g.err = shut, err
	g.cond.Broadcast()
}

// take returns what was written since the last call.
func (g *gate) take() (got []byte, batches int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	got, batches = g.got, g.batches
	g.got, g.batches = nil, 0
	return got, batches
}

func newOutbox(g *gate) *Outbox {
	l := &Limits{}
	l.SetDefaults()
	o := &Outbox{}
	o.Init(l, g)
	return o
}

// put adds one frame with this payload, and kicks.
func put(o *Outbox, class Class, payload []byte) bool {
	_, kick, ok := o.Add(class, relay.AppendFrame(nil, relay.FrameRecvPacket, payload), 1)
	o.Kick(kick)
	return ok
}

func frame(payload string) string {
	return string(relay.AppendFrame(nil, relay.FrameRecvPacket, []byte(payload)))
}

// TestOrder queues everything while the writer is stuck.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		o := newOutbox(g)
		g.set(true, nil)
		put(o, Data, []byte("first"))
		synctest.Wait()
		put(o, Data, []byte("data 1"))
		put(o, Data, []byte("data 2"))
		put(o, Disco, []byte("disco"))
		o.AddControl(relay.AppendKeepAlive)
		if !o.AddPong([]byte("pong")) || o.AddPong([]byte("pong")) {
			t.Error("one pong at a time")
		}
		g.set(false, nil)
		synctest.Wait()
		want := frame("first") + string(relay.AppendKeepAlive(nil)) + "pong" + frame("disco") + frame("data 1") + frame("data 2")
		if got, batches := g.take(); string(got) != want || batches != 2 {
			t.Errorf("wrote %q in %d batches, want %q in 2", got, batches, want)
		}
		if g.packets.Frames != 4 {
			t.Errorf("%d packets counted, want 4", g.packets.Frames)
		}
		if !o.AddPong([]byte("pong")) {
			t.Error("no second pong after the first has left")
		}
		o.Close()
	})
}

// TestLinger lets the writing goroutine end and start again.
func TestLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		o := newOutbox(g)
		state := func() state {
			o.mu.Lock()
			defer o.mu.Unlock()
			return o.state
		}
		for range 3 {
			put(o, Data, []byte("a"))
			synctest.Wait()
			if state() != parked {
				t.Fatalf("state %d after a write", state())
			}
			put(o, Data, []byte("b"))
			time.Sleep(linger + time.Millisecond)
			synctest.Wait()
			if state() != idle {
				t.Fatalf("state %d after a while", state())
			}
			if got, _ := g.take(); string(got) != frame("a")+frame("b") {
				t.Fatalf("wrote %q", got)
			}
		}
		if o.limits.used.Load() != 0 {
			t.Errorf("%d bytes in use when idle", o.limits.used.Load())
		}
	})
}

func TestFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		o := newOutbox(g)
		g.set(true, nil)
		put(o, Data, []byte("in the writer"))
		synctest.Wait()
		put(o, Data, []byte("queued"))
		put(o, Disco, []byte("queued"))
		broken := errors.New("broken")
		g.set(false, broken)
		synctest.Wait()
		if len(g.failed) != 1 || g.failed[0] != broken || g.lost[Data].Frames != 2 || g.lost[Disco].Frames != 1 {
			t.Errorf("failed with %v, lost %v", g.failed, g.lost)
		}
		if put(o, Data, []byte("late")) || o.AddControl(relay.AppendKeepAlive) || o.AddPong(nil) {
			t.Error("an ended outbox takes frames")
		}
		if lost := o.Close(); lost != (Lost{}) {
			t.Errorf("lost again: %v", lost)
		}
		if o.limits.used.Load() != 0 {
			t.Errorf("%d bytes in use after the end", o.limits.used.Load())
		}
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		o := newOutbox(g)
		g.set(true, nil)
		put(o, Data, []byte("in the writer"))
		synctest.Wait()
		put(o, Data, []byte("queued"))
		if lost := o.Close(); lost[Data].Frames != 1 {
			t.Errorf("lost %v, want the one that was queued", lost)
		}
		g.set(false, errors.New("closed"))
		synctest.Wait()
		if len(g.failed) != 0 {
			t.Errorf("told of %v after Close", g.failed)
		}
		parkedOne := newOutbox(newGate())
		put(parkedOne, Data, []byte("a"))
		synctest.Wait()
		parkedOne.Close() // its goroutine must end, or the bubble never does
	})
}

func TestControlOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		o := newOutbox(g)
		g.set(true, nil)
		big := func(b []byte) []byte { return append(b, make([]byte, 1<<20)...) }
		n := 0
		for o.AddControl(big) {
			if n++; n > 100 {
				t.Fatal("control frames have no bound")
			}
			synctest.Wait()
		}
		if len(g.failed) != 1 || !errors.Is(g.failed[0], ErrOverflow) {
			t.Errorf("failed with %v", g.failed)
		}
		g.set(false, nil)
	})
}

// TestManyWriters has several goroutines add at once and looks for every frame, in
// the order of each goroutine.
func TestManyWriters(t *testing.T) {
	g := newGate()
	o := newOutbox(g)
	o.limits.DataAge = 0
	const writers, each = 4, 2000
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				put(o, Data, fmt.Appendf(nil, "%d %d", w, i))
			}
		})
	}
	wg.Wait()
	var all []byte
	next := make([]int, writers)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		got, _ := g.take()
		all = append(all, got...)
		if o.Queued().Frames == 0 && len(all) > 0 && bytes.Count(all, []byte{byte(relay.FrameRecvPacket), 0, 0}) >= writers*each {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d bytes came", len(all))
		}
	}
	for len(all) > 0 {
		_, n, _ := relay.ParseHeader(all)
		var w, i int
		if _, err := fmt.Sscanf(string(all[relay.HeaderLen:relay.HeaderLen+int(n)]), "%d %d", &w, &i); err != nil || next[w] != i {
			t.Fatalf("writer %d: frame %d, want %d (%v)", w, i, next[w], err)
		}
		next[w]++
		all = all[relay.HeaderLen+int(n):]
	}
	for w, n := range next {
		if n != each {
			t.Errorf("writer %d: %d frames, want %d", w, n, each)
		}
	}
	o.Close()
}
