package client

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
	"github.com/ginnel/ginnel/wire/relay"
)

// fakeRelay is the other end of one connection, spoken by hand.
type fakeRelay struct {
	t      *testing.T
	priv   key.NodePrivate
	nc     net.Conn
	br     *bufio.Reader
	req    *http.Request
	client key.NodePublic
	info   relay.ClientInfo
}

// fakeNet is what Options.DialContext reaches: pipes to fakeRelays.
type fakeNet struct {
	accept chan net.Conn
	dialed chan string
	// refuse decides about a dial; nil accepts all.
	refuse func(ctx context.Context, network, addr string) error
}

func newFakeNet() *fakeNet {
	return &fakeNet{accept: make(chan net.Conn, 16), dialed: make(chan string, 64)}
}

func (f *fakeNet) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	f.dialed <- network + " " + addr
	if f.refuse != nil {
		if err := f.refuse(ctx, network, addr); err != nil {
			return nil, err
		}
	}
	ours, theirs := net.Pipe()
	f.accept <- theirs
	return ours, nil
}

// noProxy is an Options.Proxy.
var noProxy = http.ProxyURL(nil)

// mustDial dials in the background, since the pipe needs the other side to act.
func mustDial(t *testing.T, o Options) <-chan *Conn {
	t.Helper()
	if o.PrivateKey.IsZero() {
		o.PrivateKey = key.NewNode()
	}
	o.Proxy = noProxy
	got := make(chan *Conn, 1)
	go func() {
		defer close(got)
		c, err := Dial(context.Background(), o)
		if err != nil {
			t.Errorf("Dial: %v", err)
			return
		}
		got <- c
	}()
	return got
}

// serve takes the next connection, over TLS if cfg is given, up to the request.
func (f *fakeNet) serve(t *testing.T, priv key.NodePrivate, cfg *tls.Config) *fakeRelay {
	t.Helper()
	nc := <-f.accept
	t.Cleanup(func() { nc.Close() })
	if cfg != nil {
		nc = tls.Server(nc, cfg)
	}
	r := &fakeRelay{t: t, priv: priv, nc: nc, br: bufio.NewReader(nc)}
	var err error
	if r.req, err = http.ReadRequest(r.br); err != nil {
		t.Fatal(err)
	}
	return r
}

// greet answers the request, if the client waits for that, and sends the key.
func (r *fakeRelay) greet() {
	r.t.Helper()
	var b []byte
	if r.req.Header.Get("Derp-Fast-Start") == "" {
		b = []byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n\r\n")
	}
	r.send(relay.AppendServerKey(b, r.priv.Public()))
}

func (r *fakeRelay) readInfo() {
	r.t.Helper()
	typ, payload := r.next()
	var err error
	if r.client, r.info, err = relay.ParseClientInfo(payload, r.priv); typ != relay.FrameClientInfo || err != nil {
		r.t.Fatalf("introduction: %v, %v", typ, err)
	}
}

func (r *fakeRelay) sendInfo(info relay.ServerInfo) {
	r.t.Helper()
	b, err := relay.AppendServerInfo(nil, r.priv, r.client, info)
	if err != nil {
		r.t.Fatal(err)
	}
	r.send(b)
}

func (r *fakeRelay) send(b []byte) {
	r.t.Helper()
	if _, err := r.nc.Write(b); err != nil {
		r.t.Fatal(err)
	}
}

// next reads one frame.
func (r *fakeRelay) next() (relay.FrameType, []byte) {
	r.t.Helper()
	head := make([]byte, relay.HeaderLen)
	if _, err := io.ReadFull(r.br, head); err != nil {
		r.t.Fatal(err)
	}
	typ, n, _ := relay.ParseHeader(head)
	payload := make([]byte, n)
	if _, err := io.ReadFull(r.br, payload); err != nil {
		r.t.Fatal(err)
	}
	return typ, payload
}

// expect reads one frame, which must be this one.
func (r *fakeRelay) expect(frame []byte) {
	r.t.Helper()
	typ, payload := r.next()
	if got := relay.AppendFrame(nil, typ, payload); string(got) != string(frame) {
		r.t.Fatalf("got frame %.60x, want %.60x", got, frame)
	}
}

// pair returns an admitted client and its relay, without TLS.
func pair(t *testing.T, info relay.ServerInfo, o Options) (*Conn, *fakeRelay) {
	t.Helper()
	f := newFakeNet()
	o.URL, o.DialContext = "http://relay.example", f.dial
	got := mustDial(t, o)
	r := f.serve(t, key.NewNode(), nil)
	r.greet()
	r.readInfo()
	c := <-got
	if c == nil {
		t.FailNow()
	}
	t.Cleanup(func() { c.Close() })
	sent := make(chan struct{})
	go func() { defer close(sent); r.sendInfo(info) }()
	m, err := c.Recv()
	<-sent
	if err != nil || m.Kind != KindConnected || m.Info != info {
		t.Fatalf("first message %+v, %v", m, err)
	}
	return c, r
}

// region has one node for each host name.
func region(hosts ...string) *control.DERPRegion {
	r := &control.DERPRegion{RegionID: 900}
	for i, h := range hosts {
		r.Nodes = append(r.Nodes, &control.DERPNode{Name: "900" + string(rune('a'+i)), RegionID: 900, HostName: h})
	}
	return r
}

// issue makes a certificate signed by itself.
func issue(t *testing.T, cn string, names []string, from, to time.Time) (tls.Certificate, *x509.Certificate) {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: cn}, NotBefore: from, NotAfter: to,
		IsCA: true, BasicConstraintsValid: true,
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, priv.Public(), priv)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: priv}, leaf
}

// fresh makes a certificate that is in date.
func fresh(t *testing.T, cn string, names ...string) (tls.Certificate, *x509.Certificate) {
	t.Helper()
	return issue(t, cn, names, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
}

var errRefused = errors.New("connection refused")
