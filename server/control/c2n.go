package control

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// c2nPath comes before the token at which a node posts its answer. The host in
// the URL means nothing: the node asks for it inside Noise.
const c2nPath = "/machine/c2n/"

// c2nTimeout is how long a node has for an answer (wire document control,
// section 7.3).
const c2nTimeout = 60 * time.Second

// ErrNotConnected means that a node has no map stream to be asked over.
var ErrNotConnected = errors.New("node is not connected")

// c2nWaiters are the requests to nodes that wait for an answer, by token.
type c2nWaiters struct {
	mu sync.Mutex
	m  map[string]c2nWaiter
}

type c2nWaiter struct {
	machine key.MachinePublic // whose answer counts
	answer  chan []byte
}

func (c *c2nWaiters) init() { c.m = map[string]c2nWaiter{} }

// C2N sends an HTTP request to a node over its map stream and returns the node's
// answer, whose body is held in memory. Without a deadline in ctx the node has a
// minute. The error wraps ErrNotConnected when the node has no stream.
func (s *Server) C2N(ctx context.Context, id control.NodeID, r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, c2nTimeout)
	defer cancel()
	node := s.cfg.Tailnet.Snapshot().Node(id)
	if node == nil {
		return nil, fmt.Errorf("ask node %d: %w", id, ErrNotConnected)
	}
	var payload bytes.Buffer
	if err := r.Write(&payload); err != nil {
		return nil, fmt.Errorf("ask node %d: encode request: %w", id, err)
	}
	token := rand.Text()
	w := c2nWaiter{machine: node.Machine, answer: make(chan []byte, 1)}
	s.c2n.mu.Lock()
	s.c2n.m[token] = w
	s.c2n.mu.Unlock()
	defer func() {
		s.c2n.mu.Lock()
		delete(s.c2n.m, token)
		s.c2n.mu.Unlock()
	}()
	// On a keepalive, so that the node does not look for changes of its map.
	body, err := json.Marshal(&control.MapResponse{KeepAlive: true, PingRequest: &control.PingRequest{
		URL:        "https://unused" + c2nPath + token,
		URLIsNoise: true,
		Types:      control.PingC2N,
		Payload:    payload.Bytes(),
	}})
	if err != nil {
		return nil, fmt.Errorf("ask node %d: %w", id, err)
	}
	if !s.sessions.send(id, body) {
		return nil, fmt.Errorf("ask node %d: %w", id, ErrNotConnected)
	}
	select {
	case raw := <-w.answer:
		resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), r)
		if err != nil {
			return nil, fmt.Errorf("node %d answered no HTTP response: %w", id, err)
		}
		return resp, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("ask node %d: %w", id, context.Cause(ctx))
	}
}

// serveC2N takes a node's answer.
func (s *Server) serveC2N(w http.ResponseWriter, r *http.Request, conn *nodeConn) {
	token := strings.TrimPrefix(r.URL.Path, c2nPath)
	s.c2n.mu.Lock()
	waiter, ok := s.c2n.m[token]
	s.c2n.mu.Unlock()
	if !ok || waiter.machine != conn.Peer() {
		s.refuse(w, "c2n", http.StatusNotFound, "nobody waits for this answer")
		return
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxAnswer))
	if err != nil {
		s.refuse(w, "c2n", http.StatusBadRequest, "cannot read the answer")
		return
	}
	select {
	case waiter.answer <- raw:
	default: // answered already
	}
	s.metrics.request("c2n", http.StatusNoContent)
	w.WriteHeader(http.StatusNoContent)
}

// PingNode asks a node for an echo over the control connection and returns how
// long that took.
func (s *Server) PingNode(ctx context.Context, id control.NodeID) (time.Duration, error) {
	text := rand.Text()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://node/echo", strings.NewReader(text))
	if err != nil {
		return 0, err
	}
	start := time.Now()
	resp, err := s.C2N(ctx, id, r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || string(got) != text {
		return 0, fmt.Errorf("node %d answered an echo with %s", id, resp.Status)
	}
	return time.Since(start), nil
}
