package outbox

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/ginnel/ginnel/wire/relay"
)

// Segment sizes in bytes: the usual one, two TLS records, and one that holds the
// longest frame.
const (
	segmentLen    = 32 << 10
	bigSegmentLen = relay.HeaderLen + relay.MaxForwardPacket
)

// segment is a run of whole frames: buf[start:].
type segment struct {
	buf    []byte
	start  int
	frames int
	made   time.Time // when its first frame came
}

var (
	segments    = sync.Pool{New: func() any { return &segment{buf: make([]byte, 0, segmentLen)} }}
	bigSegments = sync.Pool{New: func() any { return &segment{buf: make([]byte, 0, bigSegmentLen)} }}
)

// newSegment returns an empty segment with room for n bytes, and counts it in used.
func newSegment(n int, used *atomic.Int64) *segment {
	var s *segment
	switch {
	case n <= segmentLen:
		s = segments.Get().(*segment)
	case n <= bigSegmentLen:
		s = bigSegments.Get().(*segment)
	default:
		s = &segment{buf: make([]byte, 0, n)}
	}
	s.made = time.Now()
	used.Add(int64(cap(s.buf)))
	return s
}

// release returns the segment to its pool.
func (s *segment) release(used *atomic.Int64) {
	used.Add(-int64(cap(s.buf)))
	s.buf, s.start, s.frames = s.buf[:0], 0, 0
	switch cap(s.buf) {
	case segmentLen:
		segments.Put(s)
	case bigSegmentLen:
		bigSegments.Put(s)
	}
}

// ring is a FIFO of frames.
type ring struct {
	segs  []*segment // oldest first; none is without frames
	count Count
	used  *atomic.Int64 // see Limits
}

// push appends n whole frames, the bytes of which are in two parts.
func (r *ring) push(head, body []byte, n int) {
	size := len(head) + len(body)
	var tail *segment
	if len(r.segs) > 0 {
		tail = r.segs[len(r.segs)-1]
	}
	if tail == nil || cap(tail.buf)-len(tail.buf) < size {
		tail = newSegment(size, r.used)
		r.segs = append(r.segs, tail)
	}
	tail.buf = append(append(tail.buf, head...), body...)
	tail.frames += n
	r.count.add(Count{n, size})
}

// pop takes out the oldest segment; there must be one.
func (r *ring) pop() *segment {
	seg := r.segs[0]
	n := copy(r.segs, r.segs[1:]) // few: the limits allow some dozens
	r.segs[n] = nil
	r.segs = r.segs[:n]
	r.count.add(Count{-seg.frames, -(len(seg.buf) - seg.start)})
	return seg
}

// evict drops the oldest frames until no more than so many bytes and frames are
// left.
func (r *ring) evict(maxBytes, maxFrames int) (dropped Count) {
	for r.count.Frames > 0 && (r.count.Bytes > maxBytes || r.count.Frames > maxFrames) {
		dropped.add(r.dropOldest())
	}
	return dropped
}

// expire drops frames that came before oldest, but leaves so many bytes.
func (r *ring) expire(oldest time.Time, leave int) (dropped Count) {
	for r.count.Bytes > leave && r.segs[0].made.Before(oldest) {
		dropped.add(r.dropOldest())
	}
	return dropped
}

// dropOldest drops one frame; there must be one.
func (r *ring) dropOldest() Count {
	seg := r.segs[0]
	_, n, _ := relay.ParseHeader(seg.buf[seg.start:])
	size := relay.HeaderLen + int(n)
	seg.start += size
	seg.frames--
	r.count.add(Count{-1, -size})
	if seg.frames == 0 {
		r.pop().release(r.used)
	}
	return Count{1, size}
}

// clear drops everything.
func (r *ring) clear() Count {
	was := r.count
	for _, seg := range r.segs {
		seg.release(r.used)
	}
	r.segs, r.count = nil, Count{}
	return was
}
