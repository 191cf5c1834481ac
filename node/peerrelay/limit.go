package peerrelay

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"time"
)

// rate allows events at an even pace with bursts. It is the generic cell rate algorithm:
// one time stamp, moved forward by each event, and no lock.
type rate struct {
	next atomic.Int64 // when the bucket is full again, in nanoseconds
}

// pace is how fast a rate goes: events are gap apart in the long run, and burst of them
// may come at once.
type pace struct {
	gap   time.Duration
	burst int64
}

// take reports whether an event may happen at time now, and if so counts it.
func (r *rate) take(now int64, p pace) bool {
	for {
		old := r.next.Load()
		next := max(old, now) + int64(p.gap)
		if next-now > p.burst*int64(p.gap) {
			return false
		}
		if r.next.CompareAndSwap(old, next) {
			return true
		}
	}
}

// The paces of handshake work, that is, of opening sealed messages of about 2 µs each. A
// handshake takes two. A whole IPv4 NAT of clients shares the pace of its address.
var (
	sourcePace  = pace{gap: time.Second / 100, burst: 256}
	sessionPace = pace{gap: time.Second / 50, burst: 64}
	totalPace   = pace{gap: time.Second / 20_000, burst: 4096}
)

// sourceLimit rations by source address: an IPv4 address or an IPv6 /64. Sources share
// buckets at random, so that memory is bounded whoever sends.
type sourceLimit struct {
	seed    maphash.Seed
	buckets [4096]rate
}

// take reports whether the source may have one more event.
func (l *sourceLimit) take(now int64, src netip.Addr) bool {
	b := src.As16()
	part := b[:]
	if src.Is6() {
		part = b[:8]
	}
	h := maphash.Bytes(l.seed, part)
	return l.buckets[h%uint64(len(l.buckets))].take(now, sourcePace)
}
