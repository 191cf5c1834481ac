package control

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/ginnel/ginnel/internal/jitter"
	"github.com/ginnel/ginnel/server/maps"
	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/control"
)

const (
	// maxBulk is how many full maps are made or written at a time.
	maxBulk = 64
	// bulkHold bounds how long a slow reader of a full map keeps others waiting.
	bulkHold = 10 * time.Second
	// writeChunk is what must leave within Config.WriteTimeout.
	writeChunk = 64 << 10
)

// acquireBulk waits for the right to make and write a full map. It returns false
// when ctx ends first.
func (s *Server) acquireBulk(ctx context.Context) (release func(), ok bool) {
	select {
	case s.bulk <- struct{}{}:
	case <-ctx.Done():
		return nil, false
	}
	t := time.AfterFunc(bulkHold, func() { <-s.bulk })
	return func() {
		if t.Stop() {
			<-s.bulk
		}
	}, true
}

// serveStream answers a long poll: a full map, then deltas and keepalives until
// either side ends it, the node is gone, or another poll of it takes over.
func (s *Server) serveStream(w http.ResponseWriter, r *http.Request, node *tailnet.Node, req *control.MapRequest, opts maps.Options) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	stream, err := s.cfg.Maps.Open(node.ID, opts)
	if err != nil {
		if errors.Is(err, maps.ErrNoNode) {
			s.refuse(w, "map", http.StatusNotFound, "node not found")
		} else {
			s.refuse(w, "map", http.StatusServiceUnavailable, "the server is shutting down")
		}
		return
	}
	defer stream.Close()
	session := s.sessions.begin(node.ID, cancel)
	defer s.sessions.done(node.ID, session)
	s.presence.connected(node.ID)
	defer s.presence.disconnected(node.ID)

	s.metrics.request("map", http.StatusOK)
	w.Header().Set("Content-Type", "application/octet-stream")
	fw := s.newFrameWriter(w)
	defer fw.close()
	if err := s.writeFirst(ctx, fw, stream); err != nil {
		s.streamEnded(node, err)
		return
	}
	s.streamEnded(node, s.follow(ctx, fw, stream, session, req))
}

// writeFirst writes the full map that starts a stream.
func (s *Server) writeFirst(ctx context.Context, fw *frameWriter, stream *maps.Stream) error {
	release, ok := s.acquireBulk(ctx)
	if !ok {
		return ctx.Err()
	}
	defer release()
	frame, err := stream.First(ctx)
	if err != nil {
		return err
	}
	return fw.write(frame)
}

// serveUnknown answers the long poll of a key that no node of the machine has, for
// example of a node that was deleted. A refusal would leave the node as it is,
// polling for ever with a map that is no longer true. The stream stays open, since
// the node would poll again at once, until the key is that of a node.
func (s *Server) serveUnknown(w http.ResponseWriter, r *http.Request, conn *nodeConn, req *control.MapRequest, opts maps.Options) {
	s.metrics.request("map-unknown", http.StatusOK)
	w.Header().Set("Content-Type", "application/octet-stream")
	fw := s.newFrameWriter(w)
	defer fw.close()
	err := fw.write(s.cfg.Maps.Unknown(req.NodeKey, conn.Peer(), opts))
	for err == nil {
		select {
		case <-time.After(s.keepAlivePause()):
		case <-r.Context().Done():
			return
		}
		if n := s.cfg.Tailnet.Snapshot().NodeByKey(req.NodeKey); n != nil && n.Machine == conn.Peer() {
			return
		}
		if req.KeepAlive {
			err = fw.write(s.keepAliveFrame(req))
		}
	}
}

// keepAliveFrame returns what a stream gets that has been silent.
func (s *Server) keepAliveFrame(req *control.MapRequest) []byte {
	if req.Compress == control.CompressZstd {
		return s.keep[1]
	}
	return s.keep[0]
}

// follow writes what comes after the first frame.
func (s *Server) follow(ctx context.Context, fw *frameWriter, stream *maps.Stream, session *session, req *control.MapRequest) error {
	timer := time.NewTimer(s.keepAlivePause())
	defer timer.Stop()
	if !req.KeepAlive {
		timer.Stop()
	}
	for {
		var frame []byte
		select {
		case <-stream.Ready():
			var err error
			if frame, err = stream.Next(ctx); err != nil {
				return err
			}
		case body := <-session.direct:
			frame = s.cfg.Maps.Frame(body, req.Compress == control.CompressZstd)
		case <-timer.C:
			frame = s.keepAliveFrame(req)
		case <-ctx.Done():
			return ctx.Err()
		}
		if frame == nil {
			continue
		}
		if err := fw.write(frame); err != nil {
			return err
		}
		if req.KeepAlive {
			timer.Reset(s.keepAlivePause())
		}
	}
}

func (s *Server) keepAlivePause() time.Duration {
	return s.cfg.KeepAlive + jitter.Below(s.cfg.KeepAlive/5+1)
}

// streamEnded logs the end of a stream. The client going away is no event.
func (s *Server) streamEnded(node *tailnet.Node, err error) {
	switch {
	case errors.Is(err, context.Canceled):
	case errors.Is(err, maps.ErrNoNode):
		s.log.Info("map stream ended: the node was removed", "node", node.ID, "name", node.GivenName)
	default:
		s.log.Debug("map stream ended", "node", node.ID, "name", node.GivenName, "why", err)
	}
}

// frameWriter writes frames of a map stream, each flushed, and resets the stream
// when the client refuses bytes for too long.
type frameWriter struct {
	w       http.ResponseWriter
	rc      *http.ResponseController
	guard   *time.Timer
	timeout time.Duration
	s       *Server
}

func (s *Server) newFrameWriter(w http.ResponseWriter) *frameWriter {
	fw := &frameWriter{w: w, rc: http.NewResponseController(w), timeout: s.cfg.WriteTimeout, s: s}
	fw.guard = time.AfterFunc(time.Hour, func() {
		s.metrics.stalled.Inc()
		fw.rc.SetWriteDeadline(time.Unix(1, 0))
	})
	fw.guard.Stop()
	return fw
}

// write writes one frame. A guard costs less than a deadline set for each frame,
// which would go through the connection's own goroutine.
func (fw *frameWriter) write(frame []byte) error {
	size := len(frame)
	for len(frame) > 0 {
		n := min(len(frame), writeChunk)
		fw.guard.Reset(fw.timeout)
		_, err := fw.w.Write(frame[:n])
		if frame = frame[n:]; err == nil && len(frame) == 0 {
			err = fw.rc.Flush()
		}
		fw.guard.Stop()
		if err != nil {
			return err
		}
	}
	fw.s.metrics.frames.Inc()
	fw.s.metrics.frameBytes.Add(float64(size))
	return nil
}

func (fw *frameWriter) close() { fw.guard.Stop() }
