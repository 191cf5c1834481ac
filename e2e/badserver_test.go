//go:build linux

package e2e

import (
	"context"
	"crypto/rand"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ginnel/ginnel/e2e/lab"
)

// runToEnd starts a program that is expected to end by itself, and returns its
// output and exit code.
func runToEnd(t *testing.T, host *lab.Host, env []string, args ...string) (out string, code int) {
	t.Helper()
	p := host.Start(env, args...)
	select {
	case <-p.Done():
	case <-time.After(patience):
		t.Fatalf("still running after %v: %s", patience, p.Name)
	}
	return p.Log(), p.ExitCode()
}

// expectRefusal expects a program to end with code 1, or 2 for a mistaken
// command line, and to say each of the words; alternatives are separated by "|".
func expectRefusal(t *testing.T, out string, code int, words ...string) {
	t.Helper()
	if code != 1 && code != 2 {
		t.Errorf("exit code %d, want 1 or 2", code)
	}
	expectWords(t, out, words...)
	if strings.Contains(out, "goroutine ") {
		t.Errorf("the program panicked:\n%s", out)
	}
}

func expectWords(t *testing.T, out string, words ...string) {
	t.Helper()
	for _, w := range words {
		found := false
		for alt := range strings.SplitSeq(w, "|") {
			found = found || strings.Contains(strings.ToLower(out), strings.ToLower(alt))
		}
		if !found {
			t.Errorf("the message does not mention %q:\n%s", w, out)
		}
	}
}

func TestServerRefusesToStart(t *testing.T) {
	n := newLAN(t)
	dir := n.lab.Dir()
	notDir := filepath.Join(dir, "file")
	if err := os.WriteFile(notDir, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "config.json")
	if err := os.WriteFile(config, []byte(`{"lisen": ":1"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	fresh := func() string { return filepath.Join(t.TempDir(), "data") }
	for _, c := range []struct {
		name  string
		args  []string
		words []string
	}{
		{"address in use", []string{"--data-dir", fresh(), "--listen", ":8080", "--stun", ":0"}, []string{":8080", "in use|uses the address"}},
		{"STUN address in use", []string{"--data-dir", fresh(), "--listen", ":8081"}, []string{":3478", "in use|uses the address"}},
		{"address of another machine", []string{"--data-dir", fresh(), "--listen", "192.0.2.77:80"}, []string{"192.0.2.77:80"}},
		{"data directory of a running server", []string{"--data-dir", n.server.dir, "--listen", ":8081", "--stun", ":0"}, []string{n.server.dir, "another|already|second"}},
		{"data directory is a file", []string{"--data-dir", notDir, "--listen", ":8081"}, []string{notDir, "directory"}},
		{"data directory cannot be made", []string{"--data-dir", "/proc/nothing/here", "--listen", ":8081"}, []string{"/proc/nothing"}},
		{"unknown flag", []string{"--lisen", ":8081"}, []string{"lisen", "listen"}},
		{"unknown command", []string{"nods"}, []string{"nods", "nodes"}},
		{"unknown setting in the file", []string{"--config", config}, []string{config, "lisen", "listen"}},
		{"no configuration file", []string{"--config", config + ".missing"}, []string{config + ".missing"}},
		{"range outside the protocol's", []string{"--data-dir", fresh(), "--ipv4-range", "10.0.0.0/8"}, []string{"ipv4", "10.0.0.0/8", "100.64.0.0/10"}},
		{"half a certificate", []string{"--data-dir", fresh(), "--tls-cert", notDir}, []string{"tls-key"}},
		{"check finds it too", []string{"check", "--ephemeral-timeout", "1s"}, []string{"ephemeral-timeout"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, code := runToEnd(t, n.server.host, nil, append([]string{program("ginnel-server")}, c.args...)...)
			expectRefusal(t, out, code, c.words...)
		})
	}
	if err := n.server.healthy(); err != nil {
		t.Errorf("the running server was disturbed: %v", err)
	}
}

func TestAdminWithoutServer(t *testing.T) {
	host := lab.New(t).Host("server")
	out, code := runToEnd(t, host, nil, program("ginnel-server"), "nodes", "list", "--data-dir", t.TempDir())
	expectRefusal(t, out, code, "running")
}

// TestServerSurvivesGarbage sends nonsense to every listener of a server while
// a node is connected, and expects that nothing else is disturbed.
func TestServerSurvivesGarbage(t *testing.T) {
	n := newLAN(t)
	a, b := n.pair(t)
	a.waitReach(b)
	random := make([]byte, 64<<10)
	rand.Read(random)
	const upgrade = "Connection: Upgrade\r\nHost: x\r\n"
	for name, data := range map[string][]byte{
		"nothing":          {},
		"random":           random,
		"TLS":              append([]byte{0x16, 3, 1, 0xff, 0xff}, random...),
		"endless header":   append([]byte("GET / HTTP/1.1\r\nX: "), []byte(strings.Repeat("x", 4<<20))...),
		"bad handshake":    []byte("POST /ts2021 HTTP/1.1\r\n" + upgrade + "Upgrade: tailscale-control-protocol\r\nX-Tailscale-Handshake: AAAA\r\n\r\n"),
		"no handshake":     []byte("POST /ts2021 HTTP/1.1\r\n" + upgrade + "Upgrade: tailscale-control-protocol\r\n\r\n"),
		"relay frame bomb": append([]byte("GET /derp HTTP/1.1\r\n"+upgrade+"Upgrade: DERP\r\n\r\n"), 2, 0xff, 0xff, 0xff, 0xff),
		"unknown path":     []byte("GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			conn := dialTCP(t, a.host, "10.9.0.1:8080")
			expectClosed(t, conn, data, "root:")
			if err := n.server.healthy(); err != nil {
				t.Errorf("the server is not well: %v", err)
			}
		})
	}
	for range 50 {
		sendUDP(t, a.host, "10.9.0.1:3478", random[:1200])
	}
	socket, err := net.Dial("unix", filepath.Join(n.server.dir, "admin.sock"))
	if err != nil {
		t.Fatal(err)
	}
	expectClosed(t, socket, random, "root:")
	for _, l := range n.server.nodes() {
		if !l.Online {
			t.Errorf("node %s was disconnected", l.Name)
		}
	}
	if out, err := a.ping(b); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func dialTCP(t *testing.T, from *lab.Host, addr string) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	conn, err := from.DialContext(ctx, "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// expectClosed sends data, ends its side, and expects the other to close the
// connection without saying the forbidden text.
func expectClosed(t *testing.T, conn net.Conn, data []byte, forbidden string) {
	t.Helper()
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	conn.Write(data) // may be cut off: that is what is wanted
	if c, ok := conn.(interface{ CloseWrite() error }); ok {
		c.CloseWrite()
	}
	var answer strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		answer.Write(buf[:n])
		if ne, ok := err.(net.Error); ok && ne.Timeout() {
			t.Fatalf("the connection is still open after %v", patience)
		}
		if err != nil {
			break
		}
	}
	if strings.Contains(answer.String(), forbidden) {
		t.Errorf("answered %q", answer.String())
	}
}

func sendUDP(t *testing.T, from *lab.Host, addr string, data []byte) {
	t.Helper()
	conn, err := from.DialContext(t.Context(), "udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(data); err != nil {
		t.Fatal(err)
	}
}
