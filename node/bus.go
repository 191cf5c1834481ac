package node

import (
	"crypto/rand"
	"encoding/hex"
	"sync"

	"github.com/ginnel/ginnel/node/local/api"
)

// busBacklog is how many messages a watcher may be behind before it is dropped.
const busBacklog = 256

// bus hands notifications to watchers. A watcher that does not keep up is dropped,
// so that nothing ever waits for one.
type bus struct {
	mu       sync.Mutex
	watchers map[*Watcher]bool
}

// Watcher receives notifications.
type Watcher struct {
	// SessionID names this watch.
	SessionID string

	mask   api.NotifyMask
	bus    *bus
	ch     chan *api.Notify
	closed bool // guarded by bus.mu
}

func newBus() *bus { return &bus{watchers: map[*Watcher]bool{}} }

// C returns the channel of notifications, which is closed when the watcher was too
// slow or is closed. What it carries is shared: nobody may change it.
func (w *Watcher) C() <-chan *api.Notify { return w.ch }

// Close ends the watch.
func (w *Watcher) Close() { w.bus.remove(w) }

func (b *bus) add(mask api.NotifyMask) *Watcher {
	var id [16]byte
	rand.Read(id[:]) // never fails
	w := &Watcher{SessionID: hex.EncodeToString(id[:]), mask: mask, bus: b, ch: make(chan *api.Notify, busBacklog)}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.watchers[w] = true
	return w
}

func (b *bus) remove(w *Watcher) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop(w)
}

// drop closes a watcher. The caller holds the lock.
func (b *bus) drop(w *Watcher) {
	if !w.closed {
		w.closed = true
		delete(b.watchers, w)
		close(w.ch)
	}
}

// send gives n to the watchers that ask for any of the bits, or to all when need
// is zero.
func (b *bus) send(n *api.Notify, need api.NotifyMask) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for w := range b.watchers {
		if need != 0 && w.mask&need == 0 {
			continue
		}
		select {
		case w.ch <- n:
		default:
			b.drop(w)
		}
	}
}

// wants reports whether some watcher asks for any of the bits.
func (b *bus) wants(bits api.NotifyMask) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for w := range b.watchers {
		if w.mask&bits != 0 {
			return true
		}
	}
	return false
}

// closeAll ends all watches.
func (b *bus) closeAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for w := range b.watchers {
		b.drop(w)
	}
}
