package maps

import (
	"context"
	"time"

	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/control"
)

// Options are what a map request asks for.
type Options struct {
	Compress  bool // zstd
	OmitPeers bool
}

// Stream is the frames for one viewer: First once, then Next whenever Ready
// fires. It is for one goroutine, Close excepted.
type Stream struct {
	hub   *Hub
	id    control.NodeID
	opts  Options
	ready chan struct{}
	first *tailnet.Snapshot // until First

	// Owned by the goroutine that calls Next.
	class Class

	// Guarded by hub.mu.
	cursor uint64 // the stream has been told of log entries below it
	closed bool
}

// Open starts a stream for the node with that ID. The stream holds every change
// made after Open was called.
func (h *Hub) Open(id control.NodeID, o Options) (*Stream, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, ErrClosed
	}
	n := h.latest.Node(id)
	if n == nil {
		return nil, ErrNoNode
	}
	s := &Stream{
		hub:    h,
		id:     id,
		opts:   o,
		ready:  make(chan struct{}, 1),
		first:  h.latest,
		class:  h.cfg.Visibility.Class(n),
		cursor: h.base + uint64(len(h.log)),
	}
	h.streams[s] = struct{}{}
	return s, nil
}

// Close ends the stream. It may be called more than once.
func (s *Stream) Close() {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	delete(h.streams, s)
	if s.cursor < h.head {
		h.caughtUpLocked()
	}
	s.wake()
}

// caughtUpLocked notes that one stream fewer is behind.
func (h *Hub) caughtUpLocked() {
	h.behind--
	if h.behind == h.release {
		h.delivery = time.Since(h.told)
		h.poke()
	}
}

func (s *Stream) wake() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// Ready receives a value when Next has something to say.
func (s *Stream) Ready() <-chan struct{} { return s.ready }

// First returns the full first frame, ready to be written.
func (s *Stream) First(ctx context.Context) ([]byte, error) {
	snap := s.first
	s.first = nil
	n := snap.Node(s.id)
	if n == nil {
		return nil, ErrNoNode
	}
	return s.hub.full(ctx, snap, n, s.opts, nil)
}

// Next returns a frame with everything that has changed since the frame before,
// ready to be written, or nil when nothing of that concerns the viewer. The
// bytes are shared and must not be changed. An error ends the stream.
func (s *Stream) Next(ctx context.Context) ([]byte, error) {
	d, err := s.take()
	if d == nil || err != nil {
		return nil, err
	}
	d.prepare.Do(d.merge)
	t := d.touched(s.id)
	if s.opts.OmitPeers || t != nil {
		return d.own(ctx, s, t)
	}
	if d.shared.body == nil {
		return nil, nil
	}
	return d.shared.frame(s.hub, s.opts.Compress), nil
}

// take moves the cursor to the head and returns what lay between, or nil.
func (s *Stream) take() (*delta, error) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed || s.closed:
		return nil, ErrClosed
	case s.cursor < h.base:
		h.stats.lost.Add(1)
		return nil, ErrBehind
	case s.cursor >= h.head:
		return nil, nil
	}
	key := deltaKey{from: s.cursor, class: s.class}
	d := h.deltas[key]
	if d == nil {
		d = &delta{hub: h, class: s.class, snap: h.headSnap, entries: h.log[s.cursor-h.base : h.head-h.base]}
		h.deltas[key] = d
	}
	s.cursor = h.head
	h.caughtUpLocked()
	return d, nil
}
