package relay

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"slices"
	"time"

	"github.com/ginnel/ginnel/wire/key"
	wire "github.com/ginnel/ginnel/wire/relay"
)

// metaValidity is how long before and after its making the meta certificate says it
// is valid. Clients look at its name only.
const metaValidity = 30 * 24 * time.Hour

// newMetaCert returns the DER form of a certificate whose name tells the relay's
// key: wire document relay, section 2.6. Its private key is not kept.
func newMetaCert(server key.NodePublic, now time.Time) ([]byte, error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber:          big.NewInt(wire.ProtocolVersion),
		Subject:               pkix.Name{CommonName: wire.MetaCommonName(server)},
		NotBefore:             now.Add(-metaValidity),
		NotAfter:              now.Add(metaValidity),
		BasicConstraintsValid: true,
	}
	return x509.CreateCertificate(rand.Reader, tmpl, tmpl, pub, priv)
}

// AppendMetaCert returns a copy of cfg with which every certificate is followed by
// the relay's meta certificate, so that clients start without waiting for an HTTP
// response. It covers static certificates, GetCertificate and GetConfigForClient.
// Records are sized for throughput. cfg is not changed.
func (s *Server) AppendMetaCert(cfg *tls.Config) *tls.Config {
	out := cfg.Clone()
	out.DynamicRecordSizingDisabled = true
	if out.MinVersion == 0 {
		out.MinVersion = tls.VersionTLS12
	}
	out.Certificates = slices.Clone(cfg.Certificates)
	for i := range out.Certificates {
		out.Certificates[i] = *s.withMeta(&out.Certificates[i])
	}
	if get := cfg.GetCertificate; get != nil {
		out.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			cert, err := get(hello)
			if cert == nil || err != nil {
				return nil, err
			}
			return s.withMeta(cert), nil
		}
	}
	if get := cfg.GetConfigForClient; get != nil {
		out.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			c, err := get(hello)
			if c == nil || err != nil {
				return nil, err
			}
			return s.AppendMetaCert(c), nil
		}
	}
	return out
}

// withMeta returns a copy of cert followed by the meta certificate.
func (s *Server) withMeta(cert *tls.Certificate) *tls.Certificate {
	c := *cert
	c.Certificate = append(slices.Clip(slices.Clone(cert.Certificate)), s.meta)
	return &c
}
