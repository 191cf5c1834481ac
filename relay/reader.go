package relay

import (
	"fmt"
	"io"
	"sync"

	wire "github.com/ginnel/ginnel/wire/relay"
)

// Read buffer sizes in bytes: what an idle connection keeps, two TLS records while
// there is traffic, and one that holds the longest frame.
const (
	idleBufferLen = 512
	readBufferLen = 32 << 10
	bigBufferLen  = wire.HeaderLen + wire.MaxForwardPacket + 4<<10
)

var (
	readBuffers = sync.Pool{New: func() any { b := make([]byte, readBufferLen); return &b }}
	bigBuffers  = sync.Pool{New: func() any { b := make([]byte, bigBufferLen); return &b }}
)

// inbox is the unread input of one connection: buf[r:w]. Its buffer is small while
// nothing comes.
type inbox struct {
	buf    []byte
	r, w   int
	idle   []byte
	pooled *[]byte
	pool   *sync.Pool
	skip   int64 // bytes of an unknown frame still to come and be thrown away
}

// grow moves the unread bytes into a pooled buffer of at least n bytes.
func (in *inbox) grow(n int) {
	pool := &readBuffers
	if n > readBufferLen {
		pool = &bigBuffers
	}
	b := pool.Get().(*[]byte)
	w := copy(*b, in.buf[in.r:in.w])
	in.release()
	in.buf, in.r, in.w, in.pooled, in.pool = *b, 0, w, b, pool
}

// release gives the pooled buffer back; unread bytes are lost.
func (in *inbox) release() {
	if in.pooled != nil {
		in.pool.Put(in.pooled)
		in.pooled, in.pool = nil, nil
	}
	in.buf, in.r, in.w = in.idle, 0, 0
}

// fill makes room and reads once. need is the length of the frame being gathered,
// or 0 when there is none.
func (in *inbox) fill(src io.Reader, need int) error {
	wasFull := in.w == len(in.buf)
	switch {
	case in.r == in.w && in.pooled != nil:
		in.release()
	case in.r == in.w && wasFull, need > len(in.buf), in.r < in.w && in.pooled == nil:
		in.grow(max(need, idleBufferLen+1))
	case in.r > 0:
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}
	if in.r == in.w {
		in.r, in.w = 0, 0
	}
	n, err := src.Read(in.buf[in.w:])
	in.w += n
	if n > 0 {
		return nil
	}
	return err
}

// readLoop takes frames until the connection fails or breaks the protocol.
func (c *client) readLoop(early []byte) error {
	in := &inbox{idle: make([]byte, max(idleBufferLen, len(early)))}
	in.buf = in.idle
	in.w = copy(in.buf, early)
	defer in.release()
	for {
		waiting := in.w - in.r
		need, err := c.takeFrames(in)
		c.endBatch()
		if !c.mesh {
			c.throttle.wait(&c.s.rateLimit, waiting-(in.w-in.r), c.s)
		}
		if err != nil {
			return err
		}
		if err := in.fill(c.nc, need); err != nil {
			return err
		}
	}
}

// takeFrames acts on all whole frames in the inbox. It returns the length of the
// frame that is there in part, or 0.
func (c *client) takeFrames(in *inbox) (need int, err error) {
	if in.r < in.w && c.dup.Load() {
		c.s.spoke(c)
	}
	for {
		if in.skip > 0 {
			n := min(in.skip, int64(in.w-in.r))
			in.r += int(n)
			in.skip -= n
		}
		b := in.buf[in.r:in.w]
		typ, n, ok := wire.ParseHeader(b)
		if !ok {
			return 0, nil
		}
		if err := checkLength(typ, n); err != nil {
			return 0, err
		}
		if !known(typ) {
			in.r += wire.HeaderLen
			in.skip = int64(n)
			c.s.stats.unknownFrames.Add(1)
			continue
		}
		need = wire.HeaderLen + int(n)
		if len(b) < need {
			return need, nil
		}
		if typ == wire.FrameSendPacket {
			in.r += c.takeRun(b, need)
			continue
		}
		in.r += need
		if err := c.takeFrame(typ, b[wire.HeaderLen:need]); err != nil {
			return 0, err
		}
	}
}

// known reports whether a relay acts on frames of type t.
func known(t wire.FrameType) bool {
	switch t {
	case wire.FrameSendPacket, wire.FrameForwardPacket, wire.FrameNotePreferred,
		wire.FrameWatchConns, wire.FrameClosePeer, wire.FramePing:
		return true
	}
	return false
}

// checkLength refuses the lengths that end a connection: wire document relay,
// sections 4 and 6. It is asked before the payload is waited for.
func checkLength(t wire.FrameType, n uint32) error {
	lo, hi := uint32(0), uint32(wire.MaxUnknownFrame)
	switch t {
	case wire.FrameSendPacket:
		lo, hi = wire.KeyLen, wire.MaxSendPacket
	case wire.FrameForwardPacket:
		lo, hi = 2*wire.KeyLen, wire.MaxForwardPacket
	case wire.FrameNotePreferred:
		lo, hi = 1, 1
	case wire.FrameWatchConns:
		hi = 0
	case wire.FrameClosePeer:
		lo, hi = wire.KeyLen, wire.KeyLen
	case wire.FramePing:
		lo, hi = wire.MinPing, wire.MaxPing
	}
	if n < lo || n > hi {
		return fmt.Errorf("frame %v with a payload of %d bytes, allowed are %d to %d", t, n, lo, hi)
	}
	return nil
}

// takeFrame acts on a frame other than SendPacket. An error ends the connection.
func (c *client) takeFrame(t wire.FrameType, payload []byte) error {
	switch t {
	case wire.FrameNotePreferred:
		home, err := wire.ParseNotePreferred(payload)
		if err != nil {
			return err
		}
		c.notePreferred(home)
		return nil
	case wire.FramePing:
		data, err := wire.ParsePing(payload)
		if err != nil {
			return err
		}
		c.s.stats.gotPing.Add(1)
		var pong [wire.HeaderLen + wire.PingLen]byte
		if c.out.AddPong(wire.AppendPong(pong[:0], data)) {
			c.s.stats.sentPong.Add(1)
		}
		return nil
	}
	if !c.mesh {
		return fmt.Errorf("frame %v from a client without the mesh key", t)
	}
	switch t {
	case wire.FrameForwardPacket:
		return c.takeForward(payload)
	case wire.FrameWatchConns:
		c.s.watch(c)
	case wire.FrameClosePeer:
		k, err := wire.ParseClosePeer(payload)
		if err != nil {
			return err
		}
		c.s.closePeer(k)
	}
	return nil
}
