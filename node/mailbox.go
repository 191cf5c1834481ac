package node

import "sync"

// mailbox is an unbounded queue of work for the loop. Posting never blocks, so
// that parts may report from wherever they are.
type mailbox struct {
	mu     sync.Mutex
	queue  []func()
	signal chan struct{} // readable when the queue is not empty
}

func newMailbox() *mailbox { return &mailbox{signal: make(chan struct{}, 1)} }

func (m *mailbox) post(f func()) {
	m.mu.Lock()
	m.queue = append(m.queue, f)
	m.mu.Unlock()
	select {
	case m.signal <- struct{}{}:
	default:
	}
}

// take empties the queue.
func (m *mailbox) take() []func() {
	m.mu.Lock()
	defer m.mu.Unlock()
	queue := m.queue
	m.queue = nil
	return queue
}
