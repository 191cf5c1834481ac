package node

import (
	"crypto/rand"
	"encoding/hex"
	"reflect"
	"sync"
	"time"

	"github.com/ginnel/ginnel/node/local/api"
)

// busBacklog is how many messages a watcher may be behind before it is dropped.
const busBacklog = 256

// mergeEvery is how often a watcher with api.NotifyRateLimit is told of what changes all
// the time (wire document cli, section 5.3).
const mergeEvery = 3 * time.Second

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

	mask api.NotifyMask
	bus  *bus
	ch   chan *api.Notify

	// Guarded by bus.mu.
	closed bool
	merged *api.Notify // held back by the rate limit, or nil
	timer  *time.Timer // sends merged, nil while there is none
	nextAt time.Time   // when the next such message may be sent
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
		if w.timer != nil {
			w.timer.Stop()
		}
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
		if w.mask.Has(api.NotifyRateLimit) {
			b.sendMerged(w, n)
		} else {
			b.put(w, n)
		}
	}
}

// put gives n to a watcher. The caller holds the lock.
func (b *bus) put(w *Watcher, n *api.Notify) {
	select {
	case w.ch <- n:
	default:
		b.drop(w)
	}
}

// sendMerged gives n to a watcher with the rate limit: at once if it says something that
// happens rarely, and otherwise together with what else comes until the next message is
// due. The caller holds the lock.
func (b *bus) sendMerged(w *Watcher, n *api.Notify) {
	n = merge(w.merged, n)
	now := time.Now()
	if wait := w.nextAt.Sub(now); isRoutine(n) && wait > 0 {
		w.merged = n
		if w.timer == nil {
			w.timer = time.AfterFunc(wait, func() { b.release(w) })
		}
		return
	}
	w.merged, w.nextAt = nil, now.Add(mergeEvery)
	b.put(w, n)
}

// release sends what the rate limit has held back.
func (b *bus) release(w *Watcher) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w.timer = nil
	if n := w.merged; n != nil && !w.closed {
		w.merged, w.nextAt = nil, time.Now().Add(mergeEvery)
		b.put(w, n)
	}
}

// isRoutine reports whether n holds only the state of what changes all the time, of which
// the latest is enough.
func isRoutine(n *api.Notify) bool {
	rest := *n
	rest.Version, rest.Engine, rest.NetMap, rest.SelfChange, rest.Health = "", nil, nil, nil, nil
	return reflect.ValueOf(rest).IsZero()
}

// merge returns n with what only older, which may be nil and is routine, has.
func merge(older, n *api.Notify) *api.Notify {
	if older == nil {
		return n
	}
	out := *n // n is shared with other watchers
	if out.Engine == nil {
		out.Engine = older.Engine
	}
	if out.NetMap == nil {
		out.NetMap = older.NetMap
	}
	if out.SelfChange == nil {
		out.SelfChange = older.SelfChange
	}
	if out.Health == nil {
		out.Health = older.Health
	}
	return &out
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
