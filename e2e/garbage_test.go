//go:build linux

package e2e

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ginnel/ginnel/e2e/lab"
	relayclient "github.com/ginnel/ginnel/relay/client"
	"github.com/ginnel/ginnel/server/control/controltest"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

const upgradeHeaders = "Connection: Upgrade\r\nHost: x\r\n"

// garbage is what strangers may send to a TCP port.
func garbage() map[string][]byte {
	random := make([]byte, 64<<10)
	rand.Read(random)
	random[0] = 0 // not the first byte of TLS
	return map[string][]byte{
		"random":           random,
		"endless header":   append([]byte("GET / HTTP/1.1\r\nX: "), []byte(strings.Repeat("x", 4<<20))...),
		"no TLS":           append([]byte{0x16, 3, 1, 0xff, 0xff}, random...),
		"bad handshake":    []byte("POST /ts2021 HTTP/1.1\r\n" + upgradeHeaders + "Upgrade: tailscale-control-protocol\r\nX-Tailscale-Handshake: AAAA\r\n\r\n"),
		"no handshake":     []byte("POST /ts2021 HTTP/1.1\r\n" + upgradeHeaders + "Upgrade: tailscale-control-protocol\r\n\r\n"),
		"relay frame bomb": append([]byte("GET /derp HTTP/1.1\r\n"+upgradeHeaders+"Upgrade: DERP\r\n\r\n"), 2, 0xff, 0xff, 0xff, 0xff),
		"unknown path":     []byte("GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
	}
}

// metrics fetches metrics from an address of the host itself.
func metrics(t *testing.T, host *lab.Host, url string) map[string]float64 {
	t.Helper()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		DialContext: host.DialContext, DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, resp.Status, err)
	}
	all := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			all[name] = v
		}
	}
	return all
}

// expectCounted waits until the counters have grown.
func expectCounted(t *testing.T, host *lab.Host, url string, before map[string]float64, names ...string) {
	t.Helper()
	for _, name := range names {
		lab.Eventually(t, patience, "counted in "+name, func() error {
			if now := metrics(t, host, url)[name]; now <= before[name] {
				return fmt.Errorf("it is %v", now)
			}
			return nil
		})
	}
}

// metricsURL is where a server tells its own machine its metrics.
const metricsURL = "http://127.0.0.1:8080/metrics"

// TestServerSurvivesGarbage sends nonsense to every listener of a server while
// nodes are connected. It must be counted, and disturb nothing else.
func TestServerSurvivesGarbage(t *testing.T) {
	n := newLAN(t)
	a, b := n.pair(t)
	a.waitReach(b)
	url := metricsURL
	counts := func() map[string]float64 { return metrics(t, n.server.host, url) }
	expect := func(before map[string]float64, names ...string) {
		t.Helper()
		expectCounted(t, n.server.host, url, before, names...)
	}
	for name, data := range garbage() {
		counter := "ginnel_server_bad_connections_total"
		switch name {
		case "unknown path":
			counter = ""
		case "bad handshake", "no handshake":
			counter = `ginnel_control_requests_total{code="400",endpoint="ts2021"}`
		case "relay frame bomb":
			counter = "derp_refused"
		}
		t.Run(name, func(t *testing.T) {
			before := counts()
			expectClosed(t, dialTCP(t, a.host, "10.9.0.1:8080"), data, "root:")
			if counter != "" {
				expect(before, counter)
			}
			if err := n.server.healthy(); err != nil {
				t.Errorf("the server is not well: %v", err)
			}
		})
	}
	t.Run("after the upgrade", func(t *testing.T) { garbageAfterUpgrade(t, n, a.host) })
	t.Run("relay", func(t *testing.T) {
		before := counts()
		garbageToRelay(t, a.host, relayclient.Options{URL: n.server.url})
		expect(before, "derp_refused") // it takes nodes of the network only
	})
	t.Run("STUN", func(t *testing.T) {
		before := counts()
		for i := range 50 {
			sendUDP(t, a.host, "10.9.0.1:3478", make([]byte, 1+i*29))
		}
		expect(before, `stun_requests{disposition="not_stun"}`)
	})
	t.Run("admin socket", func(t *testing.T) {
		before := counts()
		for _, data := range garbage() {
			expectClosed(t, dialUnix(t, filepath.Join(n.server.dir, "admin.sock")), data, "root:")
		}
		expect(before, "ginnel_server_bad_connections_total")
	})
	for _, l := range n.server.nodes() {
		if !l.Online {
			t.Errorf("node %s was disconnected", l.Name)
		}
	}
	if out, err := a.ping(b); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if after := counts(); after["ginnel_control_map_streams"] != 2 {
		t.Errorf("%v map streams are open, want 2", after["ginnel_control_map_streams"])
	}
}

// garbageAfterUpgrade opens a Noise connection and sends what is no record.
func garbageAfterUpgrade(t *testing.T, n *lan, from *lab.Host) {
	random := make([]byte, 8<<10)
	rand.Read(random)
	for name, data := range map[string][]byte{
		"random":    random,
		"oversized": {4, 0xff, 0xff},
		"forged":    append([]byte{4, 0, 32}, random[:32]...),
	} {
		var raw net.Conn
		c := controltest.New(controltest.Options{
			URL: n.server.url, ServerKey: serverKey(t, n, from),
			Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				nc, err := from.DialContext(ctx, network, addr)
				raw = nc
				return nc, err
			},
		})
		if _, err := c.DialNoise(t.Context()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		before := metrics(t, n.server.host, metricsURL)
		expectClosed(t, raw, data, "root:")
		if name == "forged" {
			expectCounted(t, n.server.host, metricsURL, before, "ginnel_control_bad_connections_total")
		}
	}
}

// garbageToRelay connects as a client and sends frames that are not allowed.
func garbageToRelay(t *testing.T, from *lab.Host, o relayclient.Options) {
	t.Helper()
	o.DialContext = from.DialContext
	for name, frame := range map[string][]byte{
		"oversized":           {4, 0xff, 0xff, 0xff, 0xff},
		"packet without data": {4, 0, 0, 0, 1, 0},
		"mesh member's frame": {0x10, 0, 0, 0, 0},
	} {
		o.PrivateKey = key.NewNode()
		c, err := relayclient.Dial(t.Context(), o)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := c.WriteFrames(frame); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		ended := make(chan error, 1)
		go func() {
			for {
				if _, err := c.Recv(); err != nil {
					ended <- err
					return
				}
			}
		}()
		select {
		case <-ended:
		case <-time.After(patience):
			t.Errorf("%s: the relay did not close the connection", name)
		}
		c.Close()
	}
}

// TestRelaySurvivesGarbage does the same to a relay program.
func TestRelaySurvivesGarbage(t *testing.T) {
	t.Parallel()
	n, relays := relayLAN(t, map[string]string{"syd": "51"})
	a, b, st := blockedPair(t, n)
	url := "https://127.0.0.1/debug/metrics"
	host := relays["syd"].host
	before := metrics(t, host, url)
	stranger := n.host("stranger", "77")
	for _, data := range garbage() {
		expectClosed(t, dialTCP(t, stranger, "10.9.0.51:443"), data, "root:")
		conn := tls.Client(dialTCP(t, stranger, "10.9.0.51:443"), &tls.Config{InsecureSkipVerify: true})
		expectClosed(t, conn, data, "root:")
	}
	garbageToRelay(t, stranger, relayclient.Options{URL: "https://10.9.0.51", TLSConfig: &tls.Config{InsecureSkipVerify: true}})
	for i := range 50 {
		sendUDP(t, stranger, "10.9.0.51:3478", make([]byte, 1+i*29))
	}
	expectCounted(t, host, url, before, "derp_bad_connections", "derp_refused", "derp_failed", `stun_requests{disposition="not_stun"}`)
	st.beat()
	st.bulk(1 << 20)
	if out, err := a.ping(b); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestNodeSurvivesGarbage sends nonsense to every socket of a node.
func TestNodeSurvivesGarbage(t *testing.T) {
	n := newLAN(t)
	hostA := n.host("a", "11")
	a := startNode(t, n.lab, hostA, "--port", "41641", "--socks5-server", "10.9.0.11:1055", "--outbound-http-proxy-listen", "10.9.0.11:1056", "--debug", ":1057")
	a.up(n.server, n.key)
	b := join(t, n.lab, n.server, n.host("b", "12"), n.key)
	serveEcho(t, a.host)
	b.waitReach(a)
	st := openStream(t, b, a.ip4)
	st.beat()
	random := make([]byte, 1400)
	for i := range 500 {
		rand.Read(random)
		copy(random, [][]byte{nil, []byte("TS\xf0\x9f\x92\xac"), {1, 0, 0, 0}, {4, 0, 0, 0}, {0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42}}[i%5])
		for _, addr := range []string{"10.9.0.11:41641", netip.AddrPortFrom(netip.MustParseAddr("fd09::11"), 41641).String()} {
			sendUDP(t, b.host, addr, random[:1+i*2])
		}
	}
	kinds := garbage()
	kinds["SOCKS without methods"] = []byte{5, 0}
	kinds["SOCKS cut off"] = []byte{5, 1, 0, 5, 1, 0, 3, 255, 'x'}
	kinds["SOCKS of an unknown kind"] = []byte{5, 1, 0, 5, 9, 9, 9, 9, 9, 9}
	for name, data := range kinds {
		t.Run(name, func(t *testing.T) {
			expectClosed(t, dialUnix(t, a.socket), data, "root:")
			for _, addr := range []string{"10.9.0.11:1055", "10.9.0.11:1056", "10.9.0.11:1057"} {
				expectClosed(t, dialTCP(t, b.host, addr), data, "root:")
			}
		})
	}
	nothing := map[string]float64{}
	for _, listener := range []string{"local_api", "socks5", "http_proxy"} {
		expectCounted(t, hostA, "http://127.0.0.1:1057/metrics", nothing, fmt.Sprintf("ginnel_bad_connections_total{listener=%q}", listener))
	}
	expectCounted(t, hostA, "http://127.0.0.1:1057/metrics", nothing, `ginnel_inbound_unknown_packets_total{kind="wireguard"}`)
	st.beat()
	st.bulk(1 << 20)
	if s := a.status(); s.BackendState != "Running" {
		t.Errorf("the node is %s", s.BackendState)
	}
}

func dialUnix(t *testing.T, path string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// serverKey asks the server for its key, as nodes do.
func serverKey(t *testing.T, n *lan, from *lab.Host) (k key.MachinePublic) {
	t.Helper()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DialContext: from.DialContext, DisableKeepAlives: true}}
	resp, err := client.Get(n.server.url + "/key?v=" + strconv.Itoa(int(control.CurrentCapabilityVersion)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var keys struct{ PublicKey key.MachinePublic }
	if err := json.NewDecoder(resp.Body).Decode(&keys); err != nil {
		t.Fatal(err)
	}
	return keys.PublicKey
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
