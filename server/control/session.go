package control

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/control"
)

// session is one long poll of a node.
type session struct {
	cancel context.CancelFunc
	direct chan []byte // map responses for this stream alone, JSON
}

// sessions knows the long poll of each node. A new one takes the place of the
// one before, which ends.
type sessions struct {
	mu sync.Mutex
	m  map[control.NodeID]*session
}

func (t *sessions) init() { t.m = map[control.NodeID]*session{} }

func (t *sessions) begin(id control.NodeID, cancel context.CancelFunc) *session {
	s := &session{cancel: cancel, direct: make(chan []byte, 4)}
	t.mu.Lock()
	old := t.m[id]
	t.m[id] = s
	t.mu.Unlock()
	if old != nil {
		old.cancel()
	}
	return s
}

func (t *sessions) done(id control.NodeID, s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m[id] == s {
		delete(t.m, id)
	}
}

// end ends the long poll of a node, if there is one.
func (t *sessions) end(id control.NodeID) {
	t.mu.Lock()
	s := t.m[id]
	t.mu.Unlock()
	if s != nil {
		s.cancel()
	}
}

// send gives a map response to the stream of a node and reports whether there is
// a stream and it has room.
func (t *sessions) send(id control.NodeID, body []byte) bool {
	t.mu.Lock()
	s := t.m[id]
	t.mu.Unlock()
	if s == nil {
		return false
	}
	select {
	case s.direct <- body:
		return true
	default:
		return false
	}
}

func (t *sessions) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.m)
}

// closeTimeout bounds how long the end of the server waits for the disk.
const closeTimeout = 5 * time.Second

// presence tells the tailnet who is online. It counts long polls, since those of
// one node overlap when its network changes, and waits a while after the last
// one for the node to come back (wire document control, section 10.2).
type presence struct {
	tailnet *tailnet.Service
	grace   time.Duration
	log     *slog.Logger

	mu     sync.Mutex
	closed bool
	nodes  map[control.NodeID]*presenceState
}

type presenceState struct {
	polls  int
	ended  time.Time   // when the last poll ended
	timer  *time.Timer // until the node counts as offline
	online bool        // wanted
	told   bool        // what the tailnet was told last
	busy   bool        // somebody is telling it
}

func newPresence(t *tailnet.Service, grace time.Duration, log *slog.Logger) *presence {
	return &presence{tailnet: t, grace: grace, log: log, nodes: map[control.NodeID]*presenceState{}}
}

// connected notes that a long poll began.
func (p *presence) connected(id control.NodeID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := p.nodes[id]
	if st == nil {
		st = &presenceState{}
		p.nodes[id] = st
	}
	st.polls++
	if st.timer != nil {
		st.timer.Stop()
		st.timer = nil
	}
	st.online = true
	p.tellLocked(id, st)
}

// disconnected notes that a long poll ended.
func (p *presence) disconnected(id control.NodeID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := p.nodes[id]
	st.polls--
	if st.polls > 0 || p.closed {
		return
	}
	st.ended = time.Now()
	var timer *time.Timer
	timer = time.AfterFunc(p.grace, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if st.timer != timer || p.closed { // it came back
			return
		}
		st.timer = nil
		st.online = false
		p.tellLocked(id, st)
	})
	st.timer = timer
}

// tellLocked brings the tailnet to what is wanted. One goroutine per node does
// it at a time, so that changes cannot overtake each other.
func (p *presence) tellLocked(id control.NodeID, st *presenceState) {
	if st.busy || st.online == st.told {
		p.forgetLocked(id, st)
		return
	}
	st.busy = true
	go func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for st.online != st.told && !p.closed {
			online, ended := st.online, st.ended
			p.mu.Unlock()
			var err error
			if online {
				err = p.tailnet.SetOnline(context.Background(), id)
			} else {
				err = p.tailnet.SetOffline(context.Background(), id, ended)
			}
			p.mu.Lock()
			if err != nil && !errors.Is(err, tailnet.ErrNodeUnknown) && !errors.Is(err, tailnet.ErrClosed) {
				p.log.Error("presence of a node is not up to date", "node", id, "online", online, "err", err)
			}
			st.told = online
		}
		st.busy = false
		p.forgetLocked(id, st)
	}()
}

// forgetLocked drops the state of a node that is offline.
func (p *presence) forgetLocked(id control.NodeID, st *presenceState) {
	if st.polls == 0 && !st.online && !st.told && !st.busy && p.nodes[id] == st {
		delete(p.nodes, id)
	}
}

// close stops all telling, and stores when the nodes were last seen. They do not
// become offline by it.
func (p *presence) close() {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.closed = true
	now := time.Now()
	seen := make(map[control.NodeID]time.Time, len(p.nodes))
	for id, st := range p.nodes {
		if st.timer != nil {
			st.timer.Stop()
		}
		if seen[id] = st.ended; st.polls > 0 {
			seen[id] = now
		}
	}
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := p.tailnet.NoteSeen(ctx, seen); err != nil && !errors.Is(err, tailnet.ErrClosed) {
		p.log.Error("when nodes were last seen is not stored", "nodes", len(seen), "err", err)
	}
}
