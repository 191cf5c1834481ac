package path

import (
	"slices"
	"sync"
	"time"

	"github.com/ginnel/ginnel/wire/key"
)

// Handshakes may begin too early on either side, and WireGuard repeats them only after
// five seconds. One of our own is held until it is known where the peer is. And a peer
// often hears of us before we hear of it, and starts a handshake that comes through the
// relay from a key that we do not know yet: it is kept until the peer is configured.
const (
	maxEarly = 64
	earlyAge = 5 * time.Second
)

// earlyReplays is when after the peer was added its handshake is handed in. There is more
// than one since the tunnel is configured by somebody else at about the same time; it
// ignores copies.
var earlyReplays = []time.Duration{20 * time.Millisecond, 200 * time.Millisecond}

// early holds the last handshake initiation of each of some unknown peers.
type early struct {
	mu   sync.Mutex
	kept []earlyPacket // oldest first
}

type earlyPacket struct {
	peer key.NodePublic
	link *link
	at   time.Time
	data []byte
}

// keep remembers a packet if it is a handshake initiation.
func (e *early) keep(peer key.NodePublic, l *link, data []byte) {
	if !isInitiation(data) {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.kept = slices.DeleteFunc(e.kept, func(p earlyPacket) bool { return p.peer == peer })
	if len(e.kept) >= maxEarly {
		e.kept = slices.Delete(e.kept, 0, 1)
	}
	e.kept = append(e.kept, earlyPacket{peer, l, time.Now(), slices.Clone(data)})
}

// take removes and returns what is remembered of a peer, unless it is too old.
func (e *early) take(peer key.NodePublic) (earlyPacket, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	i := slices.IndexFunc(e.kept, func(p earlyPacket) bool { return p.peer == peer })
	if i < 0 {
		return earlyPacket{}, false
	}
	p := e.kept[i]
	e.kept = slices.Delete(e.kept, i, i+1)
	return p, time.Since(p.at) <= earlyAge
}

// held is a handshake initiation for which there was no way yet.
type held struct {
	data []byte
	at   time.Time
}

// hold keeps a handshake initiation until there is a way to the peer.
func (p *peer) hold(now time.Time, pkts [][]byte) {
	if len(pkts) == 1 && isInitiation(pkts[0]) {
		p.held.Store(&held{slices.Clone(pkts[0]), now})
	}
}

// sendHeld sends what waited for a way to p, unless it is too old.
func (e *Engine) sendHeld(p *peer) {
	if h := p.held.Swap(nil); h != nil && time.Since(h.at) <= earlyAge {
		_ = e.Send(p.key, [][]byte{h.data}) // a failure holds it again
	}
}

// replayEarly hands in the handshake that came before p was known.
func (e *Engine) replayEarly(p *peer) {
	packet, ok := e.early.take(p.key)
	if !ok {
		return
	}
	p.learned.Store(packet.link)
	for _, after := range earlyReplays {
		time.AfterFunc(after, func() {
			e.relayIn.put(&relayBatch{data: [][]byte{packet.data}, from: []*Source{packet.link.source(p)}})
		})
	}
}
