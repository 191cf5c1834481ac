package mesh

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/ginnel/ginnel/relay"
	"github.com/ginnel/ginnel/relay/client"
	"github.com/ginnel/ginnel/wire/key"
	wire "github.com/ginnel/ginnel/wire/relay"
)

// node is one relay of a region, behind TLS on loopback.
type node struct {
	*relay.Server
	priv key.NodePrivate
	url  string
	addr string
	http *http.Server
	done chan struct{}
}

// certificate is for 127.0.0.1, trusted by trust.
func certificate(t *testing.T) (cert tls.Certificate, trust *tls.Config) {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"relay.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, priv.Public(), priv)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: priv}, &tls.Config{RootCAs: pool}
}

// start runs a relay at addr.
func start(t *testing.T, addr string, priv key.NodePrivate, meshKey key.MeshKey, cert tls.Certificate) *node {
	t.Helper()
	s, err := relay.New(relay.Config{PrivateKey: priv, MeshKey: meshKey})
	if err != nil {
		t.Fatal(err)
	}
	l, err := relay.Listen(context.Background(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{Server: s, priv: priv, addr: l.Addr().String(), url: "https://" + l.Addr().String(), done: make(chan struct{})}
	n.http = &http.Server{Handler: s.Handler(), ErrorLog: log.New(io.Discard, "", 0)}
	go func() {
		defer close(n.done)
		n.http.Serve(tls.NewListener(l, s.AppendMetaCert(&tls.Config{Certificates: []tls.Certificate{cert}})))
	}()
	t.Cleanup(n.stop)
	return n
}

func (n *node) stop() {
	n.http.Close()
	n.Server.Close()
	<-n.done
}

// join runs a link from n to another relay until the test ends.
func (n *node) join(t *testing.T, p Peer, meshKey key.MeshKey, trust *tls.Config) <-chan error {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		done <- Run(ctx, Config{Relay: n.Server, PrivateKey: n.priv, MeshKey: meshKey, Peer: p,
			Options: client.Options{TLSConfig: trust}, RetryDelay: 10 * time.Millisecond})
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return done
}

// inbox is a client and the messages that it gets.
type inbox struct {
	*client.Conn
	key  key.NodePublic
	msgs chan client.Message
}

func dial(t *testing.T, n *node, trust *tls.Config) *inbox {
	t.Helper()
	priv := key.NewNode()
	c, err := client.Dial(context.Background(), client.Options{PrivateKey: priv, URL: n.url, TLSConfig: trust})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	in := &inbox{Conn: c, key: priv.Public(), msgs: make(chan client.Message, 1000)}
	go func() {
		defer close(in.msgs)
		for {
			m, err := c.Recv()
			if err != nil {
				return
			}
			m.Data = append([]byte(nil), m.Data...)
			in.msgs <- m
		}
	}()
	return in
}

// next waits for a message of a kind.
func (in *inbox) next(t *testing.T, kind client.Kind) client.Message {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case m, ok := <-in.msgs:
			if !ok {
				t.Fatalf("connection lost while waiting for message kind %d", kind)
			}
			if m.Kind == kind {
				return m
			}
		case <-timeout:
			t.Fatalf("no message of kind %d", kind)
		}
	}
}

// reach sends from a to b until it arrives, which is when both relays know of both.
func reach(t *testing.T, a, b *inbox) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		if err := a.SendBatch(b.key, [][]byte{[]byte("hello")}); err != nil {
			t.Fatal(err)
		}
		select {
		case m := <-b.msgs:
			if m.Kind == client.KindPacket && m.Peer == a.key && string(m.Data) == "hello" {
				return
			}
		case <-time.After(20 * time.Millisecond):
		}
	}
	t.Fatal("no packet went through the mesh")
}

func TestTwoRelays(t *testing.T) {
	cert, trust := certificate(t)
	meshKey := key.NewMeshKey()
	r1 := start(t, "127.0.0.1:0", key.NewNode(), meshKey, cert)
	r2 := start(t, "127.0.0.1:0", key.NewNode(), meshKey, cert)
	early := dial(t, r2, trust)
	r1.join(t, Peer{URL: r2.url}, meshKey, trust)
	r2.join(t, Peer{URL: r1.url}, meshKey, trust)
	a, b := dial(t, r1, trust), dial(t, r2, trust)
	reach(t, a, early) // there before the link was
	reach(t, early, a)
	reach(t, a, b)
	reach(t, b, a)
	big := make([]byte, wire.MaxPacketData)
	big[0], big[len(big)-1] = 1, 2
	if err := a.SendBatch(b.key, [][]byte{big}); err != nil {
		t.Fatal(err)
	}
	for {
		m := b.next(t, client.KindPacket)
		if len(m.Data) == len(big) && string(m.Data) == string(big) {
			break
		}
	}
	// A client that leaves is gone for those that it had sent to, on the other relay.
	b.Close()
	for {
		if m := a.next(t, client.KindPeerGone); m.Peer == b.key && m.Reason == wire.GoneDisconnected {
			break
		}
	}
	// A relay that goes takes its clients along, and is found again when it is back.
	r2.stop()
	for {
		if m := a.next(t, client.KindPeerGone); m.Peer == early.key {
			break
		}
	}
}

func TestReconnect(t *testing.T) {
	cert, trust := certificate(t)
	meshKey := key.NewMeshKey()
	r1 := start(t, "127.0.0.1:0", key.NewNode(), meshKey, cert)
	priv := key.NewNode()
	r2 := start(t, "127.0.0.1:0", priv, meshKey, cert)
	r1.join(t, Peer{URL: r2.url}, meshKey, trust)
	a, b := dial(t, r1, trust), dial(t, r2, trust)
	reach(t, a, b)
	r2.stop()
	r2 = start(t, r2.addr, priv, meshKey, cert)
	b = dial(t, r2, trust)
	reach(t, a, b)
}

func TestSelf(t *testing.T) {
	cert, trust := certificate(t)
	meshKey := key.NewMeshKey()
	r := start(t, "127.0.0.1:0", key.NewNode(), meshKey, cert)
	select {
	case err := <-r.join(t, Peer{URL: r.url}, meshKey, trust):
		if err != nil {
			t.Errorf("a relay that dials itself: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("a relay that dials itself does not notice")
	}
}

func TestDialHost(t *testing.T) {
	cert, trust := certificate(t)
	meshKey := key.NewMeshKey()
	r1 := start(t, "127.0.0.1:0", key.NewNode(), meshKey, cert)
	r2 := start(t, "127.0.0.1:0", key.NewNode(), meshKey, cert)
	_, port, err := net.SplitHostPort(r2.addr)
	if err != nil {
		t.Fatal(err)
	}
	peers, err := ParsePeers("relay.example:" + port + "/127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	r1.join(t, peers[0], meshKey, trust)
	a, b := dial(t, r1, trust), dial(t, r2, trust)
	reach(t, a, b)
}

func TestWrongMeshKey(t *testing.T) {
	if err := Run(context.Background(), Config{}); err == nil {
		t.Error("a link without a mesh key runs")
	}
	cert, trust := certificate(t)
	r1 := start(t, "127.0.0.1:0", key.NewNode(), key.NewMeshKey(), cert)
	r2 := start(t, "127.0.0.1:0", key.NewNode(), key.NewMeshKey(), cert)
	c, err := client.Dial(context.Background(), client.Options{PrivateKey: r1.priv, URL: r2.url, TLSConfig: trust,
		MeshKey: key.NewMeshKey(), WatchConns: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for {
		m, err := c.Recv()
		if err != nil {
			break // closed, as it must be
		}
		if m.Kind != client.KindConnected {
			t.Fatalf("got %+v with a wrong mesh key", m)
		}
	}
}

func TestParsePeers(t *testing.T) {
	pin := wire.FormatPin([32]byte{1, 2})
	got, err := ParsePeers(" relay1.example, relay2.example/10.0.0.2 ,,relay3.example:8443=" + pin)
	want := []Peer{{URL: "https://relay1.example"}, {URL: "https://relay2.example", DialHost: "10.0.0.2"},
		{URL: "https://relay3.example:8443", CertName: pin}}
	if err != nil || len(got) != len(want) {
		t.Fatalf("%v, %v", got, err)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("peer %d: %v, want %v", i, got[i], want[i])
		}
	}
	for _, bad := range []string{"/10.0.0.2", "a/", "a/b/c", "a=", "a=b.example", "a=sha256-raw:12"} {
		if _, err := ParsePeers(bad); err == nil {
			t.Errorf("list %q was accepted", bad)
		}
	}
}
