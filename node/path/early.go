package path

import (
	"slices"
	"sync"
	"time"

	"github.com/ginnel/ginnel/wire/key"
)

// A peer often hears of us before we hear of it, and starts a handshake that comes
// through the relay from a key that we do not know yet. WireGuard repeats it only after
// five seconds, so it is kept until the peer is configured.
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
