package client

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
	"github.com/ginnel/ginnel/wire/relay"
)

// handshake dials one node of a relay that shows certs, and reports Dial's error. It
// does not get beyond TLS when that fails.
func handshake(t *testing.T, node control.DERPNode, base *tls.Config, server *tls.Config) error {
	t.Helper()
	// An unbuffered pipe would block both sides when one breaks off.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
	}
	go func() {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		tc := tls.Server(nc, server)
		if tc.Handshake() != nil {
			return
		}
		buf := make([]byte, 4096)
		tc.Read(buf)
		tc.Write([]byte("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))
	}()
	node.Name, node.RegionID, node.IPv6 = "1a", 1, "none"
	if node.IPv4 == "" {
		node.IPv4 = "203.0.113.1"
	}
	_, err = Dial(context.Background(), Options{PrivateKey: key.NewNode(), TLSConfig: base, DialContext: dial, Proxy: noProxy,
		Region: &control.DERPRegion{RegionID: 1, Nodes: []*control.DERPNode{&node}}})
	if err != nil && strings.Contains(err.Error(), "404") {
		return nil // TLS was fine
	}
	if err == nil {
		t.Fatal("Dial succeeded with no relay there")
	}
	return err
}

func pool(certs ...*x509.Certificate) *tls.Config {
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(c)
	}
	return &tls.Config{RootCAs: p}
}

func TestVerification(t *testing.T) {
	cert, leaf := fresh(t, "relay", "a.example", "203.0.113.1")
	other, otherLeaf := fresh(t, "relay", "b.example")
	// A name in the certificate's meta prefix with a zero key is no hint, so that the
	// client waits for an HTTP response.
	meta, _ := fresh(t, relay.MetaCertPrefix+strings.Repeat("0", 64))
	old, oldLeaf := issue(t, "relay", []string{"a.example"}, time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour))
	early, earlyLeaf := issue(t, "relay", []string{"a.example"}, time.Now().Add(time.Hour), time.Now().Add(2*time.Hour))
	pin := func(c *x509.Certificate) string { return relay.FormatPin(sha256.Sum256(c.Raw)) }
	chain := func(c tls.Certificate, more ...tls.Certificate) *tls.Config {
		for _, m := range more {
			c.Certificate = append(c.Certificate[:len(c.Certificate):len(c.Certificate)], m.Certificate...)
		}
		return &tls.Config{Certificates: []tls.Certificate{c}}
	}
	for _, c := range []struct {
		name   string
		node   control.DERPNode
		base   *tls.Config
		server *tls.Config
		ok     bool
	}{
		{"trusted", control.DERPNode{HostName: "a.example"}, pool(leaf), chain(cert), true},
		{"trusted, with meta", control.DERPNode{HostName: "a.example"}, pool(leaf), chain(cert, meta), true},
		{"untrusted", control.DERPNode{HostName: "a.example"}, nil, chain(cert), false},
		{"wrong name", control.DERPNode{HostName: "c.example"}, pool(leaf), chain(cert), false},
		{"address", control.DERPNode{HostName: "203.0.113.1"}, pool(leaf), chain(cert), true},
		{"wrong address", control.DERPNode{HostName: "203.0.113.2"}, pool(leaf), chain(cert), false},
		{"insecure", control.DERPNode{HostName: "c.example", InsecureForTests: true}, nil, chain(cert), true},
		{"other name", control.DERPNode{HostName: "c.example", CertName: "b.example"}, pool(otherLeaf), chain(other), true},
		{"other name, wrong", control.DERPNode{HostName: "a.example", CertName: "b.example"}, pool(leaf), chain(cert), false},
		{"other name, untrusted", control.DERPNode{HostName: "b.example", CertName: "b.example"}, pool(leaf), chain(other), false},
		{"pinned", control.DERPNode{HostName: "a.example", CertName: pin(leaf)}, nil, chain(cert), true},
		{"pinned, with meta", control.DERPNode{HostName: "203.0.113.1", CertName: pin(leaf)}, nil, chain(cert, meta), true},
		{"pinned, any address", control.DERPNode{HostName: "203.0.113.77", CertName: pin(leaf)}, nil, chain(cert), true},
		{"pinned, wrong name", control.DERPNode{HostName: "c.example", CertName: pin(leaf)}, nil, chain(cert), false},
		{"pinned, another", control.DERPNode{HostName: "a.example", CertName: pin(otherLeaf)}, nil, chain(cert), false},
		{"pinned, two certificates", control.DERPNode{HostName: "a.example", CertName: pin(leaf)}, nil, chain(cert, other), false},
		{"pinned, two the other way", control.DERPNode{HostName: "b.example", CertName: pin(leaf)}, nil, chain(other, cert), false},
		{"pinned, expired", control.DERPNode{HostName: "a.example", CertName: pin(oldLeaf)}, nil, chain(old), false},
		{"pinned, not yet valid", control.DERPNode{HostName: "a.example", CertName: pin(earlyLeaf)}, nil, chain(early), false},
		{"malformed pin", control.DERPNode{HostName: "a.example", CertName: "sha256-raw:12"}, pool(leaf), chain(cert), false},
	} {
		if c.node.HostName == "203.0.113.2" || c.node.HostName == "203.0.113.77" {
			c.node.IPv4 = c.node.HostName
		}
		if err := handshake(t, c.node, c.base, c.server); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestFastStart looks for the fast start where it is allowed, and only there.
func TestFastStart(t *testing.T) {
	server := key.NewNode()
	cert, leaf := fresh(t, "relay", "a.example")
	meta, _ := fresh(t, relay.MetaCommonName(server.Public()))
	broken, _ := fresh(t, relay.MetaCertPrefix+"abc")
	with := func(version uint16, more tls.Certificate) *tls.Config {
		c := cert
		c.Certificate = append(c.Certificate[:1:1], more.Certificate...)
		return &tls.Config{Certificates: []tls.Certificate{c}, MaxVersion: version}
	}
	for name, c := range map[string]struct {
		cfg  *tls.Config
		fast bool
	}{
		"TLS 1.3":     {with(tls.VersionTLS13, meta), true},
		"TLS 1.2":     {with(tls.VersionTLS12, meta), false},
		"broken meta": {with(tls.VersionTLS13, broken), false},
		"no meta":     {with(tls.VersionTLS13, tls.Certificate{}), false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeNet()
			got := mustDial(t, Options{URL: "https://a.example:8443", TLSConfig: pool(leaf), DialContext: f.dial, Home: true, CanAckPings: true})
			r := f.serve(t, server, c.cfg)
			if fast := r.req.Header.Get("Derp-Fast-Start") == "1"; fast != c.fast {
				t.Errorf("fast start %v, want %v", fast, c.fast)
			}
			if r.req.Host != "a.example:8443" || r.req.Header.Get("Upgrade") != "DERP" || r.req.Header.Get("Connection") != "Upgrade" {
				t.Errorf("request for %s: %v", r.req.Host, r.req.Header)
			}
			if c.fast {
				r.readInfo() // it comes without a word from the relay
			} else {
				r.greet()
				r.readInfo()
			}
			if !r.info.CanAckPings || r.info.Version != 2 {
				t.Errorf("introduction %+v", r.info)
			}
			r.expect(relay.AppendNotePreferred(nil, true))
			conn := <-got
			if conn == nil {
				t.FailNow()
			}
			defer conn.Close()
			if conn.ServerPublicKey() != server.Public() {
				t.Error("wrong server key")
			}
			go func() {
				if c.fast {
					r.greet() // the key, which the receiver must skip
				}
				r.sendInfo(relay.ServerInfo{Version: 2})
			}()
			if m, err := conn.Recv(); err != nil || m.Kind != KindConnected {
				t.Errorf("first message %+v, %v", m, err)
			}
		})
	}
}

func TestIdealNode(t *testing.T) {
	cert, leaf := fresh(t, "relay", "b.example")
	f := newFakeNet()
	f.refuse = func(_ context.Context, network, addr string) error {
		if strings.HasPrefix(addr, "a.") || network == "tcp6" {
			return errRefused
		}
		return nil
	}
	got := mustDial(t, Options{Region: region("a.example", "b.example"), TLSConfig: pool(leaf), DialContext: f.dial})
	r := f.serve(t, key.NewNode(), &tls.Config{Certificates: []tls.Certificate{cert}})
	if h := r.req.Header.Get("Ideal-Node"); h != "900a" || r.req.Host != "b.example" {
		t.Errorf("Ideal-Node %q at %s", h, r.req.Host)
	}
	r.greet()
	r.readInfo()
	if c := <-got; c != nil {
		c.Close()
	}
}
