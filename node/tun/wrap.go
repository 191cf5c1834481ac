package tun

import (
	"errors"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"github.com/ginnel/ginnel/internal/packet"
)

// injectLimit bounds the packets that wait to be read toward the mesh.
const injectLimit = 256

// ErrQueueFull is returned by InjectOut when packets are injected faster than
// they are read.
var ErrQueueFull = errors.New("tun: injection queue is full")

// Hooks are what Wrap calls for packets. Each may be nil. The packet hooks run
// for every packet, from several goroutines at once, and must not keep the
// packet.
type Hooks struct {
	// Out judges a packet toward the mesh, In one from the mesh.
	Out, In func(pkt []byte) Verdict
	// InterceptOut sees a packet from the host before Out does, and returns
	// true if it took it. It is for service addresses.
	InterceptOut func(pkt []byte) bool
	// InterceptIn sees a packet from the mesh after In accepted it, and
	// returns true if it took it.
	InterceptIn func(pkt []byte) bool
	// DiscoKey is called with a peer's new disco key (wire document paths,
	// section 14.5). The source has been checked by the tunnel.
	DiscoKey func(from netip.Addr, key [32]byte)
	// Rejected is called when a peer says why it refused a connection.
	Rejected func(packet.Reject)
	// PeerAPIPort returns the TCP port of this node's peer API at an own
	// address, for the answer to a ping; 0 for none.
	PeerAPIPort func(self netip.Addr) uint16
}

// Counters count the packets and bytes that passed a Wrapped device.
type Counters struct {
	OutPackets, OutBytes uint64 // toward the mesh
	InPackets, InBytes   uint64 // from the mesh
	OutDropped           uint64 // by the Out hook
	InDropped            uint64 // by the In hook
}

// Wrapped is a Device with a filter, the node's own messages, and injection. It
// owns the device below it.
type Wrapped struct {
	dev   Waker
	hooks Hooks

	queued atomic.Int32
	mu     sync.Mutex // guards queue
	queue  []*[]byte  // injected toward the mesh, oldest first
	closed atomic.Bool

	pings   pinger
	outPkts atomic.Uint64
	outLen  atomic.Uint64
	inPkts  atomic.Uint64
	inLen   atomic.Uint64
	outDrop atomic.Uint64
	inDrop  atomic.Uint64
}

// Wrap puts hooks around dev, and takes it over.
func Wrap(dev Device, hooks Hooks) *Wrapped {
	w, ok := dev.(Waker)
	if !ok {
		w = newPump(dev)
	}
	return &Wrapped{dev: w, hooks: hooks}
}

// Name returns the name of the interface.
func (w *Wrapped) Name() string { return w.dev.Name() }

// MTU returns the largest packet that the stack sends, in bytes.
func (w *Wrapped) MTU() int { return w.dev.MTU() }

// BatchSize returns the batch size of the device.
func (w *Wrapped) BatchSize() int { return w.dev.BatchSize() }

// Events tells of changes of the device.
func (w *Wrapped) Events() <-chan Event { return w.dev.Events() }

// Close closes the device.
func (w *Wrapped) Close() error {
	w.closed.Store(true)
	return w.dev.Close()
}

// Counters returns what passed so far.
func (w *Wrapped) Counters() Counters {
	return Counters{
		OutPackets: w.outPkts.Load(), OutBytes: w.outLen.Load(), OutDropped: w.outDrop.Load(),
		InPackets: w.inPkts.Load(), InBytes: w.inLen.Load(), InDropped: w.inDrop.Load(),
	}
}

// Read returns packets toward the mesh: those of the host that the Out hook
// accepts, and injected ones. A size of zero marks a place in the batch whose
// packet was dropped; the caller skips it.
func (w *Wrapped) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	for {
		if w.queued.Load() > 0 {
			if n := w.dequeue(bufs, sizes, offset); n > 0 {
				return n, nil
			}
		}
		n, err := w.dev.Read(bufs, sizes, offset)
		if err == ErrWoken {
			if w.closed.Load() {
				return 0, os.ErrClosed
			}
			continue
		}
		if err != nil {
			return 0, err
		}
		if w.filterOut(bufs[:n], sizes[:n], offset) > 0 {
			return n, nil
		}
	}
}

// filterOut judges a batch from the host, setting the sizes of dropped packets
// to zero, and returns how many pass.
func (w *Wrapped) filterOut(bufs [][]byte, sizes []int, offset int) int {
	kept, bytes, dropped := 0, 0, 0
	for i, size := range sizes {
		if size == 0 {
			continue
		}
		pkt := bufs[i][offset : offset+size]
		if w.hooks.InterceptOut != nil && w.hooks.InterceptOut(pkt) {
			sizes[i] = 0
			continue
		}
		if w.hooks.Out != nil && w.hooks.Out(pkt) != packet.Accept {
			sizes[i] = 0
			dropped++
			continue
		}
		kept++
		bytes += size
	}
	w.outPkts.Add(uint64(kept))
	w.outLen.Add(uint64(bytes))
	if dropped > 0 {
		w.outDrop.Add(uint64(dropped))
	}
	return kept
}

// Write delivers packets from the mesh to the host, except those that are the
// node's own business or that the In hook drops. It returns how many were
// delivered. It may change the order of bufs.
func (w *Wrapped) Write(bufs [][]byte, offset int) (int, error) {
	kept, bytes, dropped := 0, 0, 0
	for i := range bufs {
		pkt := bufs[i][offset:]
		switch w.takeIn(pkt) {
		case packet.Accept:
			bufs[kept], bufs[i] = bufs[i], bufs[kept]
			kept++
			bytes += len(pkt)
		case packet.Drop:
			dropped++
		}
	}
	w.inPkts.Add(uint64(kept))
	w.inLen.Add(uint64(bytes))
	if dropped > 0 {
		w.inDrop.Add(uint64(dropped))
	}
	if kept == 0 {
		return 0, nil
	}
	return w.dev.Write(bufs[:kept], offset)
}

// consumed is takeIn's verdict for a packet that reached its reader.
const consumed Verdict = 0xff

// takeIn returns Accept for a packet that the host is to get, Drop for one that
// the In hook refused, and consumed for all else.
func (w *Wrapped) takeIn(pkt []byte) Verdict {
	if len(pkt) == 0 {
		return consumed
	}
	if packet.IsTSMP(pkt) {
		w.nodeMessage(pkt)
		return consumed
	}
	if w.hooks.In != nil {
		switch w.hooks.In(pkt) {
		case packet.Accept:
		case packet.RefuseACL:
			w.refuse(pkt, packet.RejectACL)
			return packet.Drop
		case packet.RefuseShieldsUp:
			w.refuse(pkt, packet.RejectShieldsUp)
			return packet.Drop
		default:
			return packet.Drop
		}
	}
	if w.pings.echoWaiting.Load() > 0 && w.pings.echoReply(pkt) {
		return consumed
	}
	if w.hooks.InterceptIn != nil && w.hooks.InterceptIn(pkt) {
		return consumed
	}
	return packet.Accept
}

// refuse tells the opener of a TCP connection why it fails. The reference
// client does so for IPv4 only; over IPv6 it would be just as welcome.
func (w *Wrapped) refuse(pkt []byte, reason packet.RejectReason) {
	var p packet.Parsed
	if p.Decode(pkt) != nil || !p.IsTCPSyn() {
		return
	}
	var buf [packet.MaxCrafted]byte
	msg, err := packet.AppendReject(buf[:0], packet.Reject{
		Proto:  packet.TCP,
		Src:    netip.AddrPortFrom(p.Src, p.SrcPort),
		Dst:    netip.AddrPortFrom(p.Dst, p.DstPort),
		Reason: reason,
	})
	if err == nil {
		_ = w.InjectOut(msg) // a full queue means there is worse to do
	}
}

// nodeMessage handles a message of protocol 99 from a peer. None of them is for
// the host.
func (w *Wrapped) nodeMessage(pkt []byte) {
	var p packet.Parsed
	if p.Decode(pkt) != nil {
		return
	}
	if token, ok := p.Ping(); ok {
		var port uint16
		if w.hooks.PeerAPIPort != nil {
			port = w.hooks.PeerAPIPort(p.Dst)
		}
		var buf [packet.MaxCrafted]byte
		if msg, err := packet.AppendPong(buf[:0], p.Dst, p.Src, token, port); err == nil {
			_ = w.InjectOut(msg) // the peer asks again
		}
		return
	}
	if token, port, ok := p.Pong(); ok {
		w.pings.answer(token, PingResult{Src: p.Src, PeerAPIPort: port})
		return
	}
	if key, ok := p.DiscoKey(); ok {
		if w.hooks.DiscoKey != nil {
			w.hooks.DiscoKey(p.Src, key)
		}
		return
	}
	if r, ok := p.Reject(); ok && w.hooks.Rejected != nil {
		w.hooks.Rejected(r)
	}
}

// pool holds buffers for injected packets.
var pool = sync.Pool{New: func() any {
	b := make([]byte, 0, 2048)
	return &b
}}

// InjectOut sends pkt toward the mesh as if the node had sent it. It is not
// filtered. The packet is copied. It fails with ErrQueueFull if too many wait.
func (w *Wrapped) InjectOut(pkt []byte) error {
	if len(pkt) == 0 || len(pkt) > MaxPacket {
		return errors.New("tun: cannot inject a packet of that size")
	}
	if w.closed.Load() {
		return os.ErrClosed
	}
	b := pool.Get().(*[]byte)
	*b = append((*b)[:0], pkt...)
	w.mu.Lock()
	if len(w.queue) >= injectLimit {
		w.mu.Unlock()
		pool.Put(b)
		return ErrQueueFull
	}
	w.queue = append(w.queue, b)
	first := w.queued.Add(1) == 1
	w.mu.Unlock()
	if first {
		w.dev.Wake()
	}
	return nil
}

// dequeue moves injected packets into a batch.
func (w *Wrapped) dequeue(bufs [][]byte, sizes []int, offset int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, bytes := 0, 0
	for n < len(w.queue) && n < len(bufs) {
		b := w.queue[n]
		sizes[n] = copy(bufs[n][offset:], *b)
		if sizes[n] < len(*b) {
			sizes[n] = 0 // the caller's buffers are for smaller packets
		}
		bytes += sizes[n]
		pool.Put(b)
		n++
	}
	rest := copy(w.queue, w.queue[n:])
	clear(w.queue[rest:])
	w.queue = w.queue[:rest]
	w.queued.Store(int32(rest))
	w.outPkts.Add(uint64(n))
	w.outLen.Add(uint64(bytes))
	return n
}

// InjectIn delivers pkt to the host as if a peer had sent it. It is not
// filtered. The packet is copied.
func (w *Wrapped) InjectIn(pkt []byte) error {
	if len(pkt) == 0 || len(pkt) > MaxPacket {
		return errors.New("tun: cannot inject a packet of that size")
	}
	b := pool.Get().(*[]byte)
	defer pool.Put(b)
	var head [Headroom]byte
	*b = append(append((*b)[:0], head[:]...), pkt...)
	_, err := w.dev.Write([][]byte{*b}, Headroom)
	return err
}
