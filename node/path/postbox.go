package path

import (
	"net/netip"
	"sync"

	"github.com/ginnel/ginnel/wire/disco"
)

// Short names for what the loop handles.
type (
	addrPort = netip.AddrPort
	addr     = netip.Addr
	txID     = disco.TxID
)

// postbox is an unbounded queue of functions whose writers never wait.
type postbox struct {
	ready chan struct{} // has an element when the queue is not empty

	mu    sync.Mutex
	queue []func()
}

func (b *postbox) init() { b.ready = make(chan struct{}, 1) }

// add appends f.
func (b *postbox) add(f func()) {
	b.mu.Lock()
	b.queue = append(b.queue, f)
	b.mu.Unlock()
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

// take removes and returns all functions.
func (b *postbox) take() []func() {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := b.queue
	b.queue = nil
	return q
}

// notifier runs callbacks one at a time, in order, on its own goroutine.
type notifier struct {
	postbox
	stop chan struct{}
	once sync.Once
}

func (n *notifier) init() {
	n.postbox.init()
	n.stop = make(chan struct{})
}

// run calls what is added until close.
func (n *notifier) run() {
	for {
		select {
		case <-n.stop:
			return
		case <-n.ready:
			for _, f := range n.take() {
				f()
			}
		}
	}
}

// close stops the notifier; a callback that runs now goes on.
func (n *notifier) close() { n.once.Do(func() { close(n.stop) }) }
