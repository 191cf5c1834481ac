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
		kept := slices.Clone(pkt)
		time.AfterFunc(glareHold, func() {
			if p.initiated.Swap(0) != 0 { // ours went unanswered
				e.relayIn.put(&relayBatch{data: [][]byte{kept}, from: []*Source{src}})
			}
		})
		return false
	}
	return true
}
