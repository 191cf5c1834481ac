package server

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ginnel/ginnel/internal/connlimit"
	"github.com/ginnel/ginnel/relay/client"
	"github.com/ginnel/ginnel/server/control/controltest"
	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/key"
)

// waitFor waits until a condition holds.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still not so: %s", what)
		}
	}
}

// wantCut checks that the server closes a connection.
func wantCut(t *testing.T, c net.Conn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the server keeps the connection")
	}
}

// Whoever holds connections open without being a node crowds out others of that
// kind, and no node: not on its map stream and not on the relay.
func TestStrangersDoNotCrowdOutNodes(t *testing.T) {
	c := testConfig(t)
	c.strangers = connlimit.Limits{PerSource: 8, Total: 16}
	s := run(t, c)
	_, secret, err := s.Tailnet().CreateAuthKey(t.Context(), tailnet.Actor{Kind: tailnet.ActorAdmin}, tailnet.AuthKeyParams{UserID: 1, Reusable: true, Preauthorized: true})
	if err != nil {
		t.Fatal(err)
	}
	var streams []*controltest.Stream
	var relays []*client.Conn
	for i := range 12 { // more than strangers may have, from one address
		url := s.URL()
		if i%2 == 1 {
			url = strings.Replace(url, "http:", "https:", 1)
		}
		n := controltest.New(controltest.Options{URL: url})
		defer n.Close()
		if err := n.Join(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
		stream, err := n.Poll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		if _, err := stream.Next(); err != nil {
			t.Fatal(err)
		}
		conn, err := client.Dial(t.Context(), client.Options{PrivateKey: n.Node, Region: s.DERPMap().Regions[DefaultRelayRegion]})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if m, err := conn.Recv(); err != nil || m.Kind != client.KindConnected {
			t.Fatalf("relay: %+v, %v", m, err)
		}
		streams, relays = append(streams, stream), append(relays, conn)
	}
	waitFor(t, "nodes are no strangers", func() bool { return s.limit.Strangers() == 0 })
	evicted := s.limit.Evicted()

	addr := s.Addrs()[0].String()
	var idle []net.Conn
	for i := range 20 {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if i%2 == 0 {
			io.WriteString(nc, "GET / HTTP/1.1\r\n")
		}
		idle = append(idle, nc)
	}
	waitFor(t, "the oldest are evicted", func() bool { return s.limit.Evicted() == evicted+12 })
	for _, nc := range idle[:12] {
		wantCut(t, nc)
	}
	// A node still gets in, and those that are in hear of it.
	n := controltest.New(controltest.Options{URL: s.URL()})
	defer n.Close()
	if err := n.Join(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	if err := n.Update(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	for i, stream := range streams {
		for {
			m, err := stream.Next()
			if err != nil {
				t.Fatalf("stream of node %d: %v", i, err)
			}
			if len(m.PeersChanged) > 0 && m.PeersChanged[len(m.PeersChanged)-1].Key == n.Node.Public() {
				break
			}
		}
	}
	for i, conn := range relays {
		if _, err := conn.LocalAddr(), conn.NotePreferred(true); err != nil {
			t.Errorf("relay connection of node %d: %v", i, err)
		}
	}
	_, metrics := get(t, s.URL()+"/metrics")
	for _, want := range []string{"ginnel_server_strangers ", fmt.Sprintf("ginnel_server_strangers_evicted_total %d\n", s.limit.Evicted())} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics do not have %q", want)
		}
	}
}

// A relay client that is no node stays a stranger only as long as it takes to turn
// it away.
func TestRefusedRelayClientIsGone(t *testing.T) {
	s := run(t, testConfig(t))
	conn, err := client.Dial(t.Context(), client.Options{PrivateKey: key.NewNode(), Region: s.DERPMap().Regions[DefaultRelayRegion]})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if m, err := conn.Recv(); err == nil {
		t.Fatalf("admitted: %+v", m)
	}
	waitFor(t, "nobody is left", func() bool { return s.limit.Strangers() == 0 })
}

// Those who say nothing, or say it slowly, are cut off: before the first byte is the
// sniffer's matter, TLS, header and body are here.
func TestSlowRequestsAreCut(t *testing.T) {
	s, err := New(testConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	for what, d := range map[string]time.Duration{
		"ReadHeaderTimeout": s.web.ReadHeaderTimeout, "ReadTimeout": s.web.ReadTimeout,
		"WriteTimeout": s.web.WriteTimeout, "IdleTimeout": s.web.IdleTimeout,
	} {
		if d <= 0 || d > time.Minute {
			t.Errorf("%s is %v", what, d)
		}
	}
	s.web.ReadHeaderTimeout, s.web.ReadTimeout = 50*time.Millisecond, 100*time.Millisecond
	done := make(chan error, 1)
	go func() { done <- s.Run(t.Context()) }()
	defer func() {
		s.Close()
		<-done
	}()
	for name, sent := range map[string]string{
		"TLS":    "\x16\x03\x01\x02\x00",
		"header": "GET / HTTP/1.1\r\nHost: x\r\n",
		"body":   "POST /verify HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
	} {
		nc, err := net.Dial("tcp", s.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if _, err := io.WriteString(nc, sent); err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) { wantCut(t, nc) })
	}
}
