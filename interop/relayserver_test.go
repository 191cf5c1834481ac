package interop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"testing"
	"time"

	"tailscale.com/derp/derpserver"
	"tailscale.com/net/stun/stuntest"
	"tailscale.com/tailcfg"

	"github.com/ginnel/ginnel/relay"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// A testRelay is a running relay of either kind, with a certificate that only
// its pin in the relay map vouches for, and a STUN server.
type testRelay struct {
	key      key.NodePublic
	port     int
	stunPort int
	pin      string
}

const testRegion = 1

// noMesh is no mesh key.
var noMesh key.MeshKey

func (r *testRelay) ourRegion() *control.DERPRegion {
	return &control.DERPRegion{RegionID: testRegion, RegionCode: "test", RegionName: "Test", Nodes: []*control.DERPNode{{
		Name: "1a", RegionID: testRegion, HostName: "127.0.0.1", IPv4: "127.0.0.1", IPv6: "none",
		DERPPort: r.port, STUNPort: r.stunPort, CertName: r.pin,
	}}}
}

func (r *testRelay) theirRegion() *tailcfg.DERPRegion {
	return &tailcfg.DERPRegion{RegionID: testRegion, RegionCode: "test", RegionName: "Test", Nodes: []*tailcfg.DERPNode{{
		Name: "1a", RegionID: testRegion, HostName: "127.0.0.1", IPv4: "127.0.0.1", IPv6: "none",
		DERPPort: r.port, STUNPort: r.stunPort, CertName: r.pin, STUNTestIP: "127.0.0.1",
	}}}
}

func (r *testRelay) theirMap() *tailcfg.DERPMap {
	return &tailcfg.DERPMap{Regions: map[int]*tailcfg.DERPRegion{testRegion: r.theirRegion()}}
}

// selfSigned makes a certificate and the pin that vouches for it.
func selfSigned(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "127.0.0.1"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, priv.Public(), priv)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: priv}, fmt.Sprintf("sha256-raw:%x", sha256.Sum256(der))
}

// serveTLS serves the handler over TLS on a loopback port until the test ends.
func serveTLS(t *testing.T, h http.Handler, withMeta func(*tls.Config) *tls.Config) (port int, pin string) {
	t.Helper()
	cert, pin := selfSigned(t)
	cfg := withMeta(&tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}})
	ln, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
	return ln.Addr().(*net.TCPAddr).Port, pin
}

func startOurRelay(t *testing.T, mesh key.MeshKey) *testRelay {
	t.Helper()
	priv := key.NewNode()
	s, err := relay.New(relay.Config{PrivateKey: priv, MeshKey: mesh, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	r := &testRelay{key: priv.Public()}
	r.port, r.pin = serveTLS(t, s.Handler(), s.AppendMetaCert)
	r.stunPort = startOurSTUN(t)
	return r
}

func startTheirRelay(t *testing.T, mesh key.MeshKey) *testRelay {
	t.Helper()
	priv := key.NewNode()
	s := derpserver.New(theirNodePrivate(priv), t.Logf)
	t.Cleanup(func() { s.Close() })
	if !mesh.IsZero() {
		if err := s.SetMeshKey(mesh.SecretText()); err != nil {
			t.Fatal(err)
		}
	}
	mux := http.NewServeMux()
	mux.Handle("/derp", derpserver.Handler(s))
	mux.HandleFunc("/derp/probe", derpserver.ProbeHandler)
	mux.HandleFunc("/generate_204", derpserver.ServeNoContent)
	r := &testRelay{key: priv.Public()}
	r.port, r.pin = serveTLS(t, mux, func(c *tls.Config) *tls.Config {
		cert := c.Certificates[0]
		c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil }
		s.ModifyTLSConfigToAddMetaCert(c)
		return c
	})
	stunAddr, stop := stuntest.Serve(t)
	t.Cleanup(stop)
	r.stunPort = stunAddr.Port
	return r
}
