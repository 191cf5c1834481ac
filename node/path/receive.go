package path

import (
	"net/netip"
	"sync"
	"time"

	"github.com/ginnel/ginnel/node/path/udpbatch"
	"github.com/ginnel/ginnel/wire/disco"
)

// BatchSize is the number of packets that receive functions and Send handle at best.
const BatchSize = udpbatch.BatchSize

// ReceiveFunc waits for sealed packets and puts them into bufs, their lengths into sizes
// and where they came from into from. It returns how many places it used; a length of
// zero means that there is nothing for the caller in that place. bufs should be
// BatchSize buffers of 65535 bytes. It returns net.ErrClosed once receiving is stopped.
type ReceiveFunc func(bufs [][]byte, sizes []int, from []*Source) (int, error)

// Receivers starts receiving. Each function returned is to be called again and again
// from a goroutine of its own until StopReceiving.
func (e *Engine) Receivers() []ReceiveFunc {
	e.sock4.resume()
	e.sock6.resume()
	e.relayIn.set(false)
	fns := []ReceiveFunc{e.receiveRelayed}
	if !e.opts.NoUDP {
		fns = append(fns, e.newReceiver(&e.sock4).receive, e.newReceiver(&e.sock6).receive)
	}
	return fns
}

// BatchSize returns how many buffers the receive functions are best given.
func (e *Engine) BatchSize() int { return e.opts.BatchSize }

// StopReceiving makes the functions of Receivers return.
func (e *Engine) StopReceiving() {
	e.sock4.interrupt()
	e.sock6.interrupt()
	e.relayIn.set(true)
}

// receiveRelayed is the ReceiveFunc of all relays.
func (e *Engine) receiveRelayed(bufs [][]byte, sizes []int, from []*Source) (int, error) {
	n, err := e.relayIn.read(bufs, sizes, from)
	if err != nil {
		return 0, err
	}
	now, bytes := time.Now().UnixNano(), 0
	for i := range n {
		from[i].peer.lastRecv.Store(now)
		bytes += sizes[i]
	}
	e.counters.received(wayRelay, n, bytes)
	return n, nil
}

// receiver receives from one UDP socket.
type receiver struct {
	e     *Engine
	s     *socket
	addrs []netip.AddrPort

	last    *Source // source of the packet before, and
	version uint64  // the version of the table that it is from
}

func (e *Engine) newReceiver(s *socket) *receiver {
	return &receiver{e: e, s: s, addrs: make([]netip.AddrPort, udpbatch.BatchSize)}
}

// receive is a ReceiveFunc. Packets that are not WireGuard's are kept here.
func (r *receiver) receive(bufs [][]byte, sizes []int, from []*Source) (int, error) {
	n, err := r.s.readBatch(bufs, sizes, r.addrs)
	if err != nil {
		return 0, err
	}
	now := time.Now().UnixNano()
	var run *Source // packets of one source are counted together
	packets, bytes := 0, 0
	for i := range n {
		pkt := bufs[i][:sizes[i]]
		switch disco.Classify(pkt) {
		case disco.KindWireGuard:
		case disco.KindDisco:
			// Strangers get no part of the loop's time.
			if sender, ok := disco.Sender(pkt); ok {
				if _, known := r.e.knownDisco.Load(sender); known {
					r.e.deliver(pkt, r.source(r.addrs[i]))
					sizes[i] = 0
					continue
				}
			}
			r.e.unknown.disco.Add(1)
			sizes[i] = 0
			continue
		case disco.KindSTUN:
			if !r.e.checker.HandleSTUN(pkt) {
				r.e.unknown.other.Add(1)
			}
			sizes[i] = 0
			continue
		default: // of a peer relay, which this node does not use
			r.e.unknown.other.Add(1)
			sizes[i] = 0
			continue
		}
		src := r.source(r.addrs[i])
		from[i] = src
		switch {
		case src.peer == nil && isInitiation(pkt):
			r.e.strangers.note(pkt, src.Addr)
		case src.peer != nil && !r.e.filterHandshake(pkt, src, now):
			sizes[i] = 0
		}
		if src != run {
			r.count(run, now, packets, bytes)
			run, packets, bytes = src, 0, 0
		}
		packets, bytes = packets+1, bytes+len(pkt)
	}
	r.count(run, now, packets, bytes)
	return n, nil
}

// count notes packets that came from src.
func (r *receiver) count(src *Source, now int64, packets, bytes int) {
	if src == nil {
		return
	}
	if src.peer == nil {
		r.e.unknown.wireGuard.Add(uint64(packets)) // anybody's, until it is decrypted
		return
	}
	w := wayOf(src.Addr)
	r.e.counters.received(w, packets, bytes)
	src.peer.lastRecv.Store(now)
	if src.peer.route.Load().Addr == src.Addr {
		src.peer.lastBest.Store(now)
	}
	src.peer.counters.received(w, packets, bytes)
}

// source returns the source for an address, which mostly is that of the packet before.
func (r *receiver) source(addr netip.AddrPort) *Source {
	version := r.e.sources.version.Load()
	if r.last == nil || r.last.Addr != addr || r.version != version {
		r.last, r.version = r.e.sources.get(addr), version
	}
	return r.last
}

// inPacket is a path-finding packet on its way to the loop.
type inPacket struct {
	data []byte
	from *Source
}

var inPackets = sync.Pool{New: func() any { return new(inPacket) }}

// deliver copies a path-finding packet to the loop. If the loop is overrun the packet is
// lost.
func (e *Engine) deliver(data []byte, from *Source) {
	p := inPackets.Get().(*inPacket)
	p.data = append(p.data[:0], data...)
	p.from = from
	select {
	case e.packets <- p:
	default:
		p.release()
		e.overruns.Add(1)
	}
}

// release gives the buffer back.
func (p *inPacket) release() {
	p.from = nil
	if cap(p.data) <= maxPooled {
		inPackets.Put(p)
	}
}
