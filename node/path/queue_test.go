package path

import (
	"errors"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginnel/ginnel/wire/key"
)

// drain takes all that is queued.
func drain(q *sendQueue, now time.Time) (out []string) {
	var b sendBatch
	for q.take(now, &b) {
		for _, p := range b.packets {
			out = append(out, string(p.Data))
		}
		b.release()
	}
	return out
}

func TestSendQueue(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	var q sendQueue
	q.init()
	add := func(at time.Time, urgent bool, s string) { q.add(at, key.NodePublic{}, [][]byte{[]byte(s)}, urgent) }
	add(now, false, "data 1")
	add(now, true, "urgent")
	add(now, false, "data 2")
	if got := fmt.Sprint(drain(&q, now)); got != "[urgent data 1 data 2]" {
		t.Errorf("order %s", got)
	}
	for i := range 10 * maxQueuePackets {
		add(now, false, fmt.Sprint(i))
	}
	got := drain(&q, now)
	if len(got) != maxQueuePackets || got[0] != fmt.Sprint(9*maxQueuePackets) || !q.empty() || q.bytes != 0 {
		t.Errorf("%d packets from %s on, %d bytes left; want the newest %d", len(got), got[0], q.bytes, maxQueuePackets)
	}
	large := string(make([]byte, 60000))
	for range 100 {
		add(now, false, large)
	}
	if got := drain(&q, now); len(got)*len(large) > maxQueueBytes || len(got) < 10 {
		t.Errorf("%d large packets", len(got))
	}
	for range 100 {
		add(now, true, "urgent")
	}
	if got := drain(&q, now); len(got) != maxUrgent {
		t.Errorf("%d urgent packets", len(got))
	}
	add(now, false, "old")
	add(now.Add(maxQueueAge), false, "new")
	if got := drain(&q, now.Add(maxQueueAge+time.Second)); len(got) != 1 || got[0] != "new" {
		t.Errorf("got %v, want no packet that is too old", got)
	}
}

func TestRelayRing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r relayRing
		r.init()
		bufs, sizes, from := make([][]byte, 8), make([]int, 8), make([]*Source, 8)
		for i := range bufs {
			bufs[i] = make([]byte, 100)
		}
		if _, err := r.read(bufs, sizes, from); !errors.Is(err, net.ErrClosed) {
			t.Fatalf("read before start: %v", err)
		}
		r.set(false)
		src := new(Source)
		total := 3 * ringSlots
		go func() {
			b := new(relayBatch)
			for i := range total {
				b.data, b.from = append(b.data, []byte(fmt.Sprint(i))), append(b.from, src)
			}
			b.data[5] = make([]byte, 101) // does not fit
			r.put(b)
		}()
		for i := 0; i < total; {
			n, err := r.read(bufs, sizes, from)
			if err != nil {
				t.Fatal(err)
			}
			for k := range n {
				want := fmt.Sprint(i)
				if i == 5 {
					want = ""
				}
				if got := string(bufs[k][:sizes[k]]); got != want || from[k] != src {
					t.Fatalf("packet %d is %q", i, got)
				}
				i++
			}
		}
		done := make(chan error)
		go func() {
			_, err := r.read(bufs, sizes, from)
			done <- err
		}()
		synctest.Wait()
		r.close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Fatalf("read after close: %v", err)
		}
		r.set(false)
		if _, err := r.read(bufs, sizes, from); !errors.Is(err, net.ErrClosed) {
			t.Fatal("a closed ring was opened again")
		}
	})
}
