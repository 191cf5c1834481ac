package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/ginnel/ginnel/internal/httpcount"
	"github.com/ginnel/ginnel/internal/version"
	"github.com/ginnel/ginnel/relay"
	"github.com/ginnel/ginnel/relay/mesh"
	"github.com/ginnel/ginnel/relay/stunserver"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// httpTimeout bounds TLS setup and plain requests; relay connections end it.
const httpTimeout = 30 * time.Second

// service is the running program.
type service struct {
	cfg      *config
	log      *slog.Logger
	priv     key.NodePrivate
	meshKey  key.MeshKey
	cert     *certSource
	registry *prometheus.Registry
	badConns prometheus.Counter
	relay    *relay.Server

	tcp, plain net.Listener // plain may be nil
	udp        net.PacketConn
}

// newService opens everything, so that what cannot work is known before anything is
// served.
func newService(ctx context.Context, cfg *config, stderr io.Writer) (s *service, err error) {
	s = &service{cfg: cfg, log: cfg.logger(stderr), registry: prometheus.NewRegistry()}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	s.badConns = prometheus.NewCounter(prometheus.CounterOpts{Name: "derp_bad_connections", Help: "Connections that spoke neither HTTP nor TLS as they should."})
	s.registry.MustRegister(s.badConns, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if s.priv, err = loadKey(cfg.keyFile); err != nil {
		return s, err
	}
	if s.meshKey, err = loadMeshKey(cfg.meshKeyFile); err != nil {
		return s, err
	}
	if s.cert, err = newCertSource(cfg); err != nil {
		return s, err
	}
	rc := relay.Config{
		PrivateKey: s.priv, Logger: s.log, MeshKey: s.meshKey, Metrics: s.registry,
		WriteTimeout: cfg.writeTimeout, QueueBytes: cfg.queueBytes,
	}
	if cfg.verifyURL != "" {
		rc.Verify = relay.VerifyURL(cfg.verifyURL, cfg.verifyFailOpen, nil)
	}
	if s.relay, err = relay.New(rc); err != nil {
		return s, err
	}
	return s, s.open(ctx)
}

// open opens the sockets.
func (s *service) open(ctx context.Context) (err error) {
	if s.tcp, err = relay.Listen(ctx, "tcp", s.cfg.listen); err != nil {
		return listenError("listen", err)
	}
	if s.cfg.acceptLimit > 0 {
		s.tcp = limitAccepts(s.tcp, s.cfg.acceptLimit, s.cfg.acceptBurst)
	}
	if s.cfg.httpListen != "" {
		if s.plain, err = net.Listen("tcp", s.cfg.httpListen); err != nil {
			return listenError("http-listen", err)
		}
	}
	if s.cfg.stunListen != "" {
		if s.udp, err = net.ListenPacket("udp", s.cfg.stunListen); err != nil {
			return listenError("stun-listen", err)
		}
	}
	return nil
}

// listenError says what can be done about a socket that does not open.
func listenError(flag string, err error) error {
	hint := ""
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		hint = ": another program has this address; stop it, or choose another with --" + flag
	case errors.Is(err, syscall.EACCES):
		hint = ": ports below 1024 need root or CAP_NET_BIND_SERVICE; or choose another with --" + flag
	}
	return fmt.Errorf("--%s: %w%s", flag, err, hint)
}

// close closes what is open.
func (s *service) close() {
	for _, l := range []net.Listener{s.tcp, s.plain} {
		if l != nil {
			l.Close()
		}
	}
	if s.udp != nil {
		s.udp.Close()
	}
	if s.relay != nil {
		s.relay.Close()
	}
}

// serve runs all parts until ctx ends or one fails.
func (s *service) serve(ctx context.Context) error {
	s.log.Info("relay is serving", "listen", s.tcp.Addr(), "key", s.relay.PublicKey(), "cert_mode", s.cfg.certMode, "version", version.Get().Short)
	g, ctx := errgroup.WithContext(ctx)
	s.serveHTTP(ctx, g, tls.NewListener(s.tcp, s.relay.AppendMetaCert(s.cert.config)), s.handler())
	if s.plain != nil {
		s.serveHTTP(ctx, g, s.plain, s.plainHandler())
	}
	if s.udp != nil {
		g.Go(func() error { return stunserver.Serve(ctx, s.udp, s.log, s.registry) })
	}
	for _, p := range s.cfg.peers {
		g.Go(func() error {
			return mesh.Run(ctx, mesh.Config{Relay: s.relay, PrivateKey: s.priv, MeshKey: s.meshKey, Peer: p, Logger: s.log})
		})
	}
	g.Go(func() error {
		<-ctx.Done()
		return s.relay.Close()
	})
	if err := g.Wait(); err != nil {
		return err
	}
	s.log.Info("relay has stopped")
	return nil
}

// serveHTTP serves h on l until ctx ends.
func (s *service) serveHTTP(ctx context.Context, g *errgroup.Group, l net.Listener, h http.Handler) {
	hs := &http.Server{
		Handler: h, ReadTimeout: httpTimeout, WriteTimeout: httpTimeout, IdleTimeout: httpTimeout,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	httpcount.Watch(hs, s.badConns.Inc)
	g.Go(func() error {
		if err := hs.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serving %v: %w", l.Addr(), err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		return hs.Close()
	})
}

// printRegion prints the entry by which a relay map names this relay.
func (s *service) printRegion(w io.Writer) error {
	r := s.region()
	text, err := json.MarshalIndent(map[string]*control.DERPRegion{strconv.Itoa(r.RegionID): r}, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", text)
	return err
}

// region is this relay in a relay map.
func (s *service) region() *control.DERPRegion {
	n := &control.DERPNode{
		Name: strconv.Itoa(s.cfg.regionID) + "a", RegionID: s.cfg.regionID, HostName: s.cfg.hostname,
		CertName: s.cert.pin, DERPPort: portOf(s.tcp.Addr()), STUNPort: -1,
		CanPort80: s.plain != nil && portOf(s.plain.Addr()) == 80,
	}
	if n.HostName == "" {
		n.HostName = guessHost(s.tcp.Addr())
	}
	if s.udp != nil {
		n.STUNPort = portOf(s.udp.LocalAddr())
	}
	if ip, err := netip.ParseAddr(n.HostName); err == nil {
		n.IPv4, n.IPv6 = "none", "none"
		if ip.Is4() {
			n.IPv4 = ip.String()
		} else {
			n.IPv6 = ip.String()
		}
	}
	return &control.DERPRegion{RegionID: s.cfg.regionID, RegionCode: s.cfg.regionCode, RegionName: s.cfg.regionName, Nodes: []*control.DERPNode{n}}
}

// portOf is the port of a socket's address.
func portOf(a net.Addr) int {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return 0
	}
	return int(ap.Port())
}

// guessHost is what to tell nodes when nothing was said: the address listened on or,
// when that is all of them, a stand-in to be edited.
func guessHost(a net.Addr) string {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil || ap.Addr().IsUnspecified() {
		return "relay.example.com"
	}
	return ap.Addr().Unmap().String()
}
