//go:build linux

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ginnel/ginnel/e2e/lab"
	"github.com/ginnel/ginnel/internal/netlab"
)

// upFails runs `ginnel up` and expects it to fail with the words. The timeout is
// how long the command tries where trying again may help.
func upFails(t *testing.T, n *node, timeout, url, key string, words ...string) {
	t.Helper()
	args := []string{program("ginnel"), "--socket", n.socket, "up", "--login-server", url, "--timeout", timeout, "--reset", "--force-reauth"}
	if key != "" {
		args = append(args, "--auth-key", key)
	}
	out, code := runToEnd(t, n.host, nil, args...)
	expectRefusal(t, out, code, words...)
	if st := n.status(); st.BackendState == "Running" {
		t.Errorf("the node is %s after a refused join", st.BackendState)
	}
}

func TestBadAuthKeys(t *testing.T) {
	t.Parallel()
	n := newLAN(t)
	used := n.server.authKey()
	join(t, n.lab, n.server, n.host("first", "11"), used)
	revoked := n.server.authKey()
	n.server.mustAdmin("authkeys", "revoke", strings.Split(revoked, "-")[2])
	expired := n.server.authKey("--expiry", "1s")
	lab.Eventually(t, patience, "a key expires", func() error {
		out := n.server.mustAdmin("authkeys", "list")
		if !strings.Contains(out, "expired") {
			return fmt.Errorf("not yet:\n%s", out)
		}
		return nil
	})
	nd := startNode(t, n.lab, n.host("second", "12"))
	for name, c := range map[string]struct{ key, word string }{
		"wrong":   {"gkey-auth-1-" + strings.Repeat("a", 52), "invalid|not valid"},
		"no key":  {"nonsense", "invalid|not valid"},
		"used":    {used, "used"},
		"revoked": {revoked, "revoked"},
		"expired": {expired, "expired"},
	} {
		t.Run(name, func(t *testing.T) { upFails(t, nd, "8s", n.server.url, c.key, "key", c.word) })
	}
	nd.up(n.server, n.key) // and a good key still works
}

func TestBadServers(t *testing.T) {
	t.Parallel()
	n := newLAN(t)
	nd := startNode(t, n.lab, n.host("a", "11"))
	// Nobody answers DNS here; the resolver is to know at once.
	nd.host.Apply(netlab.Rules{Name: "nodns", Body: "chain out { type filter hook output priority 0; meta l4proto { tcp, udp } th dport 53 reject; }"})
	world := n.host("world", "12")
	serveHTTP(t, world, "10.9.0.12:80", nil)
	cert, _ := certificate(t, time.Now().Add(-time.Hour))
	serveHTTP(t, world, "10.9.0.12:443", &cert)
	for name, c := range map[string]struct {
		url   string
		words []string
	}{
		"nobody there":       {"http://10.9.0.99:8080", []string{"10.9.0.99"}},
		"nobody listening":   {"http://10.9.0.12:9", []string{"10.9.0.12:9", "refused"}},
		"no such server":     {"http://10.9.0.12", []string{"10.9.0.12"}},
		"unknown authority":  {"https://10.9.0.12", []string{"certificate"}},
		"unknown host":       {"http://no-such-host.invalid:8080", []string{"no-such-host.invalid"}},
		"not a URL":          {"10.9.0.1:8080", []string{"http"}},
		"not a URL's scheme": {"ftp://10.9.0.1", []string{"http"}},
	} {
		t.Run(name, func(t *testing.T) { upFails(t, nd, "8s", c.url, "some-key", c.words...) })
	}
	nd.up(n.server, n.key)
}

// TestClockWildlyOff meets a server whose certificate is only valid in years:
// to the node its own clock is wrong, and it says so.
func TestClockWildlyOff(t *testing.T) {
	t.Parallel()
	n := newLAN(t)
	world := n.host("world", "12")
	cert, caFile := certificate(t, time.Now().AddDate(5, 0, 0))
	serveHTTP(t, world, "10.9.0.12:443", &cert)
	host := n.host("a", "11")
	nd := &node{t: t, host: host, dir: filepath.Join(n.lab.Dir(), "a")}
	nd.socket = filepath.Join(nd.dir, "sock")
	nd.args = []string{"env", "SSL_CERT_FILE=" + caFile, program("ginneld"), "--statedir", nd.dir, "--socket", nd.socket, "--tun", "ginnel0"}
	nd.start()
	upFails(t, nd, "8s", "https://10.9.0.12", "some-key", "certificate", "clock")
}

// serveHTTP serves pages that are no control server.
func serveHTTP(t *testing.T, host *lab.Host, addr string, cert *tls.Certificate) {
	t.Helper()
	ln, err := host.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	if cert != nil {
		ln = tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{*cert}})
	}
	srv := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: patience}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
}

// certificate makes a self-signed certificate for 10.9.0.12 that is valid for a
// year from the given time, and a file that holds it as an authority.
func certificate(t *testing.T, from time.Time) (tls.Certificate, string) {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "10.9.0.12"},
		NotBefore: from, NotAfter: from.AddDate(1, 0, 0), IPAddresses: []net.IP{net.IPv4(10, 9, 0, 12)},
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, priv.Public(), priv)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: priv}, file
}

func TestDaemonRefusesToStart(t *testing.T) {
	n := newLAN(t)
	nd := startNode(t, n.lab, n.host("a", "11"))
	daemon := func(name string, flags ...string) []string {
		dir := filepath.Join(n.lab.Dir(), name)
		return append([]string{program("ginneld"), "--statedir", dir, "--socket", filepath.Join(dir, "sock"), "--tun", "ginnel7"}, flags...)
	}
	corrupt := filepath.Join(n.lab.Dir(), "corrupt.state")
	if err := os.WriteFile(corrupt, []byte(`{"_machinekey": "cHJpdmtle`), 0o600); err != nil {
		t.Fatal(err)
	}
	open, err := os.MkdirTemp("", "ginnel-e2e-state-") // unlike t.TempDir, below a folder that all may enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(open) })
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		args  []string
		words []string
	}{
		{"second daemon", []string{program("ginneld"), "--statedir", nd.dir, "--socket", nd.socket, "--tun", "ginnel7"}, []string{"already|another|running"}},
		{"socket in use", daemon("b", "--socket", nd.socket), []string{nd.socket, "already|another|in use|running"}},
		{"state in use", daemon("c", "--statedir", nd.dir), []string{nd.dir, "already|another|in use|running"}},
		{"device in use", daemon("d", "--tun", "ginnel0"), []string{"ginnel0", "in use|busy"}},
		{"proxy address in use", daemon("e", "--tun", "userspace-networking", "--socks5-server", "10.9.0.1:1"), []string{"10.9.0.1:1"}},
		{"corrupt state", daemon("f", "--state", corrupt), []string{corrupt, "corrupt|damaged|not valid|truncated"}},
		{"unknown flag", daemon("g", "--sock", "x"), []string{"sock"}},
		{"stray argument", daemon("h", "up"), []string{"up"}},
		{"no permission for TUN", append([]string{"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"},
			program("ginneld"), "--statedir", open, "--socket", filepath.Join(open, "sock"), "--tun", "ginnel7"), []string{"root", "userspace-networking"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, code := runToEnd(t, nd.host, nil, c.args...)
			expectRefusal(t, out, code, c.words...)
		})
	}
	if raw, err := os.ReadFile(corrupt); err != nil || string(raw) != `{"_machinekey": "cHJpdmtle` {
		t.Errorf("the corrupt state file was changed to %q, %v", raw, err)
	}
	nd.up(n.server, n.key) // the first daemon is undisturbed
}

// TestUDPPortTaken gives a node a port that another program has: it says so and
// works with another one.
func TestUDPPortTaken(t *testing.T) {
	n := newLAN(t)
	hostA := n.host("a", "11")
	other := startNode(t, n.lab, hostA, "--port", "41641", "--tun", "ginnel9")
	a := &node{t: t, host: hostA, dir: filepath.Join(n.lab.Dir(), "second")}
	a.socket = filepath.Join(a.dir, "sock")
	a.args = []string{program("ginneld"), "--statedir", a.dir, "--socket", a.socket, "--tun", "ginnel0", "--port", "41641"}
	a.start()
	expectWords(t, a.proc.Log(), "41641", "port is taken")
	a.up(n.server, n.key)
	b := join(t, n.lab, n.server, n.host("b", "12"), n.key)
	b.waitReach(a)
	b.waitPath(a, "10.9.0.11:", "[fd09::11]:")
	if st := other.status(); st.BackendState != "NeedsLogin" {
		t.Errorf("the daemon that had the port is %s", st.BackendState)
	}
}

func TestCommandLineMistakes(t *testing.T) {
	t.Parallel()
	n := newLAN(t)
	nd := startNode(t, n.lab, n.host("a", "11"))
	cli := func(args ...string) []string {
		return append([]string{program("ginnel"), "--socket", nd.socket}, args...)
	}
	for _, c := range []struct {
		name  string
		args  []string
		words []string
	}{
		{"unknown command", cli("statsu"), []string{"statsu", "status"}},
		{"unknown flag", cli("status", "--jason"), []string{"jason", "json"}},
		{"no daemon", []string{program("ginnel"), "--socket", "/nonexistent/sock", "status"}, []string{"running|runs", "ginneld"}},
		{"not joined", cli("ping", "100.64.0.9"), []string{"logged out|log in|needs login"}},
		{"unknown peer", cli("ip", "nobody"), []string{"nobody|no current"}},
		{"route with host bits", cli("up", "--login-server", n.server.url, "--auth-key", n.key, "--advertise-routes", "10.0.0.1/24"), []string{"10.0.0.1/24"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, code := runToEnd(t, nd.host, nil, c.args...)
			expectRefusal(t, out, code, c.words...)
		})
	}
}
