package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
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
	conf := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	switch {
	case c.TLSCert != "":
		files, err := newCertFiles(c.TLSCert, c.TLSKey)
		if err != nil {
			return nil, fmt.Errorf("tls-cert: %w", err)
		}
		conf.GetCertificate = files.get
		return &tlsSetup{config: conf, pin: pinUnlessTrusted(files.current, host)}, nil
	case c.ACMEHost != "":
		m := &autocert.Manager{
			Prompt:     autocert.AcceptTOS,
			HostPolicy: autocert.HostWhitelist(c.ACMEHost),
			Cache:      autocert.DirCache(filepath.Join(c.DataDir, "acme")),
			Email:      c.ACMEEmail,
		}
		if c.ACMEDirectory != "" {
			m.Client = &acme.Client{DirectoryURL: c.ACMEDirectory}
		}
		conf.GetCertificate = m.GetCertificate
		conf.NextProtos = append(conf.NextProtos, acme.ALPNProto)
		return &tlsSetup{config: conf, acme: m}, nil
	}
	cert, err := selfSigned(ctx, secrets, host)
	if err != nil {
		return nil, fmt.Errorf("self-signed certificate: %w", err)
	}
	conf.Certificates = []tls.Certificate{*cert}
	return &tlsSetup{config: conf, pin: certPin(cert)}, nil
}

// warnACME says so when the certificate authority cannot reach the server by itself.
func (s *Server) warnACME() {
	if s.cfg.ACMEHost == "" || slices.ContainsFunc(s.Addrs(), func(a netip.AddrPort) bool { return a.Port() == 80 || a.Port() == 443 }) {
		return
	}
	s.log.Warn("neither port 80 nor 443 is served, where the certificate authority looks: use --listen :443,:80, or forward one of them to this server",
		"host", s.cfg.ACMEHost, "listen", s.Addrs())
}

// certPin is the CertName that accepts one certificate and no other, by section
// 2.5 of the wire document relay.
func certPin(cert *tls.Certificate) string {
	sum := sha256.Sum256(cert.Certificate[0])
	return "sha256-raw:" + hex.EncodeToString(sum[:])
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
	return certPin(cert)
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
	fresh, err := makeSelfSigned(host, time.Now())
	if err != nil {
		return nil, err
	}
	if err := secrets.SetSecret(ctx, secretCertificate, fresh); err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(fresh, fresh)
	return &cert, err
}

// makeSelfSigned returns a new P-256 certificate for host and its key, in PEM.
func makeSelfSigned(host string, now time.Time) ([]byte, error) {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "ginnel-server"},
		NotBefore:             now.Add(-24 * time.Hour),
		NotAfter:              now.AddDate(10, 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	if ip := net.ParseIP(host); ip != nil {
		tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
	} else {
		tmpl.DNSNames = append(tmpl.DNSNames, strings.ToLower(host))
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, priv.Public(), priv)
	if err != nil {
		return nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		return nil, err
	}
	out := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return append(out, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...), nil
}

// certFiles serves a certificate from files and notices when they are replaced,
// so that a renewed certificate needs no restart.
type certFiles struct {
	cert, key string

	mu      sync.Mutex
	current *tls.Certificate
	stamp   time.Time // of the certificate file
	checked time.Time
}

// certCheckInterval is how often the files are looked at, at most.
const certCheckInterval = time.Minute

func newCertFiles(cert, key string) (*certFiles, error) {
	f := &certFiles{cert: cert, key: key}
	return f, f.load(time.Now())
}

func (f *certFiles) load(now time.Time) error {
	fi, err := os.Stat(f.cert)
	if err != nil {
		return err
	}
	f.checked = now
	if f.current != nil && fi.ModTime().Equal(f.stamp) {
		return nil
	}
	c, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return err
	}
	f.current, f.stamp = &c, fi.ModTime()
	return nil
}

// get returns the newest certificate that can be read.
func (f *certFiles) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := time.Now(); now.Sub(f.checked) >= certCheckInterval {
		// While one of the two files is new and the other not, they do not
		// match: the old pair serves until both are there.
		_ = f.load(now)
	}
	return f.current, nil
}
