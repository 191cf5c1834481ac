package relay

import (
	"bytes"
	"time"

	"golang.org/x/time/rate"

	"github.com/ginnel/ginnel/relay/internal/outbox"
	"github.com/ginnel/ginnel/wire/key"
	wire "github.com/ginnel/ginnel/wire/relay"
)

// cacheLen is how many destinations a reader remembers, a power of two.
const cacheLen = 16

// cached is one destination that a reader remembers.
type cached struct {
	key  key.NodePublic
	peer *peer
}

// kick is a writer that a reader must get going at the end of its batch.
type kick struct {
	c *client
	k outbox.Kick
}

// pair is a source behind another relay and a client here.
type pair struct {
	src key.NodePublic
	dst *client
}

// Bounds of what a reader remembers, and of its notices: wire document relay,
// section 7.3.
const (
	maxPairs     = 1 << 14
	notHereEvery = time.Second
	notHereBurst = 3
)

// takeRun passes on the SendPacket frame of size bytes at the start of b together
// with the whole ones right behind it that are like it: the same destination and
// class. It returns their length. The frames are rewritten in place: a RecvPacket
// has the same shape as the SendPacket that it comes from.
func (c *client) takeRun(b []byte, size int) int {
	const keyEnd = wire.HeaderLen + wire.KeyLen
	dstRaw := b[wire.HeaderLen:keyEnd]
	class := classOf(b[keyEnd:size])
	end, n := size, 1
	for n < c.s.limits.Frames(class) {
		next := b[end:]
		typ, length, ok := wire.ParseHeader(next)
		total := wire.HeaderLen + int(length)
		if !ok || typ != wire.FrameSendPacket || length < wire.KeyLen || length > wire.MaxSendPacket ||
			len(next) < total || end+total > maxRun ||
			!bytes.Equal(next[wire.HeaderLen:keyEnd], dstRaw) || classOf(next[keyEnd:total]) != class {
			break
		}
		end += total
		n++
	}
	c.read.add(class, n, end-n*packetOverhead)
	dst := key.NodePublicFromRaw32([wire.KeyLen]byte(dstRaw))
	c.route(dst, class, b[:end], n)
	return end
}

// maxRun is the most bytes that one run has, unless it is a single frame.
const maxRun = 30 << 10

// classOf tells path discovery from data.
func classOf(data []byte) outbox.Class {
	if wire.LooksLikeDisco(data) {
		return outbox.Disco
	}
	return outbox.Data
}

// lookup returns the peer of dst, or nil.
func (c *client) lookup(dst key.NodePublic) *peer {
	if c.cache == nil {
		c.cache = new([cacheLen]cached)
	}
	raw := dst.Raw32()
	slot := &c.cache[raw[0]%cacheLen]
	if slot.peer != nil && slot.key == dst && (slot.peer.active.Load() != nil || slot.peer.route.Load() != nil) {
		return slot.peer
	}
	p := c.s.table.get(dst)
	*slot = cached{dst, p}
	return p
}

// route passes a run of n SendPacket frames to the client that is there for dst, or
// to the relay that is nearer to it.
func (c *client) route(dst key.NodePublic, class outbox.Class, run []byte, n int) {
	p := c.lookup(dst)
	if p != nil {
		if d := p.active.Load(); d != nil {
			c.noteSent(d)
			c.deliver(d, c.key, class, run, n)
			return
		}
		if r := p.route.Load(); r != nil {
			c.s.stats.forwardedOut.Add(int64(n))
			eachPacket(run, func(data []byte) { r.via.ForwardPacket(c.key, dst, data) })
			return
		}
	}
	c.s.stats.drop(dropUnknown, class, n, len(run)-n*packetOverhead)
	if class == outbox.Disco {
		c.tellNotHere(dst)
	}
}

// eachPacket calls f with the data of each frame of a run.
func eachPacket(run []byte, f func(data []byte)) {
	for len(run) > 0 {
		_, length, _ := wire.ParseHeader(run)
		end := wire.HeaderLen + int(length)
		f(run[packetOverhead:end])
		run = run[end:]
	}
}

// deliver queues a run for d as coming from src. It makes RecvPacket frames of the
// frames in place.
func (c *client) deliver(d *client, src key.NodePublic, class outbox.Class, run []byte, n int) {
	raw := src.Raw32()
	for at := 0; at < len(run); {
		_, length, _ := wire.ParseHeader(run[at:])
		run[at] = byte(wire.FrameRecvPacket)
		copy(run[at+wire.HeaderLen:], raw[:])
		at += wire.HeaderLen + int(length)
	}
	dropped, k, ok := d.out.Add(class, run, n)
	if !ok {
		c.s.stats.drop(dropGone, class, n, len(run)-n*packetOverhead)
		return
	}
	if dropped.Frames > 0 {
		c.s.stats.drop(dropHead, class, dropped.Frames, dropped.Bytes-dropped.Frames*packetOverhead)
	}
	if k != 0 {
		c.kicks = append(c.kicks, kick{d, k})
	}
}

// endBatch gets going the writers that have something now, and counts.
func (c *client) endBatch() {
	for i, k := range c.kicks {
		k.c.out.Kick(k.k)
		c.kicks[i] = kick{}
	}
	c.kicks = c.kicks[:0]
	c.read.flush(&c.s.stats)
}

// noteSent remembers that d must be told when c leaves.
func (c *client) noteSent(d *client) {
	if d == c.lastDst {
		return
	}
	c.lastDst = d
	if _, ok := c.sentTo[d]; ok {
		return
	}
	if c.sentTo == nil {
		c.sentTo = make(map[*client]struct{})
	}
	if n := len(c.sentTo); n >= sweepAt && n&(n-1) == 0 {
		sweepGone(c.sentTo)
	}
	c.sentTo[d] = struct{}{}
}

// tellNotHere tells c, not too often, that nobody is reached by dst.
func (c *client) tellNotHere(dst key.NodePublic) {
	if c.notHere == nil {
		c.notHere = rate.NewLimiter(rate.Every(notHereEvery), notHereBurst)
	}
	if !c.notHere.Allow() {
		return
	}
	if c.out.AddControl(func(b []byte) []byte { return wire.AppendPeerGone(b, dst, wire.GoneNotHere) }) {
		c.s.stats.goneNotHere.Add(1)
	}
}

// takeForward passes on a packet that another relay of the region forwarded here. It
// goes to a client of this relay or nowhere.
func (c *client) takeForward(payload []byte) error {
	src, dst, data, err := wire.ParseForwardPacket(payload)
	if err != nil {
		return err
	}
	class := classOf(data)
	c.s.stats.forwardedIn.Add(1)
	var d *client
	if p := c.lookup(dst); p != nil {
		d = p.active.Load()
	}
	if d == nil {
		c.s.stats.drop(dropUnknownForward, class, 1, len(data))
		if class == outbox.Disco {
			c.tellNotHere(dst)
		}
		return nil
	}
	c.noteForwarded(src, d)
	// The second key and the data, with a header in front, are what goes out; the
	// first key makes the room.
	frame := payload[wire.KeyLen-wire.HeaderLen:]
	wire.PutHeader(frame, wire.FrameRecvPacket, wire.KeyLen+len(data))
	c.deliver(d, src, class, frame, 1)
	return nil
}

// noteForwarded remembers that d must be told when src, a client of another relay,
// leaves the region.
func (c *client) noteForwarded(src key.NodePublic, d *client) {
	if e := c.s.leaves.Load(); e != c.pairsEpoch {
		c.pairs, c.pairsEpoch = nil, e // who left must be noted again
	}
	at := pair{src, d}
	if _, ok := c.pairs[at]; ok {
		return
	}
	if c.pairs == nil || len(c.pairs) >= maxPairs {
		c.pairs = make(map[pair]struct{})
	}
	c.pairs[at] = struct{}{}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if p := c.s.table.get(src); p != nil {
		p.addInterest(d)
	}
}

// notePreferred takes a client's word on whether this relay is its home.
func (c *client) notePreferred(home bool) {
	if home == c.preferred {
		return
	}
	c.preferred = home
	moved := time.Since(c.since) > settleTime
	if home {
		c.s.stats.homeConns.Add(1)
	} else {
		c.s.stats.homeConns.Add(-1)
	}
	if moved && home {
		c.s.stats.homeMovesIn.Add(1)
	} else if moved {
		c.s.stats.homeMovesOut.Add(1)
	}
}

// settleTime is how long after connecting a change of home counts as a move.
const settleTime = 5 * time.Second
