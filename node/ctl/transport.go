package ctl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
	"github.com/ginnel/ginnel/wire/noise"
)

// Liveness of the connection below the streams: after idleProbe without a byte
// from the server an HTTP/2 ping goes out, and without an answer within
// probeTimeout the connection is taken for dead. So a lost network is noticed
// well before the stream's own watchdog.
const (
	idleProbe    = 70 * time.Second
	probeTimeout = 15 * time.Second
	checkTimeout = 5 * time.Second
)

// maxAnswer bounds the body of all answers but the map stream.
const maxAnswer = 1 << 20

// transport carries requests to the server inside Noise and HTTP/2, over one
// connection that is made when needed. It is safe for concurrent use.
type transport struct {
	dialer *dialer

	dialing chan struct{} // holds one token: who has it may dial

	mu        sync.Mutex
	stopDial  context.CancelCauseFunc // ends the dial in progress, nil for none
	serverKey key.MachinePublic       // zero until asked for
	conn      *http2.ClientConn       // nil while there is none
	closed    bool
}

func newTransport(d *dialer) *transport {
	t := &transport{dialer: d, dialing: make(chan struct{}, 1)}
	t.dialing <- struct{}{}
	return t
}

// usable returns the present connection if it can take a request.
func (t *transport) usable() *http2.ClientConn {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn != nil && t.conn.CanTakeNewRequest() {
		return t.conn
	}
	return nil
}

// get returns a usable connection, making one if there is none.
func (t *transport) get(ctx context.Context) (*http2.ClientConn, error) {
	if cc := t.usable(); cc != nil {
		return cc, nil
	}
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-t.dialing:
	}
	defer func() { t.dialing <- struct{}{} }()
	if cc := t.usable(); cc != nil { // made while we waited
		return cc, nil
	}
	dialCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t.setStopDial(cancel)
	defer t.setStopDial(nil)
	cc, err := t.dial(dialCtx)
	if cause := context.Cause(dialCtx); err != nil && cause != nil {
		err = cause
	}
	return cc, err
}

// errNetworkChanged ends the dialling by a network that is not there any more.
var errNetworkChanged = errors.New("the network has changed")

func (t *transport) setStopDial(stop context.CancelCauseFunc) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopDial = stop
}

func (t *transport) dial(ctx context.Context) (*http2.ClientConn, error) {
	t.mu.Lock()
	serverKey := t.serverKey
	t.mu.Unlock()
	if serverKey.IsZero() {
		var err error
		if serverKey, err = t.dialer.serverKey(ctx); err != nil {
			return nil, err
		}
	}
	nc, err := t.dialer.connect(ctx, serverKey)
	if err != nil {
		if errors.Is(err, noise.ErrHandshake) || !retriable(err) {
			serverKey = key.MachinePublic{} // it may have changed: ask again next time
		}
		t.mu.Lock()
		t.serverKey = serverKey
		t.mu.Unlock()
		return nil, err
	}
	h2 := &http2.Transport{ReadIdleTimeout: idleProbe, PingTimeout: probeTimeout, DisableCompression: true}
	cc, err := h2.NewClientConn(nc)
	if err != nil {
		nc.Close()
		return nil, &UnreachableError{URL: t.dialer.server.base, Err: err}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		cc.Close()
		return nil, errClosed
	}
	t.serverKey, t.conn = serverKey, cc
	return cc, nil
}

// retriable reports whether err is a mere failure to get through, after which
// the server's key is still good.
func retriable(err error) bool {
	var unreachable *UnreachableError
	var remote *noise.RemoteError
	return errors.As(err, &unreachable) && !errors.As(err, &remote) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF)
}

// check drops the present connection unless it answers soon.
func (t *transport) check(ctx context.Context) {
	t.mu.Lock()
	cc := t.conn
	t.mu.Unlock()
	if cc == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if cc.Ping(ctx) == nil {
		return
	}
	t.mu.Lock()
	if t.conn == cc {
		t.conn = nil
	}
	t.mu.Unlock()
	cc.Close()
}

// drop closes the present connection, or ends the making of one; the next request makes a
// new one.
func (t *transport) drop() {
	t.mu.Lock()
	cc := t.conn
	t.conn = nil
	if t.stopDial != nil {
		t.stopDial(errNetworkChanged)
	}
	t.mu.Unlock()
	if cc != nil {
		cc.Close()
	}
}

// close ends the connection for good.
func (t *transport) close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.drop()
}

// roundTrip sends one request inside Noise. The body may be nil.
func (t *transport) roundTrip(ctx context.Context, method, path string, body []byte, lb ...key.NodePublic) (*http.Response, error) {
	cc, err := t.get(ctx)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, "https://"+t.dialer.server.authority()+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("request %s: %w", path, err)
	}
	for _, k := range lb {
		if !k.IsZero() {
			req.Header.Add("Ts-Lb", k.String())
		}
	}
	resp, err := cc.RoundTrip(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		return nil, &UnreachableError{URL: t.dialer.server.base, Err: err}
	}
	return resp, nil
}

// post sends a JSON request and decodes a JSON answer into out, which may be nil
// when only the status matters.
func (t *transport) post(ctx context.Context, path string, in, out any, lb ...key.NodePublic) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", path, err)
	}
	resp, err := t.roundTrip(ctx, http.MethodPost, path, body, lb...)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return &UnreachableError{URL: t.dialer.server.base, Err: err}
	}
	if resp.StatusCode == http.StatusTooManyRequests {
		return &RateLimitedError{Wait: retryAfter(resp.Header, time.Now())}
	}
	if resp.StatusCode != http.StatusOK {
		return &StatusError{Op: path[1:], Code: resp.StatusCode, Text: snippet(answer)}
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("answer to %s: %w", path[1:], err)
	}
	return nil
}

// register sends one register request.
func (t *transport) register(ctx context.Context, req *control.RegisterRequest) (*control.RegisterResponse, error) {
	var resp control.RegisterResponse
	if err := t.post(ctx, "/machine/register", req, &resp, req.OldNodeKey, req.NodeKey); err != nil {
		return nil, err
	}
	return &resp, nil
}
