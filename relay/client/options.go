package client

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// Time limits of wire document relay, section 2.1.
const (
	dialTimeout    = 10 * time.Second        // the whole of Dial
	nodeTimeout    = 1500 * time.Millisecond // TCP connect to one node
	ipv4Delay      = 200 * time.Millisecond  // IPv4's handicap when IPv6 is preferred
	keepAlive      = 30 * time.Second        // TCP keepalive of the dialled socket
	readTimeout    = 120 * time.Second       // silence after which the relay is dead
	maxPingTimeout = 5 * time.Second         // longest wait for a pong
)

// Options say where and as whom to connect.
type Options struct {
	// PrivateKey is the client's node key. Required.
	PrivateKey key.NodePrivate

	// Region names the relay by its region: its nodes are tried in order. Exactly
	// one of Region and URL is needed.
	Region *control.DERPRegion
	// URL names the relay by "https://host[:port]" or, without TLS, "http://…". Its
	// path is not used.
	URL string
	// DialHost replaces the host of URL, and of nothing else, as what TCP goes to.
	DialHost string
	// CertName goes with URL and is what DERPNode.CertName is to a node: empty,
	// another name to verify, or "sha256-raw:" and the digits of a pin.
	CertName string

	// DialContext opens TCP connections; nil uses package net.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
	// Proxy returns the HTTP proxy for a request, or nil for none; nil uses the
	// environment's.
	Proxy func(*http.Request) (*url.URL, error)
	// TLSConfig is the base of the TLS configuration; nil is fine. The server's
	// name and its verification are set here from Region or URL.
	TLSConfig *tls.Config

	MeshKey     key.MeshKey // for relays of one mesh; zero otherwise
	CanAckPings bool        // tell the relay that its pings get answered
	IsProber    bool        // this is a monitoring client
	AppName     string      // told to the relay for its statistics

	// Home tells the relay, at once, that it is this client's home.
	Home bool
	// WatchConns asks, at once, for presence notices. It needs MeshKey.
	WatchConns bool
	// WriteTimeout is how long the relay may take in nothing of a write, after which the
	// connection is of no more use; 0 is for ever.
	WriteTimeout time.Duration
	// PreferIPv6 reports whether IPv6 is known to work, so that it gets a head
	// start over IPv4. It may be nil.
	PreferIPv6 func() bool

	Logger *slog.Logger // nil logs nothing
}

// check reports what is wrong with the options.
func (o *Options) check() error {
	switch {
	case o.PrivateKey.IsZero():
		return errors.New("relay client: no private key")
	case o.Region == nil && o.URL == "":
		return errors.New("relay client: neither a region nor a URL")
	case o.Region != nil && o.URL != "":
		return errors.New("relay client: both a region and a URL")
	case o.WatchConns && o.MeshKey.IsZero():
		return errors.New("relay client: watching connections needs the mesh key")
	}
	return nil
}

// fill sets what was left out.
func (o *Options) fill() {
	if o.DialContext == nil {
		o.DialContext = (&net.Dialer{KeepAlive: keepAlive}).DialContext
	}
	if o.Proxy == nil {
		o.Proxy = http.ProxyFromEnvironment
	}
	if o.PreferIPv6 == nil {
		o.PreferIPv6 = func() bool { return false }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}
