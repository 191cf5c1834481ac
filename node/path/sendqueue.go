package path

import (
	"sync"
	"time"

	"github.com/ginnel/ginnel/relay/client"
	"github.com/ginnel/ginnel/wire/key"
)

// Limits of a link's queue. When it is full the oldest packets make room.
const (
	maxQueuePackets = 1024
	maxQueueBytes   = 1 << 20
	maxUrgent       = 64
	maxQueueAge     = 10 * time.Second // older packets are of no use to anybody
	sendBatchBytes  = 128 << 10
)

// packetBuffers are buffers for queued packets.
var packetBuffers = sync.Pool{New: func() any { return &queued{data: make([]byte, 0, 1600)} }}

// maxPooled is the largest buffer that is kept for reuse, in bytes.
const maxPooled = 4096

// queued is a packet in a queue.
type queued struct {
	dst  key.NodePublic
	at   time.Time
	data []byte
}

// newQueued copies a packet.
func newQueued(dst key.NodePublic, at time.Time, pkt []byte) *queued {
	q := packetBuffers.Get().(*queued)
	q.dst, q.at = dst, at
	q.data = append(q.data[:0], pkt...)
	return q
}

// release gives the buffer back.
func (q *queued) release() {
	if cap(q.data) <= maxPooled {
		packetBuffers.Put(q)
	}
}

// sendQueue holds the packets for one relay.
type sendQueue struct {
	ready chan struct{} // has an element when there may be something to do

	mu     sync.Mutex
	urgent []*queued
	data   []*queued // data[head:] are waiting
	head   int
	bytes  int // in data
}

func (q *sendQueue) init() { q.ready = make(chan struct{}, 1) }

// poke makes whoever waits for ready look again.
func (q *sendQueue) poke() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// add copies packets to the end of the queue.
func (q *sendQueue) add(now time.Time, dst key.NodePublic, pkts [][]byte, urgent bool) {
	q.mu.Lock()
	for _, b := range pkts {
		n := newQueued(dst, now, b)
		switch {
		case !urgent:
			q.data = append(q.data, n)
			q.bytes += len(b)
		case len(q.urgent) < maxUrgent:
			q.urgent = append(q.urgent, n)
		default:
			n.release()
		}
	}
	for len(q.data)-q.head > maxQueuePackets || q.bytes > maxQueueBytes && len(q.data)-q.head > 1 {
		q.pop().release()
	}
	q.mu.Unlock()
	q.poke()
}

// pop removes the oldest packet of data. The lock is held, and there is one.
func (q *sendQueue) pop() *queued {
	n := q.data[q.head]
	q.data[q.head] = nil
	q.head++
	q.bytes -= len(n.data)
	switch {
	case q.head == len(q.data):
		q.data, q.head = q.data[:0], 0
	case q.head >= maxQueuePackets: // move the rest to the front now and then
		k := copy(q.data, q.data[q.head:])
		clear(q.data[k:])
		q.data, q.head = q.data[:k], 0
	}
	return n
}

// empty reports whether nothing waits.
func (q *sendQueue) empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.urgent) == 0 && q.head == len(q.data)
}

// sendBatch is what was taken from a queue to be written at once.
type sendBatch struct {
	packets []client.Packet
	buffers []*queued
}

// release gives all buffers back.
func (b *sendBatch) release() {
	for _, n := range b.buffers {
		n.release()
	}
	clear(b.buffers)
	clear(b.packets)
	b.buffers, b.packets = b.buffers[:0], b.packets[:0]
}

func (b *sendBatch) add(n *queued) {
	b.buffers = append(b.buffers, n)
	b.packets = append(b.packets, client.Packet{Peer: n.dst, Data: n.data})
}

// take moves the next packets to b, urgent ones first, and reports whether there were
// any. Packets that waited for too long are dropped.
func (q *sendQueue) take(now time.Time, b *sendBatch) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, n := range q.urgent {
		b.add(n)
	}
	clear(q.urgent)
	q.urgent = q.urgent[:0]
	for size := 0; q.head < len(q.data) && size < sendBatchBytes; {
		n := q.pop()
		if now.Sub(n.at) > maxQueueAge {
			n.release()
			continue
		}
		size += len(n.data)
		b.add(n)
	}
	return len(b.buffers) > 0
}
