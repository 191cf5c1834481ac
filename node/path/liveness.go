package path

import "sync"

// liveness counts what connects the node to anybody.
type liveness struct {
	e *Engine

	mu     sync.Mutex
	relays int // open connections
	direct int // peers with a direct path
}

// relay notes that a relay connection was opened or has ended.
func (l *liveness) relay(up bool) {
	if up {
		l.add(1, 0)
	} else {
		l.add(-1, 0)
	}
}

// path notes whether a peer had and has a direct path.
func (l *liveness) path(had, has bool) {
	switch {
	case has && !had:
		l.add(0, 1)
	case had && !has:
		l.add(0, -1)
	}
}

func (l *liveness) add(relays, direct int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.alive()
	l.relays += relays
	l.direct += direct
	if now := l.alive(); now != before && l.e.opts.OnConnected != nil {
		l.e.notify.add(func() { l.e.opts.OnConnected(now) })
	}
}

// alive is called with the lock held.
func (l *liveness) alive() bool { return l.relays > 0 || l.direct > 0 }

// Connected reports whether a relay connection is open, or a direct path to some peer
// was found that has not been seen to fail.
func (e *Engine) Connected() bool {
	e.live.mu.Lock()
	defer e.live.mu.Unlock()
	return e.live.alive()
}
