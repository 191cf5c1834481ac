package relay

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
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

	rclient "github.com/ginnel/ginnel/relay/client"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
	wire "github.com/ginnel/ginnel/wire/relay"
)

// testRelay is a relay behind TLS on loopback.
type testRelay struct {
	*Server
	region *control.DERPRegion
	addr   string
	http   *http.Server
}

// selfSigned makes a certificate for 127.0.0.1.
func selfSigned(t testing.TB) tls.Certificate {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "127.0.0.1"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, priv.Public(), priv)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: priv}
}

// startRelay runs a relay until the test ends.
func startRelay(t testing.TB, cfg Config) *testRelay {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cert := selfSigned(t)
	tlsCfg := s.AppendMetaCert(&tls.Config{Certificates: []tls.Certificate{cert}})
	hs := &http.Server{Handler: s.Handler(), ErrorLog: log.New(io.Discard, "", 0)}
	go hs.Serve(tls.NewListener(l, tlsCfg))
	t.Cleanup(func() { hs.Close(); s.Close() })
	port := l.Addr().(*net.TCPAddr).Port
	return &testRelay{Server: s, addr: l.Addr().String(), http: hs, region: &control.DERPRegion{
		RegionID: 900,
		Nodes: []*control.DERPNode{{
			Name: "900a", RegionID: 900, HostName: "127.0.0.1", DERPPort: port,
			CertName: wire.FormatPin(sha256.Sum256(cert.Certificate[0])),
		}},
	}}
}

// dial connects a client and waits until it is admitted.
func (r *testRelay) dial(t testing.TB, o rclient.Options) *rclient.Conn {
	t.Helper()
	if o.PrivateKey.IsZero() {
		o.PrivateKey = key.NewNode()
	}
	o.Region = r.region
	c, err := rclient.Dial(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	m, err := c.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if m.Kind != rclient.KindConnected || m.Info.Version != wire.ProtocolVersion {
		t.Fatalf("first message is %+v, want connected", m)
	}
	return c
}
