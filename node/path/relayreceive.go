package path

import (
	"net"
	"sync"
	"time"

	"github.com/ginnel/ginnel/node/path/udpbatch"
	"github.com/ginnel/ginnel/relay/client"
	"github.com/ginnel/ginnel/wire/disco"
)

// receive hands in what a relay sends until the connection fails.
func (l *link) receive(conn RelayConn) {
	batch := make([]client.Message, 0, udpbatch.BatchSize)
	var in relayBatch
	l.lastRecv.Store(time.Now().UnixNano()) // the relay's part of the handshake
	for {
		m, err := conn.Recv()
		if err != nil {
			if l.ctx.Err() == nil {
				l.r.e.log.Debug("relay connection ended", "region", l.region.RegionCode, "error", err)
			}
			return
		}
		now := time.Now().UnixNano()
		l.lastRecv.Store(now)
		l.failures.Store(0)
		batch = append(batch[:0], m)
		for len(batch) < cap(batch) && conn.Buffered() {
			if m, err = conn.Recv(); err != nil {
				break
			}
			batch = append(batch, m)
		}
		in.reset()
		for i := range batch {
			l.message(&batch[i], &in, now)
		}
		if len(in.data) > 0 {
			l.r.e.relayIn.put(&in)
		}
	}
}

// message acts on one message that came at now, in Unix nanoseconds; data packets are
// added to in.
func (l *link) message(m *client.Message, in *relayBatch, now int64) {
	e := l.r.e
	switch m.Kind {
	case client.KindPacket:
		p := e.lookup(m.Peer)
		if p == nil {
			e.early.keep(m.Peer, l, m.Data)
			return
		}
		p.learned.Store(l)
		if disco.IsSealed(m.Data) {
			e.deliver(m.Data, l.source(p))
			return
		}
		if src := l.source(p); e.filterHandshake(m.Data, src, now) {
			in.add(p, src, m.Data)
		}
	case client.KindPeerGone:
		if p := e.lookup(m.Peer); p != nil {
			p.learned.CompareAndSwap(l, nil)
		}
	case client.KindHealth:
		if len(m.Data) > 0 {
			e.log.Warn("relay reports a problem", "region", l.region.RegionCode, "problem", string(m.Data))
		}
	case client.KindRestarting:
		e.log.Info("relay is about to restart", "region", l.region.RegionCode)
	}
}

// source returns the source of packets from p on this link.
func (l *link) source(p *peer) *Source {
	if s := p.relaySource.Load(); s != nil && s.Region == l.region.RegionID {
		return s
	}
	s := &Source{Addr: relayAddr(l.region.RegionID), Peer: p.key, Region: l.region.RegionID, peer: p}
	p.relaySource.Store(s)
	return s
}

// relayBatch are data packets that came together. The data is the connection's.
type relayBatch struct {
	data [][]byte
	from []*Source
}

func (b *relayBatch) reset() {
	clear(b.data)
	b.data, b.from = b.data[:0], b.from[:0]
}

func (b *relayBatch) add(p *peer, from *Source, data []byte) {
	p.counters.received(wayRelay, 1, len(data))
	b.data = append(b.data, data)
	b.from = append(b.from, from)
}

// relayRing holds data packets from all relays until they are read. When it is full its
// writers wait, so that the relay connections fill up and the relays see it.
type relayRing struct {
	mu      sync.Mutex
	changed sync.Cond
	slots   [ringSlots]ringSlot
	first   int // index of the oldest
	used    int
	stopped bool // reads return at once
	closed  bool // writes do not wait
}

// ringSlots is how many packets may wait to be read.
const ringSlots = 512

type ringSlot struct {
	data []byte
	from *Source
}

func (r *relayRing) init() {
	r.changed.L = &r.mu
	r.stopped = true
}

// put copies a batch into the ring.
func (r *relayRing) put(b *relayBatch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, data := range b.data {
		for r.used == ringSlots && !r.closed && !r.stopped {
			r.changed.Broadcast()
			r.changed.Wait()
		}
		if r.closed || r.used == ringSlots {
			return
		}
		s := &r.slots[(r.first+r.used)%ringSlots]
		s.data = append(s.data[:0], data...)
		s.from = b.from[i]
		r.used++
	}
	r.changed.Broadcast()
}

// read waits for packets and copies them to bufs. It returns net.ErrClosed after
// interrupt.
func (r *relayRing) read(bufs [][]byte, sizes []int, from []*Source) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.used == 0 && !r.stopped {
		r.changed.Wait()
	}
	if r.stopped {
		return 0, net.ErrClosed
	}
	n := min(r.used, len(bufs))
	for i := range n {
		s := &r.slots[r.first]
		sizes[i] = 0 // a packet that does not fit is dropped
		if len(s.data) <= len(bufs[i]) {
			sizes[i] = copy(bufs[i], s.data)
		}
		from[i] = s.from
		s.from = nil
		r.first = (r.first + 1) % ringSlots
	}
	r.used -= n
	r.changed.Broadcast()
	return n, nil
}

// set starts or stops reading.
func (r *relayRing) set(stopped bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = stopped || r.closed
	r.changed.Broadcast()
}

// close stops everything for good.
func (r *relayRing) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped, r.closed = true, true
	r.changed.Broadcast()
}
