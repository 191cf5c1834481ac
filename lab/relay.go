package lab

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/ginnel/ginnel/lab/vnet"
	"github.com/ginnel/ginnel/relay"
	"github.com/ginnel/ginnel/relay/stunserver"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
	wire "github.com/ginnel/ginnel/wire/relay"
)

// Relay is a relay on its own, in a region of its own.
type Relay struct {
	*vnet.Host
	// Region is its region ID.
	Region int

	w      *World
	name   string
	v4, v6 netip.Addr
	priv   key.NodePrivate
	cert   tls.Certificate
	stops  []func()
}

// WithRelay adds a relay region whose line takes the given time one way.
func WithRelay(name string, latency time.Duration) Option {
	return func(w *World) {
		r := &Relay{w: w, name: name, Region: 901 + len(w.relays), priv: key.NewNode()}
		r.Host, r.v4, r.v6 = w.place(name, vnet.Link{Latency: latency})
		r.cert = selfSigned(w, name)
		w.relays = append(w.relays, r)
		r.Start()
	}
}

// Relays returns the stand-alone relays.
func (w *World) Relays() []*Relay { return w.relays }

// selfSigned makes a certificate.
func selfSigned(w *World, name string) tls.Certificate {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.Fatal(err)
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name + ".test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * 365 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &priv.PublicKey, priv)
	if err != nil {
		w.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: priv}
}

// region describes the relay in the relay map.
func (r *Relay) region() *control.DERPRegion {
	return &control.DERPRegion{RegionID: r.Region, RegionCode: r.name, RegionName: r.name, Nodes: []*control.DERPNode{{
		Name: fmt.Sprintf("%da", r.Region), RegionID: r.Region, HostName: r.name + ".test",
		IPv4: r.v4.String(), IPv6: r.v6.String(), CertName: wire.FormatPin(sha256.Sum256(r.cert.Certificate[0])),
	}}}
}

// Start starts the relay, again after Stop.
func (r *Relay) Start() {
	r.w.Helper()
	srv, err := relay.New(relay.Config{PrivateKey: r.priv, Logger: r.w.logger(r.name)})
	if err != nil {
		r.w.Fatal(err)
	}
	l, err := r.ListenTCP("tcp", netip.Addr{}, 443)
	if err != nil {
		r.w.Fatal(err)
	}
	conf := srv.AppendMetaCert(&tls.Config{Certificates: []tls.Certificate{r.cert}})
	web := &http.Server{Handler: srv.Handler()}
	r.w.ended.Go(func() { _ = web.Serve(tls.NewListener(l, conf)) })
	ctx, cancel := context.WithCancel(r.w.ctx)
	for _, network := range []string{"udp4", "udp6"} {
		pc, err := r.ListenUDP(network, netip.Addr{}, 3478)
		if err != nil {
			r.w.Fatal(err)
		}
		r.w.ended.Go(func() { _ = stunserver.Serve(ctx, net.PacketConn(pc), r.w.logger(r.name), nil) })
	}
	r.stops = []func(){cancel, func() { _ = web.Close() }, func() { _ = srv.Close() }}
}

// Resume starts the relay if it does not run.
func (r *Relay) Resume() {
	if r.stops == nil {
		r.Start()
	}
}

// Stop ends the relay if it runs.
func (r *Relay) Stop() {
	for _, f := range r.stops {
		f()
	}
	r.stops = nil
}

// Crash ends the relay without a word to anyone.
func (r *Relay) Crash() {
	r.Kill()
	r.Stop()
}
