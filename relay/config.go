package relay

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ginnel/ginnel/relay/internal/outbox"
	"github.com/ginnel/ginnel/wire/key"
)

// Config is what a Server needs to know. Only PrivateKey is required.
type Config struct {
	// PrivateKey is the relay's key; a zero key makes New choose a new one.
	PrivateKey key.NodePrivate
	// Logger gets what happens; nil logs nothing.
	Logger *slog.Logger
	// MeshKey admits the other relays of the region, which may watch and forward.
	// Zero admits none.
	MeshKey key.MeshKey
	// Verify decides about a client that does not hold the mesh key; nil admits all.
	// ctx ends with the time that a handshake may take.
	Verify func(ctx context.Context, client key.NodePublic, from netip.Addr) error
	// Metrics gets the relay's metrics; nil for none.
	Metrics prometheus.Registerer

	// WriteTimeout is how long a client may take in nothing while something is being
	// written to it; 0 means 2 s.
	WriteTimeout time.Duration
	// QueueBytes and QueuePackets bound what waits for one client; 0 means 4 MiB and
	// 8192 packets. The oldest packet makes room for the newest, and so do packets
	// that have waited for a quarter of a second behind others.
	QueueBytes, QueuePackets int
	// RateLimit bounds each client that does not hold the mesh key. See
	// Server.SetRateLimit.
	RateLimit RateLimit
}

// Time limits: wire document relay, sections 5, 7.2 and 8.
const (
	handshakeTimeout    = 10 * time.Second
	defaultWriteTimeout = 2 * time.Second
	meshWriteTimeout    = 30 * time.Second
	keepAliveInterval   = 60 * time.Second
	keepAliveJitter     = 5 * time.Second
)

// minQueueBytes lets one packet of any size be queued.
const minQueueBytes = 72 << 10

// setLimits sets the outbox limits.
func (c *Config) setLimits(l *outbox.Limits) error {
	l.SetDefaults()
	if c.QueueBytes < 0 || (c.QueueBytes > 0 && c.QueueBytes < minQueueBytes) {
		return errors.New("relay: QueueBytes: want at least 73728, or 0 for the default")
	}
	if c.QueuePackets < 0 {
		return errors.New("relay: QueuePackets: want more than 0, or 0 for the default")
	}
	if c.QueueBytes > 0 {
		l.DataBytes = c.QueueBytes
	}
	if c.QueuePackets > 0 {
		l.DataFrames = c.QueuePackets
	}
	return nil
}
