package netcheck

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ginnel/ginnel/wire/control"
)

// fallback measures regions over HTTPS if no STUN answer comes soon, until ctx ends.
func (r *run) fallback(ctx context.Context) {
	if r.c.Send != nil {
		select {
		case <-time.After(httpsAfter):
		case <-ctx.Done():
			return
		}
		if r.gotUDP() {
			return
		}
	}
	var wg sync.WaitGroup
	for _, region := range sortedRegions(r.m, func(g *control.DERPRegion) bool { return measurable(g) && !g.Avoid }) {
		wg.Go(func() {
			d, err := r.c.httpsLatency(ctx, region)
			if err != nil {
				r.log.Debug("no HTTPS latency", "region", region.RegionCode, "error", err)
				return
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.https[region.RegionID] = d
		})
	}
	wg.Wait()
}

// httpsLatency measures one request to the first relay of a region, on a connection
// that is set up before (wire document relay, section 13).
func (c *Client) httpsLatency(ctx context.Context, region *control.DERPRegion) (time.Duration, error) {
	err := errors.New("region has no relay")
	for _, n := range region.Nodes {
		if n.STUNOnly {
			continue
		}
		var d time.Duration
		if d, err = c.nodeLatency(ctx, n); err == nil {
			return d, nil
		}
	}
	return 0, err
}

// nodeLatency measures one request to a relay.
func (c *Client) nodeLatency(ctx context.Context, n *control.DERPNode) (time.Duration, error) {
	raw, err := c.dialNode(ctx, n)
	if err != nil {
		return 0, err
	}
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	conn := tls.Client(raw, tlsConfig(n))
	if err := conn.HandshakeContext(ctx); err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+n.HostName+"/derp/latency-check", nil)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if err := req.Write(conn); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		return 0, err
	}
	resp.Body.Close()
	if resp.StatusCode > 299 {
		return 0, fmt.Errorf("latency check: status %d", resp.StatusCode)
	}
	return time.Since(start), nil
}

// dialNode opens a TCP connection to a relay, over the first family that works.
func (c *Client) dialNode(ctx context.Context, n *control.DERPNode) (net.Conn, error) {
	dial := c.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	port := n.DERPPort
	if port == 0 {
		port = 443
	}
	err := errNoAddr
	for _, fam := range []struct{ network, addr string }{{"tcp4", n.IPv4}, {"tcp6", n.IPv6}} {
		host := n.HostName
		if fam.addr != "" {
			if _, bad := netip.ParseAddr(fam.addr); bad != nil {
				continue
			}
			host = fam.addr
		}
		var conn net.Conn
		if conn, err = dial(ctx, fam.network, net.JoinHostPort(host, strconv.Itoa(port))); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// Certificates of relays: wire document relay, sections 2.5 and 2.6.
const (
	pinPrefix  = "sha256-raw:"
	metaPrefix = "derpkey"
)

// tlsConfig returns how to verify a relay: by its name, by another, or by a pin.
func tlsConfig(n *control.DERPNode) *tls.Config {
	cfg := &tls.Config{ServerName: n.HostName, InsecureSkipVerify: n.InsecureForTests}
	switch pin, pinned := strings.CutPrefix(n.CertName, pinPrefix); {
	case n.InsecureForTests || n.CertName == "":
	case pinned:
		cfg.InsecureSkipVerify = true // the pin is verified instead
		cfg.VerifyConnection = func(cs tls.ConnectionState) error { return verifyPin(cs.PeerCertificates, pin) }
	default:
		cfg.InsecureSkipVerify = true // verified under the other name
		cfg.VerifyConnection = func(cs tls.ConnectionState) error { return verifyName(cs.PeerCertificates, n.CertName) }
	}
	return cfg
}

// verifyPin accepts exactly one certificate, besides the relay's own hints, with the
// given hash.
func verifyPin(certs []*x509.Certificate, pin string) error {
	var found []*x509.Certificate
	for _, cert := range certs {
		if !strings.HasPrefix(cert.Subject.CommonName, metaPrefix) {
			found = append(found, cert)
		}
	}
	if len(found) != 1 {
		return fmt.Errorf("%d certificates, want the one that is pinned", len(found))
	}
	sum := sha256.Sum256(found[0].Raw)
	if hex.EncodeToString(sum[:]) != pin {
		return errors.New("certificate is not the pinned one")
	}
	return nil
}

// verifyName verifies a chain under a name of our choice.
func verifyName(certs []*x509.Certificate, name string) error {
	if len(certs) == 0 {
		return errors.New("no certificate")
	}
	opts := x509.VerifyOptions{DNSName: name, Intermediates: x509.NewCertPool()}
	for _, cert := range certs[1:] {
		opts.Intermediates.AddCert(cert)
	}
	_, err := certs[0].Verify(opts)
	return err
}
