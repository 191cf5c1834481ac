//go:build linux

package e2e

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ginnel/ginnel/e2e/lab"
	relayclient "github.com/ginnel/ginnel/relay/client"
	"github.com/ginnel/ginnel/wire/key"
)

// A relayProgram is a running ginnel-relay.
type relayProgram struct {
	t    testing.TB
	host *lab.Host
	addr string // host:port by which it is reached
	args []string
	proc *lab.Process
}

// startRelay runs a relay that is reached under the host's numeric address, and
// returns it with the entry that it prints for a relay map.
func startRelay(t testing.TB, l *lab.Lab, host *lab.Host, addr, region, code string, flags ...string) (*relayProgram, map[string]json.RawMessage) {
	t.Helper()
	r := &relayProgram{t: t, host: host, addr: addr + ":443"}
	r.args = []string{program("ginnel-relay"), "--data-dir", filepath.Join(l.Dir(), host.Name+"-data"),
		"--hostname", addr, "--region-id", region, "--region-code", code, "--region-name", "The relay " + code}
	r.args = append(r.args, flags...)
	r.start()
	var entry map[string]json.RawMessage
	lab.Eventually(t, patience, "the relay prints its entry for a relay map", func() error {
		text := r.proc.Log()
		return json.NewDecoder(strings.NewReader(text[max(0, strings.Index(text, "{")):])).Decode(&entry)
	})
	return r, entry
}

// start starts the program, again after a kill, and waits until it serves.
func (r *relayProgram) start() {
	r.t.Helper()
	r.proc = r.host.Start(nil, r.args...)
	lab.Eventually(r.t, patience, "the relay serves", func() error {
		select {
		case <-r.proc.Done():
			r.t.Fatalf("the relay ended with code %d", r.proc.ExitCode())
		default:
		}
		conn, err := r.host.DialContext(r.t.Context(), "tcp", r.addr)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// relayLAN is a network with a server that has no relay of its own, but a map
// of relays on other machines.
func relayLAN(t *testing.T, relays map[string]string, flags ...string) (*lan, map[string]*relayProgram) {
	t.Helper()
	l := lab.New(t)
	n := &lan{lab: l, sw: l.Switch("lan")}
	programs := map[string]*relayProgram{}
	regions := map[string]json.RawMessage{}
	for code, last := range relays {
		host := n.host("relay-"+code, last)
		r, entry := startRelay(t, l, host, "10.9.0."+last, "9"+last, code, flags...)
		for id, region := range entry {
			regions[id] = region
		}
		programs[code] = r
	}
	text, err := json.Marshal(map[string]any{"Regions": regions})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(l.Dir(), "relays.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	host := l.Host("server")
	host.Plug(n.sw, "10.9.0.1/24", "fd09::1/64")
	n.server = startServer(t, l, host, "10.9.0.1", "--derp-map", file, "--relay=false")
	n.key = n.server.authKey("--reusable")
	return n, programs
}

// blockedPair joins two nodes that cannot use UDP, with an open stream from the
// first to the second.
func blockedPair(t *testing.T, n *lan) (a, b *node, st *stream) {
	t.Helper()
	hostA, hostB := n.host("a", "11"), n.host("b", "12")
	hostA.BlockUDP()
	hostB.BlockUDP()
	a = join(t, n.lab, n.server, hostA, n.key)
	b = join(t, n.lab, n.server, hostB, n.key)
	serveEcho(t, b.host)
	a.waitReach(b)
	st = openStream(t, a, b.ip4)
	st.beat()
	return a, b, st
}

// TestRelayProgram has nodes without UDP talk through a ginnel-relay that the
// server's relay map names, kills it, and expects that traffic goes on when it
// is back, by itself.
func TestRelayProgram(t *testing.T) {
	t.Parallel()
	n, relays := relayLAN(t, map[string]string{"syd": "51"}, "--verify-client-url", "http://10.9.0.1:8080/verify")
	a, b, st := blockedPair(t, n)
	a.waitPath(b, "DERP(syd)")
	st.bulk(2 << 20)
	expectStrangerRefused(t, n.host("stranger", "77"), "https://10.9.0.51")
	relays["syd"].proc.Kill()
	if out, err := a.ping(b); err == nil {
		t.Errorf("a ping went through a relay that is dead: %s", out)
	}
	relays["syd"].start()
	st.beat()
	st.bulk(1 << 20)
	b.waitPath(a, "DERP(syd)")
}

// expectStrangerRefused connects with a key that the server does not know.
func expectStrangerRefused(t *testing.T, from *lab.Host, url string) {
	t.Helper()
	c, err := relayclient.Dial(t.Context(), relayclient.Options{
		URL: url, PrivateKey: key.NewNode(), DialContext: from.DialContext, TLSConfig: &tls.Config{InsecureSkipVerify: true},
	})
	if err != nil {
		return
	}
	defer c.Close()
	if m, err := c.Recv(); err == nil {
		t.Errorf("the relay serves a stranger: %+v", m)
	}
}

// TestHomeRelayLost kills the home relay of all nodes, with another region left:
// they move there, and open streams go on.
func TestHomeRelayLost(t *testing.T) {
	t.Parallel()
	n, relays := relayLAN(t, map[string]string{"one": "51", "two": "52"})
	a, b, st := blockedPair(t, n)
	other := map[string]string{"one": "two", "two": "one"}
	homes := func() (string, string) { return a.status().Self.Relay, b.status().Self.Relay }
	first, second := homes()
	if other[first] == "" || other[second] == "" {
		t.Fatalf("the nodes' homes are %q and %q", first, second)
	}
	for _, lost := range []string{first, other[first]} {
		relays[lost].proc.Kill()
		lab.Eventually(t, patience, "both nodes' home is the relay that is left", func() error {
			if homeA, homeB := homes(); homeA != other[lost] || homeB != other[lost] {
				return fmt.Errorf("homes are %s and %s", homeA, homeB)
			}
			return nil
		})
		st.beat()
		a.waitPath(b, "DERP("+other[lost]+")")
		st.bulk(1 << 20)
		relays[lost].start()
	}
}
