package node

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"

	"github.com/ginnel/ginnel/node/netmon"
	"github.com/ginnel/ginnel/node/path"
	"github.com/ginnel/ginnel/node/tun"
)

// Userspace is the tunnel name for a node without a kernel interface: TCP/IP runs
// inside the process, without any privilege.
const Userspace = "userspace-networking"

// Options configures a Node.
type Options struct {
	// StatePath is the state file, or state.Memory.
	StatePath string
	// StateDir is for other files that survive restarts. Empty means the
	// directory of StatePath.
	StateDir string
	// TUN is the name of the tunnel interface, or Userspace. A comma list is
	// tried in order.
	TUN string
	// Port is the UDP port for peers, 0 for any.
	Port uint16
	// SOCKS5Addr and HTTPProxyAddr are where proxies into the mesh listen. Empty
	// means not at all; both may be the same.
	SOCKS5Addr, HTTPProxyAddr string
	// Version is the long version that the server and clients are told.
	Version string
	// Logger may be nil.
	Logger *slog.Logger

	// TLS has the authorities for the server's certificate. Nil means the
	// system's.
	TLS *tls.Config
	// Proxy chooses an HTTP proxy for a request. Nil means none.
	Proxy func(*http.Request) (*url.URL, error)
	// DialContext makes the connections to the server. Nil means the system's
	// way, kept out of the tunnel.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)

	// System is where the node meets the operating system; the zero value is the
	// real one.
	System System

	// newPlane makes the data plane; nil means the real one.
	newPlane func(planeOptions) (plane, error)
}

// System replaces parts of the operating system under a node, for simulations. Each
// field that is nil stands for the real thing.
type System struct {
	// Device is the tunnel interface, which the node closes. With it no route is
	// changed and Options.TUN is not used.
	Device tun.Device
	// ListenPacket opens the UDP socket for network "udp4" or "udp6".
	ListenPacket func(network string, port uint16) (net.PacketConn, error)
	// BatchSize is how many packets to take from such a socket at once; 0 is the right
	// number for sockets of the system.
	BatchSize int
	// Dial opens TCP connections to relays.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// ListenFrom opens a UDP socket for network "udp4" or "udp6" at a local address, and
	// Gateways lists the ways out, for port mapping.
	ListenFrom func(network string, local netip.Addr) (net.PacketConn, error)
	Gateways   func() (netmon.Gateways, error)
	// Lookup resolves names of relays.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	// Interfaces lists the machine's interfaces, and Network tells when they change.
	Interfaces func() ([]path.Interface, error)
	Network    netmon.Source
}
