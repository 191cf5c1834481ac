package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/coder/websocket"

	"github.com/ginnel/ginnel/internal/noiseconn"
	"github.com/ginnel/ginnel/server/control/controltest"
	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
	"github.com/ginnel/ginnel/wire/noise"
)

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestKeyEndpoint(t *testing.T) {
	h := newHarness(t, nil)
	want := fmt.Sprintf(`{"legacyPublicKey":"mkey:%064d","publicKey":%q}`, 0, h.key)
	if code, body := get(t, h.http.URL+"/key?v=113"); code != 200 || body != want {
		t.Errorf("/key?v=113: %d %s", code, body)
	}
	if code, body := get(t, h.http.URL+"/key?v=30"); code != 200 || body != "" {
		t.Errorf("/key?v=30: %d %s", code, body)
	}
	for _, query := range []string{"", "?v=", "?v=x"} {
		if code, _ := get(t, h.http.URL+"/key"+query); code != 400 {
			t.Errorf("/key%s: %d", query, code)
		}
	}
	resp, err := http.Post(h.http.URL+"/key?v=113", "", nil)
	if err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST /key: %v, %v", resp, err)
	}
	if got, err := controltest.FetchKey(h.ctx, h.http.URL); err != nil || got != h.key {
		t.Errorf("FetchKey = %v, %v", got, err)
	}
}

func TestUpgradeRefusals(t *testing.T) {
	h := newHarness(t, nil)
	_, good, err := noise.NewInitiator(key.NewMachine(), h.key, 113)
	if err != nil {
		t.Fatal(err)
	}
	_, other, err := noise.NewInitiator(key.NewMachine(), key.NewMachine().Public(), 113)
	if err != nil {
		t.Fatal(err)
	}
	_, old, err := noise.NewInitiator(key.NewMachine(), h.key, 48)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.StdEncoding.EncodeToString
	for _, tt := range []struct{ upgrade, handshake, want string }{
		{"", b64(good), "missing next protocol"},
		{"h2c", b64(good), "unknown next protocol"},
		{noiseconn.UpgradeProtocol, "", "missing Tailscale handshake header"},
		{noiseconn.UpgradeProtocol, "!", "invalid tailscale handshake header"},
		{noiseconn.UpgradeProtocol, b64(good[:50]), "initiation of 50 bytes"},
		{noiseconn.UpgradeProtocol, b64(other), "handshake failed"},
		{noiseconn.UpgradeProtocol, b64(old), "unsupported client version"},
	} {
		r, err := http.NewRequest(http.MethodPost, h.http.URL+"/ts2021", nil)
		if err != nil {
			t.Fatal(err)
		}
		if tt.upgrade != "" {
			r.Header.Set("Upgrade", tt.upgrade)
			r.Header.Set("Connection", "upgrade")
		}
		r.Header.Set(noiseconn.HandshakeHeader, tt.handshake)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != 400 || !strings.Contains(string(body), tt.want) {
			t.Errorf("%+v: %s %q, %v", tt, resp.Status, body, err)
		}
	}
}

func TestUpgradeVariants(t *testing.T) {
	for _, overTLS := range []bool{false, true} {
		h := newHarness(t, func(s *setup) { s.tls = overTLS })
		c := h.client("a")
		nc, err := c.DialNoise(h.ctx)
		if err != nil {
			t.Fatalf("TLS %v: %v", overTLS, err)
		}
		cc := noiseconn.NewClientConn(nc)
		go io.WriteString(cc, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
		head := make([]byte, 9)
		if _, err := io.ReadFull(cc, head); err != nil || head[3] != 4 {
			t.Errorf("TLS %v: first HTTP/2 frame %x, %v", overTLS, head, err)
		}
		if p := cc.EarlyPayload(); p == nil || p.NodeKeyChallenge.IsZero() {
			t.Errorf("TLS %v: early payload %v", overTLS, p)
		}
		cc.Close()
		if err := c.Join(h.ctx, h.authKey(tailnet.AuthKeyParams{})); err != nil {
			t.Errorf("TLS %v: %v", overTLS, err)
		}
	}
}

// dialWebSocket opens a Noise connection as a browser would.
func dialWebSocket(ctx context.Context, c *controltest.Client, protocols ...string) (net.Conn, error) {
	ini, msg, err := noise.NewInitiator(c.Machine, c.ServerKey, uint16(c.Version))
	if err != nil {
		return nil, err
	}
	target := "ws" + strings.TrimPrefix(c.URL, "http") + "/ts2021?" + noiseconn.HandshakeHeader + "=" +
		url.QueryEscape(base64.StdEncoding.EncodeToString(msg))
	ws, _, err := websocket.Dial(ctx, target, &websocket.DialOptions{Subprotocols: protocols})
	if err != nil {
		return nil, err
	}
	conn := websocket.NetConn(ctx, ws, websocket.MessageBinary)
	reply := make([]byte, noise.ResponseSize)
	if _, err := io.ReadFull(conn, reply); err != nil {
		return nil, err
	}
	s, err := ini.Finish(reply)
	if err != nil {
		return nil, err
	}
	return noiseconn.New(conn, s, nil), nil
}

func TestWebSocketVariant(t *testing.T) {
	h := newHarness(t, nil)
	c := h.client("browser")
	conn, err := dialWebSocket(h.ctx, c, noiseconn.UpgradeProtocol)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	head := make([]byte, 9)
	if _, err := io.ReadFull(conn, head); err != nil || head[3] != 4 {
		t.Errorf("first HTTP/2 frame %x, %v", head, err)
	}
	if _, err := dialWebSocket(h.ctx, c, "other"); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
		t.Errorf("other subprotocol: %v", err)
	}
}

func TestOtherEndpoints(t *testing.T) {
	h := newHarness(t, nil)
	c := h.client("a")
	for _, path := range []string{"/machine/set-dns", "/machine/id-token", "/machine/feature/query", "/machine/audit-log",
		"/machine/update-health", "/machine/webclient/init/1/to/2"} {
		h.wantStatus(c, http.MethodPost, path, []byte("{}"), http.StatusNotImplemented, "not implemented")
	}
	h.wantStatus(c, http.MethodPatch, "/machine/set-device-attr", []byte("{}"), http.StatusNotImplemented, "not implemented")
	h.wantStatus(c, http.MethodGet, "/machine/tka/bootstrap", []byte("{}"), http.StatusNotImplemented, "not implemented")
	h.wantStatus(c, http.MethodGet, "/machine/whoami", nil, http.StatusNotImplemented, "not implemented")
	h.wantStatus(c, http.MethodPost, "/machine/nonsense", []byte("{}"), http.StatusNotFound, "no such endpoint")
	h.wantStatus(c, http.MethodGet, "/machine/map", nil, http.StatusMethodNotAllowed, "method")
	h.wantStatus(c, http.MethodGet, "/machine/register", nil, http.StatusMethodNotAllowed, "method")
}

func TestBadRequests(t *testing.T) {
	h := newHarness(t, nil)
	c := h.client("a")
	for _, path := range []string{"/machine/register", "/machine/map"} {
		h.wantStatus(c, http.MethodPost, path, []byte("garbage"), http.StatusBadRequest, "invalid request")
		h.wantStatus(c, http.MethodPost, path, []byte(`{"NodeKey":"nodekey:12"}`), http.StatusBadRequest, "hex digits")
		for _, version := range []int{0, 90, 112, 70000} {
			// Users see why only in an answer to register that is not an HTTP error.
			code := http.StatusBadRequest
			if path == "/machine/register" {
				code = http.StatusOK
			}
			h.wantStatus(c, http.MethodPost, path, fmt.Appendf(nil, `{"Version":%d}`, version), code, "unsupported client version")
		}
		big := []byte(`{"Version":113,"Followup":"` + strings.Repeat("x", maxBody) + `"}`)
		h.wantStatus(c, http.MethodPost, path, big, http.StatusRequestEntityTooLarge, "larger than")
	}
	if out := h.register(c, func(r *control.RegisterRequest) { r.NodeKey = key.NodePublic{} }); out.Error == "" {
		t.Errorf("register without a node key: %+v", out)
	}
}

// TestGarbageDisturbsNobody sends nonsense at every depth while another node's
// stream goes on.
func TestGarbageDisturbsNobody(t *testing.T) {
	h := newHarness(t, nil)
	a, _ := h.join("a", tailnet.AuthKeyParams{})
	w := h.poll(a)
	w.next()
	addr := h.http.Listener.Addr().String()
	raw := func(data string) {
		t.Helper()
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, data)
		c.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, c) // until the server has closed it
	}
	raw("\x00\x01\x02garbage\r\n\r\n")
	raw("POST /ts2021 HTTP/1.1\r\nHost: x\r\nUpgrade: " + noiseconn.UpgradeProtocol + "\r\n" + strings.Repeat("A: b\r\n", 300_000) + "\r\n")

	noisy := func(write func(*noiseconn.Conn, net.Conn)) {
		t.Helper()
		var under net.Conn
		c := h.client("noisy")
		c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			var err error
			under, err = new(net.Dialer).DialContext(ctx, network, addr)
			return under, err
		}
		nc, err := c.DialNoise(h.ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		write(nc, under)
		under.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, under)
	}
	noisy(func(_ *noiseconn.Conn, c net.Conn) { c.Write(bytes.Repeat([]byte{0xff}, 10_000)) })
	noisy(func(n *noiseconn.Conn, _ net.Conn) { io.WriteString(n, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") })
	noisy(func(n *noiseconn.Conn, _ net.Conn) {
		io.WriteString(n, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
		n.Write(bytes.Repeat([]byte{0xfe}, 50_000))
	})
	noisy(func(n *noiseconn.Conn, _ net.Conn) { // a frame larger than was allowed
		bw := bufio.NewWriter(n)
		io.WriteString(bw, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00\x00\x01")
		bw.Write(make([]byte, 1<<20))
		bw.Flush()
	})
	h.hub.DERPMapChanged()
	w.wantFrame(`{"DERPMap":{"Regions":{}}}`)
	if err := a.Update(h.ctx, nil); err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(h.srv.metrics.badRecords)
	eventually(t, "the record that does not open is counted", func() bool {
		list, err := reg.Gather()
		return err == nil && list[0].GetMetric()[0].GetCounter().GetValue() == 1
	})
}
