package tunnel

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.zx2c4.com/wireguard/device"

	"github.com/ginnel/ginnel/node/tun"
	"github.com/ginnel/ginnel/wire/key"
)

// Config is the wanted state.
type Config struct {
	PrivateKey key.NodePrivate
	Peers      []PeerConfig
}

// PeerConfig is what WireGuard needs to know of a peer.
type PeerConfig struct {
	Key key.NodePublic
	// AllowedIPs are the addresses behind the peer. Of two peers with the same prefix the
	// first one has it.
	AllowedIPs []netip.Prefix
	// PersistentKeepalive is the time between keepalives to an idle peer, in whole
	// seconds; 0 for none.
	PersistentKeepalive time.Duration
}

// PeerStats are the counters of a peer: bytes of sealed packets, and when the current
// session began, zero for never.
type PeerStats struct {
	RxBytes, TxBytes uint64
	LastHandshake    time.Time
}

// Tunnel is a running WireGuard instance.
type Tunnel struct {
	dev *device.Device

	mu      sync.Mutex // guards what is configured
	priv    key.NodePrivate
	current map[key.NodePublic]peerState
}

// New starts WireGuard between dev, which it closes when it is closed, and t.
func New(dev tun.Device, t Transport, logger *slog.Logger) (*Tunnel, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	wg := device.NewDevice(newTunDevice(dev), &bind{t: t}, wgLogger(logger))
	// Where a peer is, is the transport's business: WireGuard keeps the endpoint that
	// it is given, which names the peer and no address.
	wg.DisableSomeRoamingForBrokenMobileSemantics()
	if err := wg.Up(); err != nil {
		wg.Close()
		return nil, fmt.Errorf("start WireGuard: %w", err)
	}
	return &Tunnel{dev: wg, current: map[key.NodePublic]peerState{}}, nil
}

// Apply makes cfg the wanted state. Peers that did not change are not disturbed: their
// sessions go on.
func (t *Tunnel) Apply(cfg Config) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	wanted := resolve(cfg)
	var b strings.Builder
	if !cfg.PrivateKey.Equal(t.priv) {
		raw := cfg.PrivateKey.Raw32()
		b.WriteString("private_key=" + hex.EncodeToString(raw[:]) + "\n")
	}
	writeDiff(&b, t.current, wanted)
	if b.Len() == 0 {
		return nil
	}
	if err := t.dev.IpcSet(b.String()); err != nil {
		// How far it came is not known: the next Apply starts from what is there.
		t.current, t.priv = t.actual(), key.NodePrivate{}
		return fmt.Errorf("configure WireGuard: %w", err)
	}
	t.current, t.priv = wanted, cfg.PrivateKey
	return nil
}

// Stats returns the counters of all peers.
func (t *Tunnel) Stats() map[key.NodePublic]PeerStats {
	stats := map[key.NodePublic]PeerStats{}
	var k key.NodePublic
	var s PeerStats
	t.read(func(name, value string) {
		if name == "public_key" {
			k, s = parseKey(value), PeerStats{}
		}
		n, _ := strconv.ParseUint(value, 10, 64)
		switch name {
		case "rx_bytes":
			s.RxBytes = n
		case "tx_bytes":
			s.TxBytes = n
		case "last_handshake_time_sec":
			if n != 0 {
				s.LastHandshake = time.Unix(int64(n), 0)
			}
		case "last_handshake_time_nsec":
			if !s.LastHandshake.IsZero() {
				s.LastHandshake = s.LastHandshake.Add(time.Duration(n))
			}
		}
		if !k.IsZero() {
			stats[k] = s
		}
	})
	return stats
}

// Close stops WireGuard and closes the device. The transport stays.
func (t *Tunnel) Close() error {
	t.dev.Close()
	return nil
}

// actual reads back what is configured.
func (t *Tunnel) actual() map[key.NodePublic]peerState {
	peers := map[key.NodePublic]peerState{}
	var k key.NodePublic
	t.read(func(name, value string) {
		s := peers[k]
		switch name {
		case "public_key":
			k = parseKey(value)
			s = peerState{allowed: map[netip.Prefix]bool{}}
		case "persistent_keepalive_interval":
			s.keepalive, _ = strconv.Atoi(value)
		case "allowed_ip":
			if p, err := netip.ParsePrefix(value); err == nil {
				s.allowed[p] = true
			}
		}
		if !k.IsZero() {
			peers[k] = s
		}
	})
	return peers
}

// read calls f for each line of WireGuard's configuration protocol.
func (t *Tunnel) read(f func(name, value string)) {
	r, w := io.Pipe()
	go func() { w.CloseWithError(t.dev.IpcGetOperation(w)) }()
	for lines := bufio.NewScanner(r); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), "=")
		f(name, value)
	}
	r.Close()
}

// parseKey reads a key in hexadecimal, zero if it is none.
func parseKey(text string) key.NodePublic {
	k, _ := key.ParseNodePublicUntyped(text)
	return k
}
