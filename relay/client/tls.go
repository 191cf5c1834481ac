package client

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/ginnel/ginnel/wire/key"
	"github.com/ginnel/ginnel/wire/relay"
)

// startTLS makes nc a TLS connection to t and returns the relay's key if its meta
// certificate told it, else the zero key.
func startTLS(ctx context.Context, o *Options, t *target, nc net.Conn) (*tls.Conn, key.NodePublic, error) {
	cfg, err := tlsConfig(o.TLSConfig, t)
	if err != nil {
		return nil, key.NodePublic{}, err
	}
	tc := tls.Client(nc, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, key.NodePublic{}, fmt.Errorf("TLS with %s: %w", t.hostPort(), err)
	}
	return tc, metaKey(tc.ConnectionState()), nil
}

// tlsConfig returns the configuration for t: wire document relay, sections 2.4
// and 2.5.
func tlsConfig(base *tls.Config, t *target) (*tls.Config, error) {
	cfg := &tls.Config{}
	if base != nil {
		cfg = base.Clone()
	}
	cfg.ServerName = t.host
	cfg.NextProtos = nil // the upgrade works over HTTP/1.1 alone
	cfg.DynamicRecordSizingDisabled = true
	if cfg.MinVersion == 0 {
		cfg.MinVersion = tls.VersionTLS12
	}
	pin, isPin, err := relay.ParsePin(t.certName)
	if err != nil {
		return nil, fmt.Errorf("relay %s: %w", t.host, err)
	}
	now := cfg.Time
	if now == nil {
		now = time.Now
	}
	switch {
	case t.insecure:
		cfg.InsecureSkipVerify = true
	case isPin:
		cfg.InsecureSkipVerify = true // replaced by the pin
		cfg.VerifyConnection = func(cs tls.ConnectionState) error {
			return verifyPin(cs.PeerCertificates, pin, t.host, now())
		}
	case t.certName != "":
		cfg.InsecureSkipVerify = true // replaced by a check for the other name
		cfg.VerifyConnection = func(cs tls.ConnectionState) error {
			return verifyName(cs.PeerCertificates, t.certName, cfg.RootCAs, now())
		}
	}
	return cfg, nil
}

// verifyPin checks that the only certificate besides the meta certificate is the
// pinned one, is for host if that is a name, and is in date.
func verifyPin(certs []*x509.Certificate, pin [32]byte, host string, now time.Time) error {
	var leaf *x509.Certificate
	for _, c := range certs {
		if strings.HasPrefix(c.Subject.CommonName, relay.MetaCertPrefix) {
			continue
		}
		if leaf != nil {
			return errors.New("pinned relay shows more than one certificate")
		}
		leaf = c
	}
	if leaf == nil {
		return errors.New("pinned relay shows no certificate")
	}
	if sum := sha256.Sum256(leaf.Raw); sum != pin {
		return fmt.Errorf("relay's certificate is %s, not the pinned one", relay.FormatPin(sum))
	}
	if _, err := netip.ParseAddr(host); err != nil {
		if err := leaf.VerifyHostname(host); err != nil {
			return err
		}
	}
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return fmt.Errorf("pinned certificate is valid from %v to %v; it is %v here",
			leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}

// verifyName checks the chain for a name other than the one asked for.
func verifyName(certs []*x509.Certificate, name string, roots *x509.CertPool, now time.Time) error {
	if len(certs) == 0 {
		return errors.New("relay shows no certificate")
	}
	opts := x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: x509.NewCertPool(), CurrentTime: now}
	for _, c := range certs[1:] {
		opts.Intermediates.AddCert(c)
	}
	_, err := certs[0].Verify(opts)
	return err
}

// metaKey returns the relay's key from its meta certificate, which counts only where
// certificates are encrypted: wire document relay, section 2.6.
func metaKey(cs tls.ConnectionState) key.NodePublic {
	if cs.Version < tls.VersionTLS13 {
		return key.NodePublic{}
	}
	for _, c := range cs.PeerCertificates {
		if c.SerialNumber == nil || c.SerialNumber.Sign() < 0 || c.SerialNumber.BitLen() > 8 {
			continue
		}
		if k, ok := relay.ParseMetaCommonName(c.Subject.CommonName); ok {
			return k
		}
	}
	return key.NodePublic{}
}
