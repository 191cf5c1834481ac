package ctl

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/ginnel/ginnel/wire/control"
)

// Limits of answering the server's requests: wire document control, sections
// 6.17 and 7.3.
const (
	headTimeout   = 15 * time.Second
	pingTimeout   = 10 * time.Second
	c2nTimeout    = 60 * time.Second
	maxPingsAtOne = 8
	maxC2NAnswer  = 16 << 20
)

// Pinger pings a peer for the server.
type Pinger func(ctx context.Context, kind string, ip netip.Addr) (control.PingResponse, error)

// pings answers the requests that the server makes of the node.
type pings struct {
	transport *transport
	http      *http.Client // for URLs outside Noise
	handler   http.Handler // c2n requests
	ping      Pinger       // may be nil
	log       *slog.Logger
	busy      chan struct{} // one token per request in work

	mu      sync.Mutex
	lastURL string
	wg      sync.WaitGroup
}

// handle answers one request in its own goroutine. A repetition of the latest URL
// is ignored, and so is everything while too much is in work.
func (p *pings) handle(ctx context.Context, req *control.PingRequest) {
	p.mu.Lock()
	repeated := req.URL == p.lastURL
	p.lastURL = req.URL
	p.mu.Unlock()
	if repeated || req.URL == "" {
		return
	}
	select {
	case p.busy <- struct{}{}:
	default:
		p.log.Warn("too many requests of the server at once; one is ignored", "types", req.Types)
		return
	}
	p.wg.Go(func() {
		defer func() { <-p.busy }()
		if err := p.answer(ctx, req); err != nil && ctx.Err() == nil {
			p.log.Info("answering a request of the server failed", "types", req.Types, "err", err)
		}
	})
}

func (p *pings) answer(ctx context.Context, req *control.PingRequest) error {
	switch req.Types {
	case "":
		return p.head(ctx, req)
	case control.PingC2N:
		return p.c2n(ctx, req)
	}
	if p.ping == nil || !req.IP.IsValid() {
		return fmt.Errorf("no ping to %v possible", req.IP)
	}
	var errs []error
	for kind := range strings.SplitSeq(req.Types, ",") {
		errs = append(errs, p.peerPing(ctx, req, kind))
	}
	return errors.Join(errs...)
}

// head is the plain sign of life.
func (p *pings) head(ctx context.Context, req *control.PingRequest) error {
	ctx, cancel := context.WithTimeout(ctx, headTimeout)
	defer cancel()
	return p.send(ctx, req, http.MethodHead, nil)
}

func (p *pings) peerPing(ctx context.Context, req *control.PingRequest, kind string) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout+headTimeout)
	defer cancel()
	pingCtx, cancelPing := context.WithTimeout(ctx, pingTimeout)
	result, err := p.ping(pingCtx, kind, req.IP)
	cancelPing()
	if err != nil {
		return fmt.Errorf("%s ping of %v: %w", kind, req.IP, err)
	}
	body, err := json.Marshal(result)
	if err != nil {
		return fmt.Errorf("encoding ping result: %w", err)
	}
	return p.send(ctx, req, http.MethodPost, body)
}

// c2n runs the HTTP request in the payload and posts the whole HTTP answer.
func (p *pings) c2n(ctx context.Context, req *control.PingRequest) error {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(req.Payload)))
	if err != nil {
		return fmt.Errorf("c2n request: %w", err)
	}
	timeout := c2nTimeout
	if d, err := time.ParseDuration(r.Header.Get("C2n-Handler-Timeout")); err == nil && d > 0 {
		timeout = d
	}
	handleCtx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answer := answerRecorder{header: http.Header{}}
	p.handler.ServeHTTP(&answer, r.WithContext(handleCtx))
	var out bytes.Buffer
	if err := answer.write(&out); err != nil {
		return fmt.Errorf("c2n answer: %w", err)
	}
	if out.Len() > maxC2NAnswer {
		return fmt.Errorf("c2n answer to %s has %d bytes", r.URL.Path, out.Len())
	}
	postCtx, cancelPost := context.WithTimeout(ctx, c2nTimeout)
	defer cancelPost()
	noiseReq := *req
	noiseReq.URLIsNoise = true
	return p.send(postCtx, &noiseReq, http.MethodPost, out.Bytes())
}

// answerRecorder is an http.ResponseWriter that keeps the answer.
type answerRecorder struct {
	header http.Header
	status int // zero before the first write
	body   bytes.Buffer
}

// Header returns the header of the answer.
func (a *answerRecorder) Header() http.Header { return a.header }

// WriteHeader sets the status, the first time.
func (a *answerRecorder) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// Write adds to the body.
func (a *answerRecorder) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}

// write puts the whole answer, status line and all, into w.
func (a *answerRecorder) write(w io.Writer) error {
	a.WriteHeader(http.StatusOK)
	if a.body.Len() > 0 && a.header.Get("Content-Type") == "" {
		a.header.Set("Content-Type", http.DetectContentType(a.body.Bytes()))
	}
	resp := http.Response{
		StatusCode: a.status, ProtoMajor: 1, ProtoMinor: 1, Header: a.header,
		ContentLength: int64(a.body.Len()), Body: io.NopCloser(&a.body),
	}
	return resp.Write(w)
}

// send makes the request to the URL of req, inside Noise if it says so.
func (p *pings) send(ctx context.Context, req *control.PingRequest, method string, body []byte) error {
	u, err := url.Parse(req.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("ping URL %.200q cannot be used", req.URL)
	}
	var resp *http.Response
	if req.URLIsNoise {
		resp, err = p.transport.roundTrip(ctx, method, u.RequestURI(), body)
	} else {
		var r *http.Request
		if r, err = http.NewRequestWithContext(ctx, method, req.URL, bytes.NewReader(body)); err == nil {
			resp, err = p.http.Do(r)
		}
	}
	if err != nil {
		return err
	}
	// Any status will do. A little of the body is read so that the connection
	// can be used again.
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 4<<10))
	resp.Body.Close()
	return err
}

// EchoC2N is the least a node answers the server's own requests: /echo returns
// the body, any other path is unknown.
func EchoC2N() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/echo" {
			http.Error(w, "unknown c2n path", http.StatusBadRequest)
			return
		}
		body, err := io.ReadAll(io.LimitReader(r.Body, maxAnswer))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Write(body)
	})
}
