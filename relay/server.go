package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ginnel/ginnel/internal/jitter"
	"github.com/ginnel/ginnel/relay/internal/outbox"
	"github.com/ginnel/ginnel/wire/key"
	wire "github.com/ginnel/ginnel/wire/relay"
)

// Server is a relay. Its methods are safe for concurrent use.
type Server struct {
	cfg    Config
	log    *slog.Logger
	priv   key.NodePrivate
	pub    key.NodePublic
	meta   []byte // the meta certificate, DER
	limits outbox.Limits
	table  table
	stats  stats
	leaves atomic.Uint64 // counts keys that left the region

	rateLimit atomic.Pointer[RateLimit]
	closing   chan struct{} // closed by Close

	wg sync.WaitGroup // connections

	mu       sync.Mutex // guards what follows, and the slow half of each peer
	closed   bool
	conns    map[net.Conn]struct{} // all, also those still in the handshake
	watchers map[*client]struct{}
}

// ErrClosed is the error of a Server after Close.
var ErrClosed = errors.New("relay: server closed")

// New returns a relay that serves nothing until its Handler is given requests.
func New(cfg Config) (*Server, error) {
	if cfg.PrivateKey.IsZero() {
		cfg.PrivateKey = key.NewNode()
	}
	if cfg.WriteTimeout == 0 {
		cfg.WriteTimeout = defaultWriteTimeout
	}
	s := &Server{
		cfg:      cfg,
		log:      cfg.Logger,
		priv:     cfg.PrivateKey,
		pub:      cfg.PrivateKey.Public(),
		conns:    make(map[net.Conn]struct{}),
		watchers: make(map[*client]struct{}),
		closing:  make(chan struct{}),
	}
	if err := s.SetRateLimit(cfg.RateLimit); err != nil {
		return nil, err
	}
	if err := cfg.setLimits(&s.limits); err != nil {
		return nil, err
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if s.meta, err = newMetaCert(s.pub, time.Now()); err != nil {
		return nil, fmt.Errorf("relay: meta certificate: %w", err)
	}
	if cfg.Metrics != nil {
		if err := cfg.Metrics.Register(collector{s}); err != nil {
			return nil, fmt.Errorf("relay: metrics: %w", err)
		}
	}
	return s, nil
}

// PublicKey returns the relay's public key.
func (s *Server) PublicKey() key.NodePublic { return s.pub }

// HasMeshKey reports whether k is the relay's mesh key, in constant time.
func (s *Server) HasMeshKey(k key.MeshKey) bool { return s.cfg.MeshKey.Equal(k) }

// Close closes all connections and waits for their goroutines. Later connections
// are refused. It does not close listeners.
func (s *Server) Close() error {
	s.mu.Lock()
	if !s.closed {
		close(s.closing)
	}
	s.closed = true
	for nc := range s.conns {
		nc.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	if s.cfg.Metrics != nil {
		s.cfg.Metrics.Unregister(collector{s})
	}
	return nil
}

// Restart tells all clients that the relay is about to restart and gives them time,
// until ctx ends, to take it in. It is for the moment before Close: clients that know
// the notice come back spread over the time that it names, and do not take the relay
// for broken meanwhile (wire document relay, section 6.3).
func (s *Server) Restart(ctx context.Context, spread, tryFor time.Duration) {
	var told []*client
	s.table.each(func(p *peer) {
		if c := p.active.Load(); c != nil {
			told = append(told, c)
		}
	})
	for _, c := range told {
		notice := wire.Restarting{ReconnectIn: jitter.Below(spread + 1), TryFor: tryFor}
		c.out.AddControl(notice.Append)
	}
	for _, c := range told {
		if !c.out.Flushed(ctx) {
			return
		}
	}
}

// track counts a connection in, unless the server is closed. raw is what Close
// closes.
func (s *Server) track(raw net.Conn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.conns[raw] = struct{}{}
	s.wg.Add(1)
	return nil
}

// untrack counts a connection out and closes it.
func (s *Server) untrack(raw net.Conn) {
	raw.Close()
	s.mu.Lock()
	delete(s.conns, raw)
	s.mu.Unlock()
	s.wg.Done()
}

// nextKeepAlive returns an interval for one connection's keepalives.
func nextKeepAlive() time.Duration { return keepAliveInterval + jitter.Below(keepAliveJitter) }
