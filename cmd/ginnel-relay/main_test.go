package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ginnel/ginnel/relay/client"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
	"github.com/ginnel/ginnel/wire/stun"
)

// running is the program in this process.
type running struct {
	region *control.DERPRegion
	stop   func()
}

// logs is a writer for a program's log.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

// start runs the program until stop or the end of the test.
func start(t *testing.T, dir string, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	pr, pw := io.Pipe()
	done := make(chan error, 1)
	log := &logs{}
	args = append([]string{"-listen", "127.0.0.1:0", "-stun-listen", "127.0.0.1:0", "-data-dir", dir}, args...)
	go func() {
		err := run(ctx, args, pw, log)
		pw.CloseWithError(errors.New("the program ended"))
		done <- err
	}()
	var regions map[string]*control.DERPRegion
	if err := json.NewDecoder(pr).Decode(&regions); err != nil {
		t.Fatalf("%v: %v\n%s", err, <-done, &log.b)
	}
	go io.Copy(io.Discard, pr)
	r := &running{}
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the program ended with %v", err)
		}
	})
	t.Cleanup(r.stop)
	for _, region := range regions {
		r.region = region
	}
	return r
}

// dial connects a client by the printed region, as a node would.
func (r *running) dial(t *testing.T, priv key.NodePrivate) *client.Conn {
	t.Helper()
	c, err := client.Dial(context.Background(), client.Options{PrivateKey: priv, Region: r.region})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// get asks for a path of the relay's TLS port.
func (r *running) get(t *testing.T, path string, header ...string) *http.Response {
	t.Helper()
	hc := &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	n := r.region.Nodes[0]
	req, err := http.NewRequest("GET", "https://"+net.JoinHostPort(n.HostName, itoa(n.DERPPort))+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := hc.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

func TestServes(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir)
	aKey, bKey := key.NewNode(), key.NewNode()
	a, b := r.dial(t, aKey), r.dial(t, bKey)
	if m, err := b.Recv(); err != nil || m.Kind != client.KindConnected {
		t.Fatal(m, err)
	}
	if err := a.SendBatch(bKey.Public(), [][]byte{[]byte("hi")}); err != nil {
		t.Fatal(err)
	}
	if m, err := b.Recv(); err != nil || m.Peer != aKey.Public() || string(m.Data) != "hi" {
		t.Fatal(m, err)
	}
	askSTUN(t, r.region.Nodes[0])
	for path, want := range map[string]int{"/": 200, "/robots.txt": 200, "/generate_204": 204, "/derp/probe": 200, "/derp": 426, "/nothing": 404} {
		if res := r.get(t, path); res.StatusCode != want {
			t.Errorf("%s: status %s, want %d", path, res.Status, want)
		}
	}
	if h := r.get(t, "/").Header.Get("X-Frame-Options"); h != "DENY" {
		t.Errorf("X-Frame-Options %q", h)
	}
	text, err := io.ReadAll(r.get(t, "/debug/metrics").Body)
	if err != nil || !strings.Contains(string(text), "derp_packets_sent 1") || !strings.Contains(string(text), "stun_requests") {
		t.Errorf("metrics: %v\n%.300s", err, text)
	}
	if res := r.get(t, "/debug/metrics", "X-Forwarded-For", "127.0.0.1"); res.StatusCode != 403 {
		t.Errorf("metrics through a proxy: %s", res.Status)
	}
	// The same identity and certificate after a restart.
	server, pin := a.ServerPublicKey(), r.region.Nodes[0].CertName
	r.stop()
	r = start(t, dir)
	if c := r.dial(t, aKey); c.ServerPublicKey() != server || r.region.Nodes[0].CertName != pin {
		t.Error("key or certificate changed over a restart")
	}
	for _, name := range []string{"relay.key", "self-signed.pem"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

// askSTUN checks that the STUN server answers.
func askSTUN(t *testing.T, n *control.DERPNode) {
	t.Helper()
	c, err := net.Dial("udp", net.JoinHostPort(n.HostName, itoa(n.STUNPort)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	c.Write(stun.AppendRequest(nil, stun.TxID{1}))
	buf := make([]byte, 100)
	m, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	if _, addr, err := stun.ParseResponse(buf[:m]); err != nil || addr.String() != c.LocalAddr().String() {
		t.Errorf("STUN told %v, %v; am %v", addr, err, c.LocalAddr())
	}
}

func TestDebugIsLocal(t *testing.T) {
	h := localOnly(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for from, want := range map[string]int{"127.0.0.1:1": 200, "[::1]:1": 200, "[::ffff:127.0.0.1]:1": 200, "203.0.113.7:1": 403, "nonsense": 403} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "/debug/pprof/", nil)
		r.RemoteAddr = from
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("from %s: %d, want %d", from, w.Code, want)
		}
	}
}

func TestMeshOfTwo(t *testing.T) {
	meshKey := filepath.Join(t.TempDir(), "mesh.key")
	if err := os.WriteFile(meshKey, []byte(key.NewMeshKey().SecretText()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	host := func(r *running) string {
		return "127.0.0.1:" + itoa(r.region.Nodes[0].DERPPort) + "=" + r.region.Nodes[0].CertName
	}
	one := start(t, t.TempDir(), "-mesh-key-file", meshKey)
	two := start(t, t.TempDir(), "-mesh-key-file", meshKey, "-mesh-with", host(one))
	a, bKey := two.dial(t, key.NewNode()), key.NewNode()
	b := one.dial(t, bKey)
	got := make(chan client.Message)
	go func() {
		for {
			m, err := b.Recv()
			if err != nil {
				return
			}
			if m.Kind == client.KindPacket {
				got <- m
				return
			}
		}
	}()
	for end := time.Now().Add(20 * time.Second); ; {
		if err := a.SendBatch(bKey.Public(), [][]byte{[]byte("over the mesh")}); err != nil {
			t.Fatal(err)
		}
		select {
		case m := <-got:
			if string(m.Data) != "over the mesh" {
				t.Errorf("got %q", m.Data)
			}
			return
		case <-time.After(20 * time.Millisecond):
			if time.Now().After(end) {
				t.Fatal("nothing came over the mesh")
			}
		}
	}
}

func TestAcceptLimit(t *testing.T) {
	r := start(t, t.TempDir(), "-accept-limit", "0.001", "-accept-burst", "1")
	r.dial(t, key.NewNode())
	_, err := client.Dial(context.Background(), client.Options{PrivateKey: key.NewNode(), Region: r.region})
	if err == nil {
		t.Error("a second connection within the limit of one was taken")
	}
}

func TestErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad")
	if err := os.WriteFile(bad, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	free := []string{"-listen", "127.0.0.1:0", "-stun-listen", "", "-data-dir", dir}
	for want, args := range map[string][]string{
		"another program has this address":  {"--listen", taken.Addr().String()},
		"bad holds no key":                  {"--key-file", bad},
		"mesh key":                          {"--mesh-key-file", bad},
		"no such file":                      {"--mesh-key-file", filepath.Join(dir, "none")},
		"--mesh-with needs --mesh-key-file": {"--mesh-with", "a.example"},
		`mesh peer "/x"`:                    {"--mesh-with", "/x", "--mesh-key-file", bad},
		"needs --cert and --cert-key":       {"--cert-mode", "manual"},
		"certificate":                       {"--cert-mode", "manual", "--cert", bad, "--cert-key", bad, "--hostname", "a.example"},
		"public DNS name":                   {"--cert-mode", "acme", "--hostname", "203.0.113.1"},
		`--cert-mode "magic"`:               {"--cert-mode", "magic"},
		`--listen "443"`:                    {"--listen", "443"},
		"--verify-client-url":               {"--verify-client-url", "nonsense"},
		"--home":                            {"--home", "nonsense"},
		"--region-id 0":                     {"--region-id", "0"},
		"--log-level":                       {"--log-level", "loud"},
		"--log-format":                      {"--log-format", "xml"},
		"--write-timeout":                   {"--write-timeout", "0s"},
		"QueueBytes":                        {"--queue-bytes", "10"},
		"--accept-limit":                    {"--accept-limit", "-1"},
		"unknown subcommand: now":           {"now"},
		"unknown flag: --x":                 {"--x"}, "Did you mean --hostname?": {"-hostnam", "a"},
	} {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // whatever wrongly starts ends at once
		err := run(ctx, append(free, args...), io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one about %q", args, err, want)
		}
	}
}

func TestHelpAndVersion(t *testing.T) {
	for arg, want := range map[string]string{
		"--help": "USAGE\n  ginnel-relay [flags]", "-help": "--stun-listen address\n", "--version": "go version", "version": "go version",
	} {
		var out bytes.Buffer
		if err := run(context.Background(), []string{arg}, &out, io.Discard); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("%s: %v, %q", arg, err, &out)
		}
	}
}

func TestVerifyFlag(t *testing.T) {
	good := key.NewNode()
	admission := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		json.NewEncoder(w).Encode(map[string]bool{"Allow": strings.Contains(string(text), good.Public().String())})
	}))
	defer admission.Close()
	r := start(t, t.TempDir(), "-verify-client-url", admission.URL)
	if m, err := r.dial(t, good).Recv(); err != nil || m.Kind != client.KindConnected {
		t.Errorf("known client: %v, %v", m.Kind, err)
	}
	if m, err := r.dial(t, key.NewNode()).Recv(); err == nil {
		t.Errorf("unknown client was admitted: %v", m.Kind)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("GINNEL_RELAY_REGION_ID", "907")
	if r := start(t, t.TempDir(), "-region-code", "lab"); r.region.RegionID != 907 || r.region.RegionCode != "lab" {
		t.Errorf("region %+v", r.region)
	}
}

func TestPlainPort(t *testing.T) {
	s := &service{cfg: &config{}, cert: &certSource{}}
	h := s.plainHandler()
	for _, c := range []struct {
		method, path, location string
		status                 int
	}{
		{"GET", "/generate_204", "", 204},
		{"GET", "/x?y=1", "https://relay.example/x?y=1", 302},
		{"POST", "/x", "", 400},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(c.method, "http://relay.example:80"+c.path, nil))
		if w.Code != c.status || w.Header().Get("Location") != c.location {
			t.Errorf("%s %s: %d to %q", c.method, c.path, w.Code, w.Header().Get("Location"))
		}
	}
}
