package node

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/url"
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

	// newPlane makes the data plane; nil means the real one.
	newPlane func(planeOptions) (plane, error)
}
