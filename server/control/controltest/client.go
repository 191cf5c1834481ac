// Package controltest is a small client of the control protocol for tests and
// load generators: it registers, polls the map and hands out the frames as they
// come. Thousands of clients fit in one process, since they share the zstd
// decoder and its buffers.
//
// It is no node: it keeps no netmap, does not retry, and believes the server.
package controltest

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/ginnel/ginnel/internal/noiseconn"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// Options describe a client. URL must be set; keys that are zero are made up.
type Options struct {
	// URL is the server's, such as "http://127.0.0.1:8080". With "https" no
	// certificate is checked: Noise authenticates.
	URL string
	// ServerKey is the server's Noise key; zero means to ask for it at /key.
	ServerKey key.MachinePublic

	Machine key.MachinePrivate
	Node    key.NodePrivate
	Disco   key.DiscoPrivate
	// Version 0 means control.CurrentCapabilityVersion.
	Version control.CapabilityVersion
	// Hostinfo nil means one with an operating system and the host name "test".
	Hostinfo *control.Hostinfo
	// Plain asks for frames without compression.
	Plain bool
	// Dial replaces the dialling of TCP.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Client is one node's side of the protocol. Its fields may be changed between
// requests; the Machine key counts for new connections only.
type Client struct {
	Options
	http *http.Client
}

// New returns a client. It connects when it is first used.
func New(o Options) *Client {
	if o.Machine.IsZero() {
		o.Machine = key.NewMachine()
	}
	if o.Node.IsZero() {
		o.Node = key.NewNode()
	}
	if o.Disco.IsZero() {
		o.Disco = key.NewDisco()
	}
	if o.Version == 0 {
		o.Version = control.CurrentCapabilityVersion
	}
	if o.Hostinfo == nil {
		o.Hostinfo = &control.Hostinfo{OS: "linux", Hostname: "test", BackendLogID: "test"}
	}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	c := &Client{Options: o}
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	c.http = &http.Client{Transport: &http.Transport{
		Protocols:   &protocols,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
		HTTP2:       &http.HTTP2Config{MaxReceiveBufferPerStream: 1 << 20, MaxReceiveBufferPerConnection: 2 << 20},
	}}
	return c
}

// Close closes the connections that are not in use. Streams are closed by
// themselves.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// FetchKey asks the server at serverURL for its Noise key.
func FetchKey(ctx context.Context, serverURL string) (key.MachinePublic, error) {
	target := fmt.Sprintf("%s/key?v=%d", strings.TrimRight(serverURL, "/"), control.CurrentCapabilityVersion)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return key.MachinePublic{}, err
	}
	hc := http.Client{Transport: &http.Transport{TLSClientConfig: insecure(), DisableKeepAlives: true}}
	resp, err := hc.Do(r)
	if err != nil {
		return key.MachinePublic{}, err
	}
	defer resp.Body.Close()
	var out control.KeyResponse
	if resp.StatusCode != http.StatusOK {
		return key.MachinePublic{}, fmt.Errorf("%s: status %s", target, resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return key.MachinePublic{}, fmt.Errorf("%s: %w", target, err)
	}
	return out.PublicKey, nil
}

// insecure checks no certificate, as nodes do not either where Noise follows.
func insecure() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

// DialNoise opens a Noise connection to the server.
func (c *Client) DialNoise(ctx context.Context) (*noiseconn.Conn, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, err
	}
	serverKey := c.ServerKey
	if serverKey.IsZero() {
		if serverKey, err = FetchKey(ctx, c.URL); err != nil {
			return nil, err
		}
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	conn, err := c.Dial(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, err
	}
	if u.Scheme == "https" {
		conn = tls.Client(conn, insecure())
	}
	nc, err := noiseconn.Upgrade(ctx, conn, noiseconn.UpgradeOptions{
		Host: u.Host, Machine: c.Machine, Server: serverKey, Version: uint16(c.Version),
	})
	if err != nil {
		conn.Close()
		return nil, err
	}
	return nc, nil
}

func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	nc, err := c.DialNoise(ctx)
	if err != nil {
		return nil, err
	}
	return noiseconn.NewClientConn(nc), nil
}

// Do sends a request inside Noise. body may be nil, bytes, or a value to be sent
// as JSON. The caller closes the answer's body.
func (c *Client) Do(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		reader = bytes.NewReader(b)
	default:
		encoded, err := json.Marshal(b)
		if err != nil {
			return nil, err
		}
		reader = bytes.NewReader(encoded)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://unused"+path, reader)
	if err != nil {
		return nil, err
	}
	return c.http.Do(r)
}

// StatusError is an answer with a status other than 200.
type StatusError struct {
	Code int
	Text string // first bytes of the body
}

// Error names the status and the text.
func (e *StatusError) Error() string { return fmt.Sprintf("status %d: %s", e.Code, e.Text) }

// post sends a request as JSON and returns the answer when it is a 200.
func (c *Client) post(ctx context.Context, path string, body any) (*http.Response, error) {
	resp, err := c.Do(ctx, http.MethodPost, path, body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
		return nil, &StatusError{Code: resp.StatusCode, Text: strings.TrimSpace(string(text))}
	}
	return resp, nil
}

// RegisterRequest returns what a node that starts sends: its keys and nothing
// else.
func (c *Client) RegisterRequest() *control.RegisterRequest {
	return &control.RegisterRequest{
		Version:  c.Version,
		NodeKey:  c.Node.Public(),
		NLKey:    key.LockPublicFromRaw32(c.Node.Public().Raw32()), // non-zero is all that counts
		Hostinfo: c.Hostinfo,
	}
}

// Register sends a register request and returns the answer, refusals included.
func (c *Client) Register(ctx context.Context, req *control.RegisterRequest) (*control.RegisterResponse, error) {
	resp, err := c.post(ctx, "/machine/register", req)
	if err != nil {
		return nil, fmt.Errorf("register: %w", err)
	}
	defer resp.Body.Close()
	var out control.RegisterResponse
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return nil, fmt.Errorf("register: %w", err)
	}
	return &out, nil
}

// Join registers by auth key and fails unless the node is in.
func (c *Client) Join(ctx context.Context, authKey string) error {
	req := c.RegisterRequest()
	req.Auth = &control.RegisterAuth{AuthKey: authKey}
	out, err := c.Register(ctx, req)
	switch {
	case err != nil:
		return err
	case out.Error != "":
		return fmt.Errorf("register: server refused: %s", out.Error)
	case out.NodeKeyExpired || out.AuthURL != "" || !out.MachineAuthorized:
		return fmt.Errorf("register: not in: %+v", out)
	}
	return nil
}

// MapRequest returns a map request with the client's keys and host information.
func (c *Client) MapRequest() *control.MapRequest {
	req := &control.MapRequest{
		Version:   c.Version,
		KeepAlive: true,
		NodeKey:   c.Node.Public(),
		DiscoKey:  c.Disco.Public(),
		Hostinfo:  c.Hostinfo,
	}
	if !c.Plain {
		req.Compress = control.CompressZstd
	}
	return req
}

// Update sends what a node reports about itself. change may be nil, or fill in
// the request.
func (c *Client) Update(ctx context.Context, change func(*control.MapRequest)) error {
	req := c.MapRequest()
	req.OmitPeers = true
	if change != nil {
		change(req)
	}
	resp, err := c.post(ctx, "/machine/map", req)
	if err != nil {
		return fmt.Errorf("map update: %w", err)
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// Poll starts a long poll. Cancelling ctx or closing the stream ends it.
func (c *Client) Poll(ctx context.Context) (*Stream, error) {
	req := c.MapRequest()
	req.Stream = true
	return c.Map(ctx, req)
}

// Map sends a map request of any form and returns the frames of the answer.
func (c *Client) Map(ctx context.Context, req *control.MapRequest) (*Stream, error) {
	ctx, cancel := context.WithCancel(ctx)
	resp, err := c.post(ctx, "/machine/map", req)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("map: %w", err)
	}
	return &Stream{body: resp.Body, cancel: cancel, plain: req.Compress == ""}, nil
}

// AnswerC2N answers a request of the server that came in a frame; handler plays
// the node.
func (c *Client) AnswerC2N(ctx context.Context, ping *control.PingRequest, handler http.Handler) error {
	answer, err := runC2N(ctx, ping.Payload, handler)
	if err != nil {
		return err
	}
	u, err := url.Parse(ping.URL)
	if err != nil {
		return err
	}
	resp, err := c.Do(ctx, http.MethodPost, u.Path, answer)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
