package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/crypto/acme/autocert"

	"github.com/ginnel/ginnel/internal/tlscert"
)

// certSource is where the certificate comes from.
type certSource struct {
	config *tls.Config
	pin    string            // of a self-signed certificate
	acme   *autocert.Manager // answers challenges on plain HTTP
}

// newCertSource prepares the certificate.
func newCertSource(c *config) (*certSource, error) {
	conf := tlscert.Config()
	switch c.certMode {
	case certManual:
		files, err := tlscert.OpenFiles(c.certFile, c.certKeyFile)
		if err != nil {
			return nil, err
		}
		if err := files.Current().Leaf.VerifyHostname(c.hostname); err != nil {
			return nil, fmt.Errorf("certificate %s: %w", c.certFile, err)
		}
		conf.GetCertificate = files.GetCertificate
		return &certSource{config: conf}, nil
	case certACME:
		m := tlscert.ACME{Host: c.hostname, CacheDir: filepath.Join(c.dataDir, "acme"), Email: c.acmeEmail, Directory: c.acmeDirectory}
		return &certSource{config: conf, acme: m.Manager(conf)}, nil
	}
	cert, err := loadSelfSigned(filepath.Join(c.dataDir, "self-signed.pem"), c.hostname)
	if err != nil {
		return nil, err
	}
	conf.Certificates = []tls.Certificate{*cert}
	return &certSource{config: conf, pin: tlscert.Pin(cert)}, nil
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
	text, err = tlscert.SelfSigned(programName, time.Now(), host)
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
