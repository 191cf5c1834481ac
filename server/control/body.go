package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

const (
	// maxBody bounds the body of a request, in bytes: several times what is kept
	// of a node (wire document control, section 10.6).
	maxBody = 256 << 10
	// smallBody is what honest bodies do not exceed but rarely. Larger ones have
	// to wait for each other.
	smallBody = 16 << 10
	// maxLargeBodies is how many large bodies are read at a time, of nodes and
	// of strangers each.
	maxLargeBodies = 32
	// maxAnswer bounds what a node may answer the server, in bytes.
	maxAnswer = 1 << 20
)

// largeBodies are the rights to read a large body. Nodes have their own, so that
// strangers do not hold them up.
type largeBodies struct {
	nodes, strangers chan struct{}
}

func (b *largeBodies) init() {
	b.nodes, b.strangers = make(chan struct{}, maxLargeBodies), make(chan struct{}, maxLargeBodies)
}

// acquire waits for a place in a row of waiters. It returns false when ctx ends first.
func acquire(ctx context.Context, places chan struct{}) bool {
	select {
	case places <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// decode reads a request body of at most maxBody bytes into v, or refuses the
// request and returns false. What strangers can make the server hold is bounded:
// few bodies of one connection are read at a time, and few large ones of all.
func (s *Server) decode(w http.ResponseWriter, r *http.Request, conn *nodeConn, endpoint string, v any) bool {
	if !acquire(r.Context(), conn.reading) {
		s.metrics.request(endpoint, statusGone)
		return false
	}
	defer func() { <-conn.reading }()
	body, err := s.readBody(w, r, conn)
	if err != nil {
		var tooLarge *http.MaxBytesError
		switch {
		case errors.As(err, &tooLarge):
			s.refuse(w, endpoint, http.StatusRequestEntityTooLarge, fmt.Sprintf("request body is larger than %d bytes", maxBody))
		case r.Context().Err() != nil:
			s.metrics.request(endpoint, statusGone)
		case errors.Is(err, errBusy):
			w.Header().Set("Retry-After", "5")
			s.refuse(w, endpoint, http.StatusServiceUnavailable, err.Error())
		default:
			s.refuse(w, endpoint, http.StatusBadRequest, "cannot read the request body")
		}
		return false
	}
	if err := json.Unmarshal(body, v); err != nil {
		s.log.Debug("request does not decode", "endpoint", endpoint, "err", err)
		s.refuse(w, endpoint, http.StatusBadRequest, "invalid request: "+err.Error())
		return false
	}
	return true
}

var errBusy = errors.New("too many large requests are under way")

// readBody reads a request body.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request, conn *nodeConn) ([]byte, error) {
	if r.ContentLength > maxBody {
		return nil, &http.MaxBytesError{Limit: maxBody}
	}
	in := http.MaxBytesReader(w, r.Body, maxBody)
	if r.ContentLength >= 0 && r.ContentLength <= smallBody {
		return io.ReadAll(in)
	}
	places := s.large.strangers
	if conn.known.Load() {
		places = s.large.nodes
	}
	ctx, cancel := context.WithTimeout(r.Context(), bodyTimeout)
	defer cancel()
	if !acquire(ctx, places) {
		s.metrics.busy.Inc()
		return nil, errBusy
	}
	defer func() { <-places }()
	return io.ReadAll(in)
}
