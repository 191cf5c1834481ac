// Package client calls the daemon's local API over its Unix socket.
//
// It is a thin, typed HTTP client: one method for each endpoint, errors that tell
// a daemon that is not running from one that refuses, and a watcher of the
// notification bus. It is not the daemon's side of the API, prints nothing, and
// keeps no state but the version the daemon last answered with.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/node/local/paths"
	"github.com/ginnel/ginnel/wire/control"
)

const (
	// host is the only name the daemon answers to (wire document cli, 5.1).
	host = "local-tailscaled.sock"
	// prefix starts the path of every endpoint.
	prefix = "/localapi/v0/"

	headerCap     = "Tailscale-Cap"
	headerVersion = "Tailscale-Version"
	// headerReason carries why a user turns the node off.
	headerReason = "X-Tailscale-Reason"

	// maxBody and maxErrorBody are the most bytes read of an answer.
	maxBody      = 256 << 20
	maxErrorBody = 64 << 10
)

// Client calls one daemon. It is safe for use by several goroutines.
type Client struct {
	socket  string
	http    *http.Client
	version atomic.Pointer[string]
}

// New returns a client of the daemon at the given socket path, or at the default
// one for the empty string. It does not connect yet.
func New(socket string) *Client {
	if socket == "" {
		socket = paths.FindSocket()
	}
	return NewWithDialer(socket, func(ctx context.Context) (net.Conn, error) { return dial(ctx, socket, findDaemon) })
}

// Waits for a daemon that has not made its socket yet.
const (
	startingAge  = 10 * time.Second // a daemon younger than that may be starting
	startingWait = 5 * time.Second
	startingPoll = 50 * time.Millisecond
)

// dial connects to the socket. While nobody listens but find sees a daemon that
// has just started, it tries again for a while.
func dial(ctx context.Context, socket string, find func() (int, time.Duration, bool)) (net.Conn, error) {
	var d net.Dialer
	for end := time.Now().Add(startingWait); ; {
		conn, err := d.DialContext(ctx, "unix", socket)
		if err == nil || !nobodyListens(err) || !time.Now().Before(end) {
			return conn, err
		}
		if _, age, ok := find(); !ok || age > startingAge {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(startingPoll):
		}
	}
}

// nobodyListens reports whether a connection failed for want of a listener.
func nobodyListens(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}

// NewWithDialer returns a client that connects by calling dial; name is what
// errors call the other end.
func NewWithDialer(name string, dial func(context.Context) (net.Conn, error)) *Client {
	transport := &http.Transport{
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableCompression: true,
	}
	return &Client{socket: name, http: &http.Client{Transport: transport}}
}

// Close closes idle connections. The client can still be used.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Socket returns the path of the socket.
func (c *Client) Socket() string { return c.socket }

// DaemonVersion returns the long version the daemon last answered with, or the
// empty string before the first answer.
func (c *Client) DaemonVersion() string {
	if v := c.version.Load(); v != nil {
		return *v
	}
	return ""
}

// Raw sends any request and returns the answer whatever its status; the caller
// closes its body. The path is that of an endpoint, with or without the leading
// "/localapi/v0/", and may hold a query. It fails with a NotRunningError where
// there is no daemon.
func (c *Client) Raw(ctx context.Context, method, path string, body io.Reader, header http.Header) (*http.Response, error) {
	if !strings.HasPrefix(path, "/") {
		path = prefix + path
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+host+path, body)
	if err != nil {
		return nil, fmt.Errorf("local api request: %w", err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	req.Header.Set(headerCap, strconv.Itoa(int(control.CurrentCapabilityVersion)))
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.connectError(err)
	}
	if v := resp.Header.Get(headerVersion); v != "" {
		c.version.Store(&v)
	}
	return resp, nil
}

// connectError makes the error of a request that got no answer.
func (c *Client) connectError(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		switch {
		case nobodyListens(err):
			pid, _, _ := findDaemon()
			return &NotRunningError{Socket: c.socket, PID: pid, Err: op}
		case errors.Is(err, os.ErrPermission):
			return &AccessDeniedError{Text: fmt.Sprintf("the socket %s may not be opened", c.socket)}
		}
	}
	return fmt.Errorf("local api at %s: %w", c.socket, err)
}

// Do sends a request and returns the body of an answer with a status of 2xx. It
// fails with a NotRunningError, an AccessDeniedError for status 403, or an
// HTTPError for any other status.
func (c *Client) Do(ctx context.Context, method, path string, body []byte, header http.Header) ([]byte, error) {
	var r io.Reader
	if body != nil {
		r = bytes.NewReader(body)
	}
	resp, err := c.Raw(ctx, method, path, r, header)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if err := checkStatus(resp); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", path, err)
	}
	if len(data) > maxBody {
		return nil, fmt.Errorf("read the answer of %s: over %d bytes", path, maxBody)
	}
	return data, nil
}

// Get is Do with method GET and no body.
func (c *Client) Get(ctx context.Context, path string) ([]byte, error) {
	return c.Do(ctx, http.MethodGet, path, nil, nil)
}

// Post is Do with method POST.
func (c *Client) Post(ctx context.Context, path string, body []byte) ([]byte, error) {
	return c.Do(ctx, http.MethodPost, path, body, nil)
}

// call sends in as JSON, unless it is nil, and decodes the answer into a T.
func call[T any](ctx context.Context, c *Client, method, path string, in any) (*T, error) {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return nil, fmt.Errorf("local api request %s: %w", path, err)
		}
	}
	data, err := c.Do(ctx, method, path, body, nil)
	if err != nil {
		return nil, err
	}
	out := new(T)
	if err := json.Unmarshal(data, out); err != nil {
		return nil, fmt.Errorf("local api answer of %s: %w", path, err)
	}
	return out, nil
}

// Status returns the state of the daemon and its peers.
func (c *Client) Status(ctx context.Context) (*api.Status, error) {
	return call[api.Status](ctx, c, http.MethodGet, "status", nil)
}

// StatusWithoutPeers returns the state of the daemon alone, which is cheaper.
func (c *Client) StatusWithoutPeers(ctx context.Context) (*api.Status, error) {
	return call[api.Status](ctx, c, http.MethodGet, "status?peers=false", nil)
}

// WhoIs says who is behind an address, an address and port, or a node key's text.
// It fails with ErrPeerNotFound when nobody is.
func (c *Client) WhoIs(ctx context.Context, addr string) (*api.WhoIsResponse, error) {
	return c.WhoIsProto(ctx, "", addr)
}

// WhoIsProto is WhoIs for a connection of protocol "tcp" or "udp".
func (c *Client) WhoIsProto(ctx context.Context, proto, addr string) (*api.WhoIsResponse, error) {
	q := url.Values{"addr": {addr}}
	if proto != "" {
		q.Set("proto", proto)
	}
	out, err := call[api.WhoIsResponse](ctx, c, http.MethodGet, "whois?"+q.Encode(), nil)
	if he := (*HTTPError)(nil); errors.As(err, &he) && he.Status == http.StatusNotFound {
		return nil, fmt.Errorf("%w: %s", ErrPeerNotFound, addr)
	}
	return out, err
}

// Prefs returns the preferences without their secrets.
func (c *Client) Prefs(ctx context.Context) (*api.Prefs, error) {
	return call[api.Prefs](ctx, c, http.MethodGet, "prefs", nil)
}

// EditPrefs changes the flagged preferences and returns the new ones. A refusal is
// an HTTPError of status 400 with the daemon's text.
func (c *Client) EditPrefs(ctx context.Context, edit *api.MaskedPrefs) (*api.Prefs, error) {
	return call[api.Prefs](ctx, c, http.MethodPatch, "prefs", edit)
}

// CheckPrefs asks whether the daemon would accept the preferences; a refusal is an
// error with its text.
func (c *Client) CheckPrefs(ctx context.Context, p *api.Prefs) error {
	out, err := call[api.CheckPrefsResponse](ctx, c, http.MethodPost, "check-prefs", p)
	if err != nil {
		return err
	}
	if out.Error != "" {
		return errors.New(out.Error)
	}
	return nil
}

// Start starts the daemon's backend, with new preferences or an auth key if given.
func (c *Client) Start(ctx context.Context, opts api.StartOptions) error {
	body, err := json.Marshal(opts)
	if err != nil {
		return fmt.Errorf("start options: %w", err)
	}
	_, err = c.Post(ctx, "start", body)
	return err
}

// LoginInteractive starts a login; the URL to visit arrives on the bus.
func (c *Client) LoginInteractive(ctx context.Context) error {
	_, err := c.Post(ctx, "login-interactive", nil)
	return err
}

// Logout expires the node key and forgets the login. The reason may be empty.
func (c *Client) Logout(ctx context.Context, reason string) error {
	header := http.Header{}
	if reason != "" {
		header.Set(headerReason, reason)
	}
	_, err := c.Do(ctx, http.MethodPost, "logout", nil, header)
	return err
}

// Ping pings a peer once. The size is in bytes, for disco pings, and zero for the
// usual. A ping without a reply is a result with Err set, or ctx's end.
func (c *Client) Ping(ctx context.Context, ip netip.Addr, t api.PingType, size int) (*api.PingResult, error) {
	q := url.Values{"ip": {ip.String()}, "type": {string(t)}}
	if size != 0 {
		q.Set("size", strconv.Itoa(size))
	}
	return call[api.PingResult](ctx, c, http.MethodPost, "ping?"+q.Encode(), nil)
}

// Netcheck makes the daemon check its network now and returns the report. The
// endpoint is Ginnel's own; other daemons answer 404.
func (c *Client) Netcheck(ctx context.Context) (*api.NetcheckReport, error) {
	return call[api.NetcheckReport](ctx, c, http.MethodPost, "netcheck", nil)
}

// DERPMap returns the relays the daemon knows.
func (c *Client) DERPMap(ctx context.Context) (*control.DERPMap, error) {
	return call[control.DERPMap](ctx, c, http.MethodGet, "derpmap", nil)
}

// DebugAction runs a debugging action such as "rebind" and returns its output.
func (c *Client) DebugAction(ctx context.Context, action string) ([]byte, error) {
	return c.Post(ctx, "debug?"+url.Values{"action": {action}}.Encode(), nil)
}
