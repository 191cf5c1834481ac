package relay

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"

	rclient "github.com/ginnel/ginnel/relay/client"
	"github.com/ginnel/ginnel/wire/key"
	wire "github.com/ginnel/ginnel/wire/relay"
)

// bufConn reads what a bufio.Reader has left first.
type bufConn struct {
	net.Conn
	br *bufio.Reader
}

func (c bufConn) Read(b []byte) (int, error) { return c.br.Read(b) }

// TestStarts starts the protocol over plain HTTP in each raw way, with the first
// frame in the same write as the request, so that it is in the HTTP server's buffer.
func TestStarts(t *testing.T) {
	s := newServer(t, Config{})
	srv := httptest.NewServer(s.Handler())
	defer srv.Close()
	for name, c := range map[string]struct {
		headers string
		fast    bool
	}{
		"normal":        {"Upgrade: DERP\r\n", false},
		"old WebSocket": {"Upgrade: WebSocket\r\n", false},
		"fast":          {"Upgrade: derp\r\nDerp-Fast-Start: 1\r\n", true},
		"nearly fast":   {"Upgrade: DERP\r\nDerp-Fast-Start: true\r\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			nc, err := net.Dial("tcp", srv.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			nc.SetDeadline(time.Now().Add(10 * time.Second))
			priv := key.NewNode()
			out := []byte("GET /derp HTTP/1.1\r\nHost: x:1\r\nConnection: Upgrade\r\n" + c.headers + "\r\n")
			if out, err = wire.AppendClientInfo(out, priv, s.PublicKey(), wire.ClientInfo{}); err != nil {
				t.Fatal(err)
			}
			if _, err := nc.Write(wire.AppendPing(out, [8]byte{5})); err != nil {
				t.Fatal(err)
			}
			br := bufio.NewReader(nc)
			if !c.fast {
				res, err := http.ReadResponse(br, nil)
				if err != nil {
					t.Fatal(err)
				}
				if res.StatusCode != 101 || res.Header.Get("Derp-Version") != "2" ||
					res.Header.Get("Derp-Public-Key") != s.PublicKey().UntypedHex() || !strings.EqualFold(res.Header.Get("Upgrade"), "derp") {
					t.Errorf("response %+v", res)
				}
			}
			p := &pipeClient{t: t, nc: bufConn{nc, br}, priv: priv, key: priv.Public()}
			p.expect(wire.AppendServerKey(nil, s.PublicKey()))
			p.expectServerInfo(s)
			p.expect(wire.AppendPong(nil, [8]byte{5}))
		})
	}
}

func TestWebSocket(t *testing.T) {
	s := newServer(t, Config{})
	srv := httptest.NewServer(s.Handler())
	defer srv.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ws, res, err := websocket.Dial(ctx, srv.URL+"/derp", &websocket.DialOptions{
		Subprotocols: []string{"derp"}, HTTPHeader: http.Header{"Origin": {"https://elsewhere.example"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	if ws.Subprotocol() != "derp" || res.Header.Get("Sec-WebSocket-Extensions") != "" {
		t.Errorf("response %v", res.Header)
	}
	priv := key.NewNode()
	p := &pipeClient{t: t, nc: websocket.NetConn(ctx, ws, websocket.MessageBinary), priv: priv, key: priv.Public()}
	// The default limit of a message, which the relay must keep to.
	ws.SetReadLimit(wire.MaxWebSocketWrite)
	p.expect(wire.AppendServerKey(nil, s.PublicKey()))
	introduce(p, s, `{}`)
	p.expectServerInfo(s)
	other := plain(t, s)
	big := bytes.Repeat([]byte{3}, wire.MaxPacketData)
	other.packet(p.key, big)
	p.expectPacket(other.key, big)
	p.packet(other.key, big)
	other.expectPacket(p.key, big)
	p.nc.Close()
	other.expect(wire.AppendPeerGone(nil, p.key, wire.GoneDisconnected))
}

func TestHTTPPaths(t *testing.T) {
	s := newServer(t, Config{})
	h := s.Handler()
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/derp", 426}, {"POST", "/derp", 426},
		{"GET", "/derp/probe", 200}, {"HEAD", "/derp/latency-check", 200},
		{"POST", "/derp/probe", 405}, {"GET", "/derp/other", 404}, {"GET", "/", 404},
		{"GET", "/generate_204", 204}, {"POST", "/generate_204", 204},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(c.method, c.path, nil))
		if w.Code != c.status {
			t.Errorf("%s %s: status %d, want %d", c.method, c.path, w.Code, c.status)
		}
		if c.status == 200 && (w.Header().Get("Access-Control-Allow-Origin") != "*" || w.Body.Len() != 0) {
			t.Errorf("%s %s: %v %q", c.method, c.path, w.Header(), w.Body)
		}
	}
	w := httptest.NewRecorder() // a writer that cannot be taken over, as with HTTP/2
	r := httptest.NewRequest("GET", "/derp", nil)
	r.Header.Set("Upgrade", "DERP")
	h.ServeHTTP(w, r)
	if w.Code != 500 {
		t.Errorf("upgrade without a connection: status %d", w.Code)
	}
}

func TestChallenge(t *testing.T) {
	for challenge, want := range map[string]string{
		"":                      "",
		"ts_relay.example":      "response ts_relay.example",
		"a-Z_0.9:":              "response a-Z_0.9:",
		strings.Repeat("a", 64): "response " + strings.Repeat("a", 64),
		strings.Repeat("a", 65): "",
		"a b":                   "",
		"a/b":                   "",
		"é":                     "",
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "/generate_204", nil)
		r.Header.Set("X-Tailscale-Challenge", challenge)
		ServeConnectivity(w, r)
		if got := w.Header().Get("X-Tailscale-Response"); w.Code != 204 || got != want {
			t.Errorf("challenge %q: %d %q, want %q", challenge, w.Code, got, want)
		}
	}
}

func TestMetaCert(t *testing.T) {
	s := newServer(t, Config{})
	cert := selfSigned(t)
	get := func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil }
	for name, cfg := range map[string]*tls.Config{
		"static":             {Certificates: []tls.Certificate{cert}},
		"GetCertificate":     {GetCertificate: get},
		"GetConfigForClient": {GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return &tls.Config{GetCertificate: get}, nil }},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := tls.Listen("tcp", "127.0.0.1:0", s.AppendMetaCert(cfg))
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				if nc, err := l.Accept(); err == nil {
					nc.(*tls.Conn).Handshake()
					nc.Close()
				}
			}()
			nc, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true})
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			certs := nc.ConnectionState().PeerCertificates
			if len(certs) != 2 || !bytes.Equal(certs[0].Raw, cert.Certificate[0]) {
				t.Fatalf("%d certificates", len(certs))
			}
			checkMeta(t, certs[1], s.PublicKey())
		})
	}
	if len(cert.Certificate) != 1 {
		t.Error("the certificate given was changed")
	}
}

func checkMeta(t *testing.T, c *x509.Certificate, server key.NodePublic) {
	t.Helper()
	if c.Subject.CommonName != "derpkey"+server.UntypedHex() || c.SerialNumber.Cmp(big.NewInt(2)) != 0 {
		t.Errorf("meta certificate %q, serial %v", c.Subject.CommonName, c.SerialNumber)
	}
	if !c.BasicConstraintsValid || c.IsCA || c.PublicKeyAlgorithm != x509.Ed25519 {
		t.Errorf("meta certificate: constraints %v, CA %v, %v", c.BasicConstraintsValid, c.IsCA, c.PublicKeyAlgorithm)
	}
	if d := c.NotAfter.Sub(c.NotBefore); d != 60*24*time.Hour || time.Until(c.NotAfter) < 29*24*time.Hour {
		t.Errorf("meta certificate valid from %v to %v", c.NotBefore, c.NotAfter)
	}
}

// TestEndToEnd goes through TLS, with the client package, a corked listener and
// metrics.
func TestEndToEnd(t *testing.T) {
	reg := prometheus.NewRegistry()
	r := startRelay(t, Config{Metrics: reg})
	bKey := key.NewNode()
	a, b := r.dial(t, rclient.Options{}), r.dial(t, rclient.Options{PrivateKey: bKey, Home: true})
	var pkts [][]byte
	for i := range 300 {
		pkts = append(pkts, fmt.Appendf(bytes.Repeat([]byte{1}, i), "packet %d", i))
	}
	if err := a.SendBatch(bKey.Public(), pkts); err != nil {
		t.Fatal(err)
	}
	for i, want := range pkts {
		m, err := b.Recv()
		if err != nil || m.Kind != rclient.KindPacket || !bytes.Equal(m.Data, want) {
			t.Fatalf("message %d: kind %v, %q, %v", i, m.Kind, m.Data, err)
		}
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.Metric {
			got[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	for name, want := range map[string]float64{
		"derp_current_connections": 2, "derp_current_home_connections": 1, "derp_clients_local": 2, "derp_clients_remote": 0,
		"derp_packets_received": 300, "derp_packets_dropped": 0, "derp_accepts": 2,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("metric %s is %v, want %v", name, v, want)
		}
	}
	if err := r.Server.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Recv(); err == nil {
		t.Error("the connection outlived the relay")
	}
}
