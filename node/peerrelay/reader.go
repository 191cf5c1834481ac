package peerrelay

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/ginnel/ginnel/node/path/udpbatch"
	"github.com/ginnel/ginnel/wire/disco"
)

const (
	// maxDatagram is the size of the largest datagram that is forwarded: that of a jumbo
	// frame.
	maxDatagram = 9216
	// readErrorPause keeps a socket that fails again and again from taking all the time.
	readErrorPause = 10 * time.Millisecond
)

// reader reads one socket and sends on what it reads. Nothing of it is shared.
type reader struct {
	server *Server
	shard  *shard
	family Family

	bufs   [][]byte
	sizes  []int
	from   []netip.AddrPort
	groups []group // of which the first used are in use
	used   int
	drops  [numDrops]uint64
	sent   [2]struct{ packets, bytes int } // by family out
	reply  [1][]byte
	answer [256]byte
}

// group is what goes from one side of a session to one address, in order.
type group struct {
	side  *side
	to    netip.AddrPort
	pkts  [][]byte
	bytes int
}

func newReader(s *Server, sh *shard, f Family) *reader {
	r := &reader{
		server: s, shard: sh, family: f, bufs: make([][]byte, udpbatch.BatchSize),
		sizes: make([]int, udpbatch.BatchSize), from: make([]netip.AddrPort, udpbatch.BatchSize),
		groups: make([]group, udpbatch.BatchSize),
	}
	for i := range r.bufs {
		size := maxDatagram + 1
		if i >= len(r.bufs)-coalesced {
			size = udpbatch.BufferSize
		}
		r.bufs[i] = make([]byte, size)
	}
	return r
}

// coalesced is how many buffers at the end of a batch the kernel may fill with many
// datagrams in one piece.
const coalesced = 2

// run reads until the server is closed.
func (r *reader) run() {
	for {
		n, err := r.shard[r.family].ReadBatch(r.bufs, r.sizes, r.from)
		if err == nil {
			r.batch(time.Now(), n)
			continue
		}
		select {
		case <-r.server.stop:
			return
		default:
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		time.Sleep(readErrorPause)
	}
}

// batch handles the first n datagrams of the buffers.
func (r *reader) batch(now time.Time, n int) {
	t := r.server.table
	at := t.at(now)
	for i := range n {
		if r.sizes[i] > maxDatagram {
			r.drops[TooLarge]++
			continue
		}
		pkt := r.bufs[i][:r.sizes[i]]
		v := t.input(at, r.from[i], pkt, r.answer[:0])
		switch {
		case v.Why == Forwarded:
			r.add(&v)
			continue
		case v.Why == Answered && v.Packet != nil:
			r.reply[0] = v.Packet
			v.Why = r.write(r.reply[:], v.To, Answered)
		case v.Why == NoGeneve && r.server.opts.STUN != nil && disco.Classify(pkt) == disco.KindSTUN:
			r.server.opts.STUN(pkt, r.from[i])
			continue
		}
		r.drops[v.Why]++
	}
	r.flush()
}

// add puts a packet to forward into its group.
func (r *reader) add(v *verdict) {
	var g *group
	for i := r.used - 1; i >= 0; i-- {
		if r.groups[i].side == v.side && r.groups[i].to == v.To {
			g = &r.groups[i]
			break
		}
	}
	if g == nil {
		g = &r.groups[r.used]
		r.used++
		g.side, g.to, g.pkts, g.bytes = v.side, v.To, g.pkts[:0], 0
	}
	g.pkts = append(g.pkts, v.Packet)
	g.bytes += len(v.Packet)
}

// flush sends all groups and counts.
func (r *reader) flush() {
	c := &r.server.table.counters
	for i := range r.groups[:r.used] {
		g := &r.groups[i]
		if why := r.write(g.pkts, g.to, Forwarded); why != Forwarded {
			r.drops[why] += uint64(len(g.pkts))
			continue
		}
		g.side.in.add(len(g.pkts), g.bytes)
		out := &r.sent[family(g.to)]
		out.packets += len(g.pkts)
		out.bytes += g.bytes
	}
	r.used = 0
	for f := range r.sent {
		if r.sent[f].packets > 0 {
			c.forwarded[r.family][f].add(r.sent[f].packets, r.sent[f].bytes)
			r.sent[f].packets, r.sent[f].bytes = 0, 0
		}
	}
	for d := range r.drops {
		if r.drops[d] > 0 {
			c.dropped[d].Add(r.drops[d])
			r.drops[d] = 0
		}
	}
}

// write sends datagrams and returns good, or why they were lost.
func (r *reader) write(pkts [][]byte, to netip.AddrPort, good Drop) Drop {
	c := r.shard[family(to)]
	if c == nil {
		return NoSocket
	}
	if c.WriteBatch(pkts, to) != nil {
		return WriteError
	}
	return good
}
