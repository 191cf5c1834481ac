package mesh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ginnel/ginnel/relay"
	"github.com/ginnel/ginnel/relay/client"
	"github.com/ginnel/ginnel/relay/internal/outbox"
	"github.com/ginnel/ginnel/wire/key"
	wire "github.com/ginnel/ginnel/wire/relay"
)

// Time limits of wire document relay, sections 2.1 and 10.
const (
	retryDelay     = 5 * time.Second
	forwardTimeout = 5 * time.Second
)

// newLimits bound what waits for another relay: more than for one client, since it
// is for many.
func newLimits() *outbox.Limits {
	l := new(outbox.Limits)
	l.SetDefaults()
	l.DataBytes, l.DataFrames = 16<<20, 32<<10
	l.DiscoBytes, l.DiscoFrames = 512<<10, 2048
	return l
}

// Peer names another relay of the region.
type Peer struct {
	URL      string // "https://host[:port]"
	DialHost string // where TCP goes instead of the URL's host, if set
	CertName string // as in client.Options
}

// ParsePeers reads a list such as "relay1.example,relay2.example/10.0.0.2": host
// names, each with the host to dial instead behind a slash. A host may have a port.
// At the end of an entry "=sha256-raw:" and 64 digits pin a self-signed certificate.
func ParsePeers(list string) ([]Peer, error) {
	var peers []Peer
	for entry := range strings.SplitSeq(list, ",") {
		if entry = strings.TrimSpace(entry); entry == "" {
			continue
		}
		where, certName, pinned := strings.Cut(entry, "=")
		host, dialHost, found := strings.Cut(where, "/")
		if host == "" || (found && dialHost == "") || strings.Contains(dialHost, "/") {
			return nil, fmt.Errorf("mesh peer %q: want host or host/dialhost", entry)
		}
		if _, isPin, err := wire.ParsePin(certName); pinned && (!isPin || err != nil) {
			return nil, fmt.Errorf("mesh peer %q: behind = goes %s and 64 hex digits", entry, wire.PinPrefix)
		}
		peers = append(peers, Peer{URL: "https://" + host, DialHost: dialHost, CertName: certName})
	}
	return peers, nil
}

// Config is what a Link needs.
type Config struct {
	Relay      *relay.Server   // the relay on this side
	PrivateKey key.NodePrivate // its key
	MeshKey    key.MeshKey     // of the region
	Peer       Peer            // the relay on the other side
	Logger     *slog.Logger    // nil logs nothing

	// Options are further settings for dialling: DialContext, Proxy, TLSConfig.
	Options client.Options
	// RetryDelay is how long to wait after a failure; 0 means 5 s.
	RetryDelay time.Duration
}

// Run keeps the link up until ctx ends. It returns nil then, and also when the peer
// turns out to be this relay itself.
func Run(ctx context.Context, cfg Config) error {
	if cfg.MeshKey.IsZero() {
		return errors.New("relay mesh: no mesh key")
	}
	if cfg.RetryDelay == 0 {
		cfg.RetryDelay = retryDelay
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	log := cfg.Logger.With("peer", cfg.Peer.URL)
	for {
		err := session(ctx, &cfg, log)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, errSelf) {
			log.Debug("mesh peer is this relay itself")
			return nil
		}
		log.Warn("mesh link is down", "error", err, "retry_in", cfg.RetryDelay)
		timer := time.NewTimer(cfg.RetryDelay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

// errSelf says that a relay dialled itself.
var errSelf = errors.New("the peer is this relay")

// session is one connection of a link, from dialling to its end.
func session(ctx context.Context, cfg *Config, log *slog.Logger) error {
	o := cfg.Options
	o.PrivateKey, o.MeshKey, o.WatchConns = cfg.PrivateKey, cfg.MeshKey, true
	o.URL, o.DialHost, o.Region = cfg.Peer.URL, cfg.Peer.DialHost, nil
	o.CertName = cfg.Peer.CertName
	o.WriteTimeout, o.Logger = forwardTimeout, log
	c, err := client.Dial(ctx, o)
	if err != nil {
		return err
	}
	defer c.Close()
	if c.ServerPublicKey() == cfg.Relay.PublicKey() {
		return errSelf
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	l := &link{conn: c, relay: cfg.Relay, log: log}
	l.out.Init(newLimits(), l)
	defer l.end()
	return l.receive()
}

// link is the routes and the queue of one session.
type link struct {
	conn  *client.Conn
	relay *relay.Server
	log   *slog.Logger
	out   outbox.Outbox
	drops atomic.Int64

	keys map[key.NodePublic]struct{} // the clients learned; owned by receive
}

// receive learns who is on the other side until the connection fails.
func (l *link) receive() error {
	l.keys = make(map[key.NodePublic]struct{})
	for {
		m, err := l.conn.Recv()
		if err != nil {
			return err
		}
		switch m.Kind {
		case client.KindConnected:
			l.log.Info("mesh link is up")
		case client.KindPeerPresent:
			if m.Peer == l.relay.PublicKey() {
				continue // this very link
			}
			l.keys[m.Peer] = struct{}{}
			l.relay.AddForwarder(m.Peer, l)
		case client.KindPeerGone:
			if m.Reason != wire.GoneDisconnected {
				continue // about one packet, not about the client
			}
			delete(l.keys, m.Peer)
			l.relay.RemoveForwarder(m.Peer, l)
		}
	}
}

// end withdraws what was learned.
func (l *link) end() {
	l.out.Close()
	for k := range l.keys {
		l.relay.RemoveForwarder(k, l)
	}
	if n := l.drops.Load(); n > 0 {
		l.log.Info("mesh link dropped packets", "packets", n)
	}
}

// ForwardPacket implements relay.Forwarder.
func (l *link) ForwardPacket(src, dst key.NodePublic, data []byte) {
	var head [wire.HeaderLen + 2*wire.KeyLen]byte
	class := outbox.Data
	if wire.LooksLikeDisco(data) {
		class = outbox.Disco
	}
	dropped, kick, ok := l.out.AddParts(class, wire.AppendForwardHeader(head[:0], src, dst, len(data)), data)
	if !ok {
		l.drops.Add(1)
		return
	}
	if dropped.Frames > 0 {
		l.drops.Add(int64(dropped.Frames))
	}
	l.out.Kick(kick)
}

// WriteFrames implements outbox.Writer.
func (l *link) WriteFrames(chunks [][]byte, _ outbox.Count) error {
	for _, b := range chunks {
		if err := l.conn.WriteFrames(b); err != nil {
			return err
		}
	}
	return nil
}

// Failed implements outbox.Writer.
func (l *link) Failed(err error, lost outbox.Lost) {
	l.drops.Add(int64(lost[outbox.Data].Frames + lost[outbox.Disco].Frames))
	l.log.Debug("mesh link write failed", "error", err)
	l.conn.Close()
}
