package path

import (
	"slices"
	"time"
)

// Two nodes that begin to talk at the same moment both send a handshake initiation. To
// WireGuard each one that arrives ends the handshake begun by itself: none completes, and
// if data flows both ways the next attempts, five seconds later, may cross again, and so
// on. So one side, the one with the greater key, keeps the other's initiation back while
// its own is on its way; it is handed in if no response comes.
const (
	// glareWindow is how long after an initiation of our own one of the peer counts as
	// crossing it.
	glareWindow = time.Second
	// glareHold is for how long the peer's is kept back.
	glareHold = 400 * time.Millisecond
)

// initiating notes that a handshake with p begins.
func (p *peer) initiating(now time.Time) { p.initiated.Store(now.UnixNano()) }

// crossed reports whether an initiation of p is to be kept back.
func (p *peer) crossed(now int64) bool {
	at := p.initiated.Load()
	return at != 0 && p.yields.Load() && now-at < int64(glareWindow)
}

// filterHandshake looks at a packet of a known peer. It reports false for one that is
// kept back.
func (e *Engine) filterHandshake(pkt []byte, src *Source, now int64) bool {
	p := src.peer
	switch {
	case isResponse(pkt):
		p.initiated.Store(0)
	case isInitiation(pkt) && p.crossed(now):
		// The last one stands for all: anybody can send what looks like one.
		if p.crossing.Swap(&crossing{slices.Clone(pkt), src}) == nil {
			time.AfterFunc(glareHold, func() { e.endGlare(p) })
		}
		return false
	}
	return true
}

// crossing is an initiation that is kept back.
type crossing struct {
	data []byte
	from *Source
}

// endGlare hands in what was kept back of p if the handshake of our own went unanswered.
func (e *Engine) endGlare(p *peer) {
	kept := p.crossing.Swap(nil)
	if p.initiated.Swap(0) != 0 {
		e.relayIn.put(&relayBatch{data: [][]byte{kept.data}, from: []*Source{kept.from}})
	}
}
