package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/crypto/acme/autocert"

	"github.com/ginnel/ginnel/internal/tlscert"
)

// secretStore keeps the server's secrets.
type secretStore interface {
	Secret(ctx context.Context, name string) ([]byte, error)
	SetSecret(ctx context.Context, name string, value []byte) error
}

// Names of secrets.
const (
	secretMachineKey  = "machine-key"
	secretRelayKey    = "relay-key"
	secretCertificate = "tls-self-signed"
)

// tlsSetup is how the server speaks TLS.
type tlsSetup struct {
	config *tls.Config
	// pin is the certName of the relay: empty where the certificate is one that
	// nodes trust anyway.
	pin string
	// acme answers the authority's HTTP challenge, nil without ACME.
	acme *autocert.Manager
}

// newTLS prepares TLS for host, the host by which nodes reach the relay.
func newTLS(ctx context.Context, c *Config, host string, secrets secretStore) (*tlsSetup, error) {
	conf := tlscert.Config()
	switch {
	case c.TLSCert != "":
		files, err := tlscert.OpenFiles(c.TLSCert, c.TLSKey)
		if err != nil {
			return nil, fmt.Errorf("tls-cert: %w", err)
		}
		conf.GetCertificate = files.GetCertificate
		return &tlsSetup{config: conf, pin: pinUnlessTrusted(files.Current(), host)}, nil
	case c.ACMEHost != "":
		m := tlscert.ACME{Host: c.ACMEHost, CacheDir: filepath.Join(c.DataDir, "acme"), Email: c.ACMEEmail, Directory: c.ACMEDirectory}
		return &tlsSetup{config: conf, acme: m.Manager(conf)}, nil
	}
	cert, err := selfSigned(ctx, secrets, host)
	if err != nil {
		return nil, fmt.Errorf("self-signed certificate: %w", err)
	}
	conf.Certificates = []tls.Certificate{*cert}
	return &tlsSetup{config: conf, pin: tlscert.Pin(cert)}, nil
}

// warnACME says so when the certificate authority cannot reach the server by itself.
func (s *Server) warnACME() {
	if s.cfg.ACMEHost == "" || slices.ContainsFunc(s.Addrs(), func(a netip.AddrPort) bool { return a.Port() == 80 || a.Port() == 443 }) {
		return
	}
	s.log.Warn(acmePorts,
		"host", s.cfg.ACMEHost, "listen", s.Addrs())
}

// pinUnlessTrusted pins a certificate that nodes would not trust for host by
// themselves, as far as this machine's roots tell. A chain cannot be pinned.
func pinUnlessTrusted(cert *tls.Certificate, host string) string {
	inter := x509.NewCertPool()
	for _, der := range cert.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			inter.AddCert(c)
		}
	}
	_, err := cert.Leaf.Verify(x509.VerifyOptions{DNSName: host, Intermediates: inter})
	if err == nil || len(cert.Certificate) != 1 {
		return ""
	}
	return tlscert.Pin(cert)
}

// selfSigned returns the server's own certificate, made anew when there is none,
// it is not for host, or it nears its end.
func selfSigned(ctx context.Context, secrets secretStore, host string) (*tls.Certificate, error) {
	kept, err := secrets.Secret(ctx, secretCertificate)
	if err != nil {
		return nil, err
	}
	if kept != nil {
		cert, err := tls.X509KeyPair(kept, kept)
		if err == nil && cert.Leaf.VerifyHostname(host) == nil && time.Until(cert.Leaf.NotAfter) > 90*24*time.Hour {
			return &cert, nil
		}
	}
	fresh, err := tlscert.SelfSigned("ginnel-server", time.Now(), host, "localhost", "127.0.0.1", "::1")
	if err != nil {
		return nil, err
	}
	if err := secrets.SetSecret(ctx, secretCertificate, fresh); err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(fresh, fresh)
	return &cert, err
}
