package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ginnel/ginnel/internal/tlscert"
	"github.com/ginnel/ginnel/relay/client"
	"github.com/ginnel/ginnel/server/admin"
	"github.com/ginnel/ginnel/server/control/controltest"
	"github.com/ginnel/ginnel/server/store"
	"github.com/ginnel/ginnel/server/tailnet"
	wire "github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
	"github.com/ginnel/ginnel/wire/stun"
)

// testConfig runs on loopback with ports that the kernel picks.
func testConfig(t *testing.T) Config {
	t.Helper()
	dir, err := os.MkdirTemp("", "gs") // short: it holds a unix socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c := DefaultConfig()
	c.DataDir = filepath.Join(dir, "data")
	c.Listen = []string{"127.0.0.1:0"}
	c.STUN = "127.0.0.1:0"
	c.Logger = slog.New(slog.DiscardHandler)
	return c
}

// run starts a server and stops it with the test, which wants a clean end.
func run(t *testing.T, c Config) *Server {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the server ended with: %v", err)
		}
	})
	return s
}

func get(t *testing.T, url string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	resp, err := c.Do(req)
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

// secretOf is the auth key at the end of a join command.
func secretOf(join string) string { return join[strings.LastIndexByte(join, ' ')+1:] }

// The first start of a server without any settings gives a command that joins a
// node, over one port, on plain HTTP and on TLS; a second node needs its own key.
func TestFirstStart(t *testing.T) {
	c := testConfig(t)
	s := run(t, c)
	join := s.FirstJoin()
	if !strings.HasPrefix(join, "ginnel up --login-server "+s.URL()+" --auth-key gkey-auth-") {
		t.Fatalf("join command %q", join)
	}
	node := controltest.New(controltest.Options{URL: s.URL()})
	defer node.Close()
	if err := node.Join(t.Context(), secretOf(join)); err != nil {
		t.Fatal(err)
	}
	if n := s.Tailnet().Snapshot().NodeCount(); n != 1 {
		t.Errorf("%d nodes", n)
	}
	second := controltest.New(controltest.Options{URL: strings.Replace(s.URL(), "http:", "https:", 1)})
	defer second.Close()
	if err := second.Join(t.Context(), secretOf(join)); err == nil || !strings.Contains(err.Error(), tailnet.ErrAuthKeyUsed.Error()) {
		t.Errorf("second use of the first key, over TLS: %v", err)
	}
}

// A server started again is the same server: same keys, same nodes, no new key.
func TestRestart(t *testing.T) {
	c := testConfig(t)
	var joined *controltest.Client
	var first *wire.DERPMap
	var key1 key.MachinePublic
	t.Run("first", func(t *testing.T) {
		s := run(t, c)
		first, key1 = s.DERPMap(), s.control.PublicKey()
		joined = controltest.New(controltest.Options{URL: s.URL()})
		if err := joined.Join(t.Context(), secretOf(s.FirstJoin())); err != nil {
			t.Fatal(err)
		}
		joined.Close()
	})
	s := run(t, c)
	if s.FirstJoin() != "" {
		t.Error("a second start gives a key away")
	}
	if s.control.PublicKey() != key1 {
		t.Error("the server has another key")
	}
	if a, b := first.Regions[900].Nodes[0].CertName, s.DERPMap().Regions[900].Nodes[0].CertName; a != b || a == "" {
		t.Errorf("the relay's certificate changed from %q to %q", a, b)
	}
	if n := s.Tailnet().Snapshot().NodeCount(); n != 1 {
		t.Errorf("%d nodes", n)
	}
}

// The relay map leads to the embedded relay: by its pinned certificate, for
// known nodes only.
func TestEmbeddedRelay(t *testing.T) {
	s := run(t, testConfig(t))
	region := s.DERPMap().Regions[DefaultRelayRegion]
	_, port := hostPort(s.URL())
	n := region.Nodes[0]
	if n.HostName != "127.0.0.1" || n.IPv4 != "127.0.0.1" || n.DERPPort != port || !strings.HasPrefix(n.CertName, "sha256-raw:") {
		t.Fatalf("relay node %+v", n)
	}
	priv := key.NewNode()
	dial := func() error {
		conn, err := client.Dial(t.Context(), client.Options{PrivateKey: priv, Region: region})
		if err != nil {
			return err
		}
		defer conn.Close()
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() { // answers come in by Recv; so does the end
			for {
				if _, err := conn.Recv(); err != nil {
					cancel(err)
					return
				}
			}
		}()
		_, err = conn.Ping(ctx)
		return err
	}
	if err := dial(); err == nil {
		t.Error("the relay admits a stranger")
	}
	admitNode(t, s, priv.Public())
	if err := dial(); err != nil {
		t.Errorf("the relay refuses a node: %v", err)
	}
	wrongPin := region.Clone()
	wrongPin.Nodes[0].CertName = "sha256-raw:" + strings.Repeat("00", 32)
	if _, err := client.Dial(t.Context(), client.Options{PrivateKey: priv, Region: wrongPin}); err == nil {
		t.Error("the pin pins nothing")
	}
}

// admitNode makes a node with that key.
func admitNode(t *testing.T, s *Server, k key.NodePublic) *tailnet.Node {
	t.Helper()
	r, err := s.Tailnet().Register(t.Context(), tailnet.RegisterParams{Machine: key.NewMachine().Public(), NodeKey: k, AuthKey: secretOf(s.FirstJoin())})
	if err != nil || r.Status != tailnet.Registered {
		t.Fatalf("register: %+v, %v", r, err)
	}
	return r.Node
}

func TestSTUN(t *testing.T) {
	s := run(t, testConfig(t))
	port := s.DERPMap().Regions[DefaultRelayRegion].Nodes[0].STUNPort
	c, err := net.Dial("udp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port)).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	tx := stun.TxID{1, 2, 3}
	if _, err := c.Write(stun.AppendRequest(nil, tx)); err != nil {
		t.Fatal(err)
	}
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 1500)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	if got, seen, err := stun.ParseResponse(buf[:n]); err != nil || got != tx || seen.String() != c.LocalAddr().String() {
		t.Errorf("STUN answer %x, %s, %v", got, seen, err)
	}
}

func TestVerify(t *testing.T) {
	s := run(t, testConfig(t))
	k := key.NewNode().Public()
	ask := func(body string) (int, string) {
		resp, err := http.Post(s.URL()+"/verify", "", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, strings.TrimSpace(string(text))
	}
	question := `{"NodePublic":"` + k.String() + `","Source":"192.0.2.1"}`
	if code, text := ask(question); code != 200 || text != `{"Allow":false}` {
		t.Errorf("stranger: %d %s", code, text)
	}
	n := admitNode(t, s, k)
	if code, text := ask(question); code != 200 || text != `{"Allow":true}` {
		t.Errorf("node: %d %s", code, text)
	}
	if _, err := s.Tailnet().ExpireNode(t.Context(), tailnet.Actor{}, n.ID, time.Now()); err != nil {
		t.Fatal(err)
	}
	if code, text := ask(question); code != 200 || text != `{"Allow":false}` {
		t.Errorf("expired node: %d %s", code, text)
	}
	for _, bad := range []string{"", "{", `{"NodePublic":"x"}`, `{"NodePublic":"` + strings.Repeat("x", maxVerify) + `"}`} {
		if code, _ := ask(bad); code != 400 {
			t.Errorf("%.40q: status %d", bad, code)
		}
	}
}

func TestPages(t *testing.T) {
	s := run(t, testConfig(t))
	evil := `<script>alert(1)</script>`
	r, err := s.Tailnet().Register(t.Context(), tailnet.RegisterParams{
		Machine: key.NewMachine().Public(), NodeKey: key.NewNode().Public(),
		Hostinfo: &wire.Hostinfo{Hostname: evil, OS: `" onload="x`},
	})
	if err != nil || r.Status != tailnet.LoginPending {
		t.Fatal(r, err)
	}
	code, body := get(t, s.URL()+"/register/"+r.LoginID)
	if code != 200 || !strings.Contains(body, "ginnel-server nodes approve "+r.LoginID) {
		t.Errorf("status %d: %s", code, body)
	}
	if strings.Contains(body, evil) || strings.Contains(body, `" onload="x`) || !strings.Contains(body, "&lt;script&gt;") {
		t.Errorf("the page is not escaped: %s", body)
	}
	if code, body := get(t, s.URL()+"/register/"+"%3Cscript%3E"); code != 404 || strings.Contains(body, "<script>") {
		t.Errorf("unknown login: %d %s", code, body)
	}
	for path, want := range map[string]struct {
		code int
		text string
	}{
		"/":             {200, "ginnel up --login-server " + s.URL()},
		"/healthz":      {200, "ok"},
		"/version":      {200, "."},
		"/metrics":      {200, "ginnel_tailnet_nodes"},
		"/generate_204": {204, ""},
		"/derp/probe":   {200, ""},
		"/key?v=145":    {200, "mkey:"},
		"/nothing":      {404, "404"},
		"/robots.txt":   {200, "Disallow"},
	} {
		for _, base := range []string{s.URL(), strings.Replace(s.URL(), "http:", "https:", 1)} {
			if code, body := get(t, base+path); code != want.code || !strings.Contains(body, want.text) {
				t.Errorf("%s%s: %d %.100s", base, path, code, body)
			}
		}
	}
	for _, h := range []string{"X-Forwarded-For", "Forwarded", "Via"} {
		if code, _ := get(t, s.URL()+"/metrics", h, "192.0.2.1"); code != 403 {
			t.Errorf("metrics through a proxy (%s): status %d", h, code)
		}
	}
}

func TestMetricsListen(t *testing.T) {
	c := testConfig(t)
	c.MetricsListen = "127.0.0.1:0"
	s := run(t, c)
	base := "http://" + s.metricsL.Addr().String()
	if code, body := get(t, base+"/metrics"); code != 200 || !strings.Contains(body, "ginnel_server_info") {
		t.Errorf("metrics: %d %.100s", code, body)
	}
	if code, _ := get(t, base+"/key?v=145"); code != 404 {
		t.Errorf("the metrics address serves nodes: %d", code)
	}
}

func TestUnhealthy(t *testing.T) {
	s := run(t, testConfig(t))
	s.store.Close()
	if code, body := get(t, s.URL()+"/healthz"); code != 503 || strings.Contains(body, "ok") {
		t.Errorf("health without a database: %d %s", code, body)
	}
}

func TestAdminSocket(t *testing.T) {
	c := testConfig(t)
	s := run(t, c)
	var st admin.Status
	if err := admin.NewClient(c.SocketPath()).Get(t.Context(), admin.Path("status"), &st); err != nil {
		t.Fatal(err)
	}
	if st.URL != s.URL() || st.Users != 1 || st.Relay == "" || st.STUN == "" || len(st.Listen) != 1 {
		t.Errorf("status %+v", st)
	}
	var backup bytes.Buffer
	if _, err := admin.NewClient(c.SocketPath()).Backup(t.Context(), &backup); err != nil || !strings.HasPrefix(backup.String(), "SQLite format 3") {
		t.Errorf("backup: %v, %d bytes", err, backup.Len())
	}
	left, err := filepath.Glob(filepath.Join(c.DataDir, ".backup-*"))
	if err != nil || len(left) != 0 {
		t.Errorf("the backup left %v, %v", left, err)
	}
}

// What stands in the way of a start is said with the setting that helps.
func TestStartErrors(t *testing.T) {
	c := testConfig(t)
	s := run(t, c)
	taken := s.Addrs()[0].String()
	other := func(change func(*Config)) error {
		t.Helper()
		c := testConfig(t)
		change(&c)
		s, err := New(c)
		if err == nil {
			s.Close()
			t.Fatal("the server starts")
		}
		// Nothing stays open: the directory can be used at once.
		if _, statErr := os.Stat(c.DataDir); statErr == nil && c.DataDir != s.dataDir() {
			st, err := store.Open(c.DataDir)
			if err != nil {
				t.Errorf("after a failed start: %v", err)
			} else {
				st.Close()
			}
		}
		return err
	}
	for name, tt := range map[string]struct {
		change func(*Config)
		want   []string
	}{
		"address in use":  {func(c *Config) { c.Listen = []string{taken} }, []string{taken, "uses the address already", "--listen"}},
		"metrics in use":  {func(c *Config) { c.MetricsListen = taken }, []string{taken, "--metrics-listen"}},
		"STUN in use":     {func(c *Config) { c.STUN = s.stun.LocalAddr().String() }, []string{"--stun", "do without"}},
		"foreign address": {func(c *Config) { c.Listen = []string{"192.0.2.77:0"} }, []string{"does not have that address"}},
		"long socket":     {func(c *Config) { c.Socket = filepath.Join(c.DataDir, strings.Repeat("x", 100)) }, []string{"--socket"}},
		"bad setting":     {func(c *Config) { c.BaseDomain = "x" }, []string{"base-domain"}},
	} {
		err := other(tt.change)
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not say %q", name, err, want)
			}
		}
	}
	if _, err := New(c); err == nil || !strings.Contains(err.Error(), "another ginnel-server") {
		t.Errorf("second server on one directory: %v", err)
	}
	var st admin.Status
	if err := admin.NewClient(c.SocketPath()).Get(t.Context(), admin.Path("status"), &st); err != nil {
		t.Errorf("the second server took the first one's socket: %v", err)
	}
}

// dataDir is the data directory, also of no server.
func (s *Server) dataDir() string {
	if s == nil {
		return ""
	}
	return s.cfg.DataDir
}

func TestRelayOff(t *testing.T) {
	c := testConfig(t)
	c.Relay, c.STUN = false, ""
	c.DERPMapFile = filepath.Join(t.TempDir(), "derp.json")
	text := `{"Regions": {"901": {"RegionID": 901, "RegionCode": "x", "RegionName": "X", // one of ours
		"Nodes": [{"Name": "901a", "RegionID": 901, "HostName": "relay.example.com"}]}}}`
	if err := os.WriteFile(c.DERPMapFile, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := run(t, c)
	if m := s.DERPMap(); len(m.Regions) != 1 || m.Regions[901] == nil {
		t.Errorf("relay map %+v", m)
	}
	if code, _ := get(t, s.URL()+"/derp/probe"); code != 404 {
		t.Errorf("a relay that is off answers %d", code)
	}
}

func TestTLSFiles(t *testing.T) {
	c := testConfig(t)
	pemText, err := tlscert.SelfSigned("test", time.Now(), "mesh.example.com")
	if err != nil {
		t.Fatal(err)
	}
	c.TLSCert = filepath.Join(t.TempDir(), "cert.pem")
	c.TLSKey, c.URL = c.TLSCert, "https://mesh.example.com:7443"
	if err := os.WriteFile(c.TLSCert, pemText, 0o600); err != nil {
		t.Fatal(err)
	}
	s := run(t, c)
	n := s.DERPMap().Regions[DefaultRelayRegion].Nodes[0]
	if n.HostName != "mesh.example.com" || n.DERPPort != 7443 || !strings.HasPrefix(n.CertName, "sha256-raw:") || n.IPv4 != "" {
		t.Errorf("relay node %+v", n)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pemText)
	conn, err := tls.Dial("tcp", s.Addrs()[0].String(), &tls.Config{RootCAs: roots, ServerName: "mesh.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if p := conn.ConnectionState().NegotiatedProtocol; p == "h2" {
		t.Error("HTTP/2 was negotiated")
	}
}

func TestPublicHTTPSBehindProxy(t *testing.T) {
	c := testConfig(t)
	c.URL = "https://mesh.example.com"
	s := run(t, c)
	n := s.DERPMap().Regions[DefaultRelayRegion].Nodes[0]
	if n.CertName != "" || n.DERPPort != 443 || n.HostName != "mesh.example.com" {
		t.Errorf("relay node %+v", n)
	}
	if s.URL() != c.URL {
		t.Errorf("URL %s", s.URL())
	}
}

// Connections that say nothing or nonsense disturb nobody.
func TestStrangeConnections(t *testing.T) {
	s := run(t, testConfig(t))
	addr := s.Addrs()[0].String()
	var silent []net.Conn
	for range 20 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		silent = append(silent, c)
	}
	for _, garbage := range []string{"\x00\x01\x02", "\x16\x03\x01\xff\xff" + strings.Repeat("\xff", 300), "GET / HTTP/9.9\r\n\r\n", "\x16"} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, garbage)
		c.(*net.TCPConn).CloseWrite()
		c.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.ReadAll(c); err != nil && os.IsTimeout(err) {
			t.Errorf("%.10q: the connection stays open", garbage)
		}
		c.Close()
	}
	if code, _ := get(t, s.URL()+"/healthz"); code != 200 {
		t.Errorf("health %d", code)
	}
	_ = silent
}

// eventually polls a condition.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestAuditKeep(t *testing.T) {
	c := testConfig(t)
	c.AuditKeep = time.Nanosecond
	s := run(t, c)
	eventually(t, "old audit records go", func() bool {
		records, err := s.Tailnet().Audit(t.Context(), tailnet.DefaultTailnet, 0, 10)
		return err == nil && len(records) == 0
	})
}

func TestRelayMapFileRoundTrip(t *testing.T) {
	// The form of the relay map that an operator's file has is the protocol's.
	m, err := relayMap(&relayPlace{region: 900, host: "2001:db8::1", port: 443, stunPort: -1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "derp.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	back, err := readDERPMap(file)
	if err != nil || back.Regions[900].Nodes[0].IPv6 != "2001:db8::1" || back.Regions[900].Nodes[0].IPv4 != "none" {
		t.Errorf("%+v, %v", back, err)
	}
	if _, err := relayMap(&relayPlace{region: 900, host: "x", port: 443}, back); err == nil {
		t.Error("two relays share a region number")
	}
}

// A node whose resolver fails finds the server by its relay.
func TestBootstrapDNS(t *testing.T) {
	c := testConfig(t)
	c.URL = "http://localhost.localdomain:8080"
	s := run(t, c)
	if code, body := get(t, "https://"+s.Addrs()[0].String()+"/bootstrap-dns?q=localhost.localdomain"); code != http.StatusOK || !strings.HasPrefix(body, "{") {
		t.Errorf("%d %s", code, body)
	}
	for url, want := range map[string]int{"http://mesh.example.com": 1, "http://192.0.2.1:8080": 0, "https://[2001:db8::1]": 0, "http://localhost:80": 0} {
		if got := (&Server{url: url}).ownNames(); len(got) != want {
			t.Errorf("%s: names %q", url, got)
		}
	}
}
