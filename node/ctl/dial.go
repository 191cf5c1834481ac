package ctl

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ginnel/ginnel/internal/noiseconn"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// Limits of connecting.
const (
	dialTimeout   = 10 * time.Second // whole way to a Noise connection
	keyTimeout    = 10 * time.Second
	maxKeyAnswer  = 64 << 10
	maxProxyReply = 16 << 10
)

// errNoAnswer is why a request for the server's key is given up.
var errNoAnswer = fmt.Errorf("it accepted the connection but did not answer within %v", keyTimeout)

// dialLog remembers what a request is connecting to.
type dialLog struct {
	addr      atomic.Pointer[string] // the latest, nil before the first
	connected atomic.Bool
}

// silence is why a request is given up that nothing came of in time.
func (l *dialLog) silence() error {
	addr := l.addr.Load()
	if addr == nil || l.connected.Load() {
		return errNoAnswer
	}
	host, _, _ := net.SplitHostPort(*addr)
	if _, err := netip.ParseAddr(host); err == nil {
		return fmt.Errorf("no answer from %s within %v, not even a refusal: a firewall may drop what is sent there, or the address be wrong", *addr, keyTimeout)
	}
	return fmt.Errorf("no answer from %s within %v, or none from DNS for its name: a firewall may drop what is sent there", *addr, keyTimeout)
}

// dialer makes Noise connections to one server.
type dialer struct {
	server  serverURL
	machine key.MachinePrivate
	dial    func(ctx context.Context, network, addr string) (net.Conn, error)
	proxy   func(*http.Request) (*url.URL, error)
	tls     *tls.Config // for /key, nil for the system's roots
	// relays returns the relays to ask for the server's address when its name does not
	// resolve. It may be nil, and return nil.
	relays func() *control.DERPMap

	plan atomic.Pointer[control.ControlDialPlan] // the latest one, nil for none
}

// serverKey asks the server for its Noise key.
func (d *dialer) serverKey(ctx context.Context) (key.MachinePublic, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, keyTimeout, errNoAnswer)
	defer cancel()
	target := d.server.base + "/key?v=" + strconv.Itoa(int(control.CurrentCapabilityVersion))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return key.MachinePublic{}, fmt.Errorf("key request: %w", err)
	}
	var log dialLog
	// The transport goes on dialling for others when its request has ended: there are none.
	open := func(_ context.Context, network, addr string) (net.Conn, error) {
		log.addr.Store(&addr)
		conn, err := d.open(ctx, network, addr)
		log.connected.Store(err == nil)
		return conn, err
	}
	client := http.Client{
		Transport: &http.Transport{
			DialContext: open, TLSClientConfig: d.tls.Clone(), Proxy: d.proxy,
			DisableKeepAlives: true, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // it repeats the URL
		}
		if errors.Is(context.Cause(ctx), errNoAnswer) {
			err = log.silence()
		}
		return key.MachinePublic{}, classifyHTTP(d.server.base, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxKeyAnswer))
	if err != nil {
		return key.MachinePublic{}, &UnreachableError{URL: d.server.base, Err: err}
	}
	if resp.StatusCode == http.StatusTooManyRequests {
		return key.MachinePublic{}, &RateLimitedError{Wait: retryAfter(resp.Header, time.Now())}
	}
	return parseKeyAnswer(d.server.base, resp.StatusCode, body)
}

func parseKeyAnswer(base string, status int, body []byte) (key.MachinePublic, error) {
	if status >= 500 {
		return key.MachinePublic{}, &UnreachableError{URL: base, Err: &StatusError{Op: "key request", Code: status, Text: snippet(body)}}
	}
	if status == http.StatusBadRequest && bytes.Contains(body, []byte("HTTPS")) {
		return key.MachinePublic{}, &NotServerError{URL: base, Detail: "the port speaks TLS: did you mean https:// instead of http://?"}
	}
	if status != http.StatusOK {
		return key.MachinePublic{}, &NotServerError{URL: base, Detail: fmt.Sprintf("its /key answers with status %d", status)}
	}
	var answer control.KeyResponse
	if err := json.Unmarshal(body, &answer); err != nil {
		return key.MachinePublic{}, &NotServerError{URL: base, Detail: "its /key answers with something that is no key"}
	}
	if answer.PublicKey.IsZero() {
		return key.MachinePublic{}, &NotServerError{URL: base, Detail: "its /key has no key for the present protocol; the server is too old"}
	}
	return answer.PublicKey, nil
}

// connect makes a Noise connection, as the server's dial plan says if there is one, and
// else or if that does not help, to the host of the server URL.
func (d *dialer) connect(ctx context.Context, server key.MachinePublic) (*noiseconn.ClientConn, error) {
	tries := d.planned(server)
	direct := try{limit: dialTimeout, run: func(ctx context.Context) (*noiseconn.Conn, error) {
		return d.connectVia(ctx, detour{}, server)
	}}
	if len(tries) > 0 {
		direct.delay = planPatience
	}
	conn, errs := race(ctx, append(tries, direct))
	if conn == nil {
		return nil, errs[len(errs)-1]
	}
	return noiseconn.NewClientConn(conn), nil
}

// connectVia connects by the ways of the server URL, over a detour if that is not zero.
func (d *dialer) connectVia(ctx context.Context, over detour, server key.MachinePublic) (*noiseconn.Conn, error) {
	var tries []try
	for _, w := range d.server.ways() {
		if over.ace != "" && w.tls {
			continue // such hosts take plain HTTP alone (section 3.10)
		}
		tries = append(tries, try{delay: w.delay, run: func(ctx context.Context) (*noiseconn.Conn, error) {
			return d.attempt(ctx, w, over, server)
		}})
	}
	conn, errs := race(ctx, tries)
	if conn == nil {
		return nil, d.explain(errs)
	}
	return conn, nil
}

// explain picks what to tell of the errors of all ways: the first says most,
// since it is about the address the user gave.
func (d *dialer) explain(errs []error) error {
	var status *noiseconn.StatusError
	for _, err := range errs {
		if !errors.As(err, &status) {
			continue
		}
		if status.Code == http.StatusTooManyRequests {
			return &RateLimitedError{Wait: retryAfter(nil, time.Now())}
		}
		if status.Code < 500 {
			return &NotServerError{URL: d.server.base, Detail: err.Error()}
		}
	}
	return &UnreachableError{URL: d.server.base, Err: errs[0]}
}

// attempt connects in one way, over a detour if that is not zero.
func (d *dialer) attempt(ctx context.Context, w way, over detour, server key.MachinePublic) (*noiseconn.Conn, error) {
	addr := net.JoinHostPort(d.server.host, w.port)
	scheme, defaultPort := "http", "80"
	if w.tls {
		scheme, defaultPort = "https", "443"
	}
	conn, err := d.dialOver(ctx, over, scheme, addr)
	if err != nil {
		return nil, err
	}
	if w.tls {
		// Noise proves who the server is; a certificate that does not fit is no
		// reason to stay without a connection (section 3.2).
		tc := tls.Client(conn, &tls.Config{ServerName: d.server.host, InsecureSkipVerify: true})
		if err := tc.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, fmt.Errorf("%s: tls: %w", addr, err)
		}
		conn = tc
	}
	host := addr
	if w.port == defaultPort {
		host = strings.TrimSuffix(addr, ":"+w.port)
	}
	nc, err := noiseconn.Upgrade(ctx, conn, noiseconn.UpgradeOptions{
		Host: host, Machine: d.machine, Server: server, Version: uint16(control.CurrentCapabilityVersion),
	})
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("%s: %w", addr, err)
	}
	return nc, nil
}

// proxyFor returns the proxy that is configured for addr, or nil.
func (d *dialer) proxyFor(scheme, addr string) (*url.URL, error) {
	if d.proxy == nil {
		return nil, nil
	}
	via, err := d.proxy(&http.Request{URL: &url.URL{Scheme: scheme, Host: addr}})
	if err != nil {
		return nil, fmt.Errorf("proxy for %s: %w", addr, err)
	}
	return via, nil
}

// dialVia connects to addr, through the proxy that is configured for it, if any.
func (d *dialer) dialVia(ctx context.Context, scheme, addr string) (net.Conn, error) {
	via, err := d.proxyFor(scheme, addr)
	if err != nil {
		return nil, err
	}
	if via == nil {
		return d.open(ctx, "tcp", addr)
	}
	if via.Scheme != "http" && via.Scheme != "https" {
		return nil, fmt.Errorf("proxy %s: only http and https proxies are supported", via.Redacted())
	}
	port := via.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[via.Scheme]
	}
	conn, err := d.dial(ctx, "tcp", net.JoinHostPort(via.Hostname(), port))
	if err != nil {
		return nil, fmt.Errorf("proxy %s: %w", via.Redacted(), err)
	}
	if via.Scheme == "https" {
		conn = tls.Client(conn, &tls.Config{ServerName: via.Hostname()})
	}
	tunnel, err := tunnelThrough(ctx, conn, via, addr)
	if err != nil {
		return nil, fmt.Errorf("proxy %s: %w", via.Redacted(), err)
	}
	return tunnel, nil
}

// tunnelThrough asks the proxy at conn for a tunnel to addr, for as long as ctx lasts. It
// closes conn if that fails.
func tunnelThrough(ctx context.Context, conn net.Conn, via *url.URL, addr string) (net.Conn, error) {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	tunnel, err := connectThrough(conn, via, addr)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return tunnel, nil
}

// connectThrough asks the proxy at conn for a tunnel to addr.
func connectThrough(conn net.Conn, via *url.URL, addr string) (net.Conn, error) {
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{}}
	if via.User != nil {
		password, _ := via.User.Password()
		token := base64.StdEncoding.EncodeToString([]byte(via.User.Username() + ":" + password))
		req.Header.Set("Proxy-Authorization", "Basic "+token)
	}
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	// One byte at a time beyond the buffer would lose what follows the answer;
	// a proxy sends nothing of its own there, and the far side waits for us.
	br := bufio.NewReader(io.LimitReader(conn, maxProxyReply))
	resp, err := http.ReadResponse(br, req)
	if err != nil {
		return nil, err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("refused the connection to %s: %s", addr, resp.Status)
	}
	if br.Buffered() > 0 {
		return nil, errors.New("sent data before the connection was used")
	}
	return conn, nil
}

// snippet returns the first bytes of an answer for an error text.
func snippet(body []byte) string {
	text := strings.TrimSpace(string(body[:min(len(body), 200)]))
	return strings.ToValidUTF8(text, "?")
}
