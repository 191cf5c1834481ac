package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	wire "github.com/ginnel/ginnel/wire/relay"
)

// selfSignedLife is how long a self-signed certificate is valid. Nodes hold its pin,
// so a new one means a new relay map everywhere.
const selfSignedLife = 10 * 365 * 24 * time.Hour

// certSource is where the certificate comes from.
type certSource struct {
	config *tls.Config
	pin    string            // of a self-signed certificate
	acme   *autocert.Manager // answers challenges on plain HTTP
}

// newCertSource prepares the certificate.
func newCertSource(c *config) (*certSource, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	switch c.certMode {
	case certManual:
		files := &certFiles{cert: c.certFile, key: c.certKeyFile}
		cert, err := files.get(nil)
		if err != nil {
			return nil, err
		}
		if err := cert.Leaf.VerifyHostname(c.hostname); err != nil {
			return nil, fmt.Errorf("certificate %s: %w", c.certFile, err)
		}
		conf.GetCertificate = files.get
		return &certSource{config: conf}, nil
	case certACME:
		m := &autocert.Manager{
			Prompt:     autocert.AcceptTOS,
			HostPolicy: autocert.HostWhitelist(c.hostname),
			Cache:      autocert.DirCache(filepath.Join(c.dataDir, "acme")),
			Email:      c.acmeEmail,
		}
		if c.acmeDirectory != "" {
			m.Client = &acme.Client{DirectoryURL: c.acmeDirectory}
		}
		conf.GetCertificate = m.GetCertificate
		conf.NextProtos = append(conf.NextProtos, acme.ALPNProto)
		return &certSource{config: conf, acme: m}, nil
	}
	cert, err := loadSelfSigned(filepath.Join(c.dataDir, "self-signed.pem"), c.hostname)
	if err != nil {
		return nil, err
	}
	conf.Certificates = []tls.Certificate{*cert}
	return &certSource{config: conf, pin: wire.FormatPin(sha256.Sum256(cert.Certificate[0]))}, nil
}

// certFiles is a certificate in files, read again when they change.
type certFiles struct {
	cert, key string

	mu       sync.Mutex
	current  *tls.Certificate
	modified time.Time
}

// get implements tls.Config.GetCertificate. A certificate that was good stays in use
// when its files turn bad.
func (f *certFiles) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.cert)
	if err == nil && f.current != nil && info.ModTime().Equal(f.modified) {
		return f.current, nil
	}
	if err == nil {
		var cert tls.Certificate
		if cert, err = tls.LoadX509KeyPair(f.cert, f.key); err == nil {
			f.current, f.modified = &cert, info.ModTime()
		}
	}
	if f.current == nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	return f.current, nil
}

// loadSelfSigned reads the relay's own certificate, or makes it where there is none
// or where it is for another host or at its end.
func loadSelfSigned(path, host string) (*tls.Certificate, error) {
	text, err := os.ReadFile(path)
	switch {
	case err == nil:
		cert, err := tls.X509KeyPair(text, text)
		if err != nil {
			return nil, fmt.Errorf("self-signed certificate: %s: %w; remove it to have a new one, with a new pin", path, err)
		}
		if (host == "" || cert.Leaf.VerifyHostname(host) == nil) && time.Now().Before(cert.Leaf.NotAfter) {
			return &cert, nil
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("self-signed certificate: %w", err)
	}
	text, err = makeSelfSigned(host)
	if err == nil {
		err = writeNew(path, text)
	}
	if err != nil {
		return nil, fmt.Errorf("self-signed certificate: %w", err)
	}
	cert, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, fmt.Errorf("self-signed certificate: %w", err)
	}
	return &cert, nil
}

// makeSelfSigned returns the PEM form of a new certificate for host and its key.
func makeSelfSigned(host string) ([]byte, error) {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "ginnel-relay"},
		NotBefore:    time.Now().Add(-24 * time.Hour),
		NotAfter:     time.Now().Add(selfSignedLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		tmpl.IPAddresses = []net.IP{ip}
	} else if host != "" {
		tmpl.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, priv.Public(), priv)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})...), nil
}
