package tlscert

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"github.com/ginnel/ginnel/wire/relay"
)

// Config returns the TLS configuration of a server whose protocols need HTTP/1.1,
// without a certificate.
func Config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
}

// Pin is the CertName that accepts one certificate and no other, by section 2.5 of
// the wire document relay.
func Pin(cert *tls.Certificate) string { return relay.FormatPin(sha256.Sum256(cert.Certificate[0])) }

// ACME says how to get a certificate from an authority.
type ACME struct {
	Host      string // public DNS name
	CacheDir  string
	Email     string // told to the authority; may be empty
	Directory string // URL of the authority; empty for Let's Encrypt
}

// Manager returns what gets certificates and renews them, and lets conf use it.
func (a ACME) Manager(conf *tls.Config) *autocert.Manager {
	m := &autocert.Manager{
		Prompt:     autocert.AcceptTOS,
		HostPolicy: a.allow,
		Cache:      autocert.DirCache(a.CacheDir),
		Email:      a.Email,
	}
	if a.Directory != "" {
		m.Client = &acme.Client{DirectoryURL: a.Directory}
	}
	conf.GetCertificate = m.GetCertificate
	conf.NextProtos = append(conf.NextProtos, acme.ALPNProto)
	return m
}

// allow refuses certificates for other hosts. For a challenge over HTTP it is asked
// with what the request's Host header says, in which some validators name the port.
func (a ACME) allow(ctx context.Context, host string) error {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return autocert.HostWhitelist(a.Host)(ctx, host)
}

// Files is a certificate in files, read again when they are replaced, so that a
// renewed one needs no restart.
type Files struct {
	cert, key string

	mu       sync.Mutex
	current  *tls.Certificate
	modified time.Time // the certificate file, when it was read
}

// OpenFiles reads a certificate chain and its private key, in PEM.
func OpenFiles(cert, key string) (*Files, error) {
	f := &Files{cert: cert, key: key}
	if err := f.load(); err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	return f, nil
}

// load reads the files if they have changed.
func (f *Files) load() error {
	info, err := os.Stat(f.cert)
	if err != nil || f.current != nil && info.ModTime().Equal(f.modified) {
		return err
	}
	cert, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return err
	}
	f.current, f.modified = &cert, info.ModTime()
	return nil
}

// Current returns the newest certificate that could be read.
func (f *Files) Current() *tls.Certificate {
	f.mu.Lock()
	defer f.mu.Unlock()
	// While one of the two files is new and the other not, they do not match: the
	// old pair serves until both are there.
	_ = f.load()
	return f.current
}

// GetCertificate is Current for tls.Config.
func (f *Files) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return f.Current(), nil
}
