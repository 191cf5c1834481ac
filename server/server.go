package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ginnel/ginnel/internal/connlimit"
	"github.com/ginnel/ginnel/internal/httpcount"
	"github.com/ginnel/ginnel/internal/version"
	"github.com/ginnel/ginnel/relay"
	"github.com/ginnel/ginnel/relay/stunserver"
	"github.com/ginnel/ginnel/server/admin"
	"github.com/ginnel/ginnel/server/control"
	"github.com/ginnel/ginnel/server/maps"
	"github.com/ginnel/ginnel/server/store"
	"github.com/ginnel/ginnel/server/tailnet"
	wire "github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// Server is a running coordination server.
type Server struct {
	cfg     Config
	log     *slog.Logger
	metrics *prometheus.Registry
	started time.Time

	store   *store.SQLite
	tailnet *tailnet.Service
	hub     *maps.Hub
	control *control.Server
	relay   *relay.Server       // nil without
	unwatch func()              // ends what keeps relay in step with tailnet
	names   *relay.BootstrapDNS // nil without relay
	admin   *admin.Server
	tls     *tlsSetup

	limit    *connlimit.Limiter
	sniffers []*sniffer
	web      *http.Server
	adminL   net.Listener
	metricsL net.Listener   // nil without
	stun     net.PacketConn // nil without

	url     string
	derpMap *wire.DERPMap
	// firstJoin is the command that joins the first node, at the first start.
	firstJoin string

	closing sync.Once
	closed  chan struct{} // by Close
}

// shutdownTime is how long requests under way may take when the server ends.
const shutdownTime = 5 * time.Second

// New opens everything that the server needs: data directory, database, sockets.
// Run serves on them. On an error nothing stays open.
func New(cfg Config) (*Server, error) {
	if err := cfg.Check(); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	s := &Server{cfg: cfg, log: cfg.logger(), metrics: prometheus.NewRegistry(), started: time.Now(), closed: make(chan struct{})}
	if cfg.strangers == (connlimit.Limits{}) {
		cfg.strangers = strangerLimits()
	}
	s.limit = connlimit.New(cfg.strangers)
	if err := s.open(context.Background()); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Server) open(ctx context.Context) (err error) {
	if s.store, err = store.Open(s.cfg.DataDir); err != nil {
		return err
	}
	admin.RemoveLeftovers(s.cfg.DataDir)
	if err := s.listen(); err != nil {
		return err
	}
	if s.tailnet, err = tailnet.Open(ctx, s.store, tailnet.Options{
		Logger:           s.log.With("part", "tailnet"),
		IPv4:             s.cfg.IPv4Range,
		IPv6:             s.cfg.IPv6Range,
		NodeKeyExpiry:    s.cfg.NodeKeyExpiry,
		RequireApproval:  s.cfg.RequireApproval,
		EphemeralTimeout: s.cfg.EphemeralTimeout,
		AuditKeep:        s.cfg.AuditKeep,
	}); err != nil {
		return err
	}
	if err := s.openRelay(ctx); err != nil {
		return err
	}
	s.hub = maps.NewHub(s.tailnet, maps.Config{
		BaseDomain: s.cfg.BaseDomain,
		DERPMap:    func() *wire.DERPMap { return s.derpMap },
	})
	machineKey, err := loadKey(ctx, s.store, secretMachineKey, key.NewMachine)
	if err != nil {
		return err
	}
	if s.control, err = control.New(control.Config{
		Tailnet:    s.tailnet,
		Maps:       s.hub,
		PrivateKey: machineKey,
		PublicURL:  s.url,
		Logger:     s.log.With("part", "control"),
		Metrics:    s.metrics,
	}); err != nil {
		return err
	}
	badConnections := s.badConnections().Inc
	s.admin = admin.NewServer(admin.Config{
		Bad:        badConnections,
		Tailnet:    s.tailnet,
		Backup:     s.store.Backup,
		ScratchDir: s.cfg.DataDir,
		Status:     s.status,
		Logger:     s.log.With("part", "admin"),
	})
	s.registerMetrics()
	s.web = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      requestTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		TLSNextProto:      noHTTP2,
	}
	httpcount.Watch(s.web, badConnections)
	return s.firstStart(ctx)
}

// listen opens the sockets. The lock of the data directory is held already.
func (s *Server) listen() error {
	c := &s.cfg
	if c.ListenTCP == nil {
		c.ListenTCP = func(addr string) (net.Listener, error) { return net.Listen("tcp", addr) }
	}
	if c.ListenUDP == nil {
		c.ListenUDP = func(addr string) (net.PacketConn, error) { return net.ListenPacket("udp", addr) }
	}
	if c.ListenAdmin == nil {
		c.ListenAdmin = admin.Listen
	}
	for _, addr := range s.cfg.Listen {
		l, err := c.ListenTCP(addr)
		if err != nil {
			return listenError("listen", addr, err)
		}
		s.sniffers = append(s.sniffers, newSniffer(l, s.limit, s.log))
	}
	var err error
	if s.cfg.MetricsListen != "" {
		if s.metricsL, err = c.ListenTCP(c.MetricsListen); err != nil {
			return listenError("metrics-listen", s.cfg.MetricsListen, err)
		}
	}
	if s.cfg.STUN != "" {
		if s.stun, err = c.ListenUDP(c.STUN); err != nil {
			return listenError("stun", s.cfg.STUN, err)
		}
	}
	if s.adminL, err = c.ListenAdmin(c.SocketPath()); err != nil {
		return err
	}
	s.url = s.cfg.publicURL(s.Addrs())
	return nil
}

// listenError says what to do when a socket cannot be opened.
func listenError(setting, addr string, err error) error {
	advice := "choose another address with --" + setting
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		err = errors.New("another program uses the address already")
		advice = "stop it, or " + advice
	case errors.Is(err, syscall.EACCES):
		err = errors.New("permission denied")
		advice = "ports below 1024 need root or the capability CAP_NET_BIND_SERVICE; " + advice
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		err = errors.New("this machine does not have that address")
	}
	if setting == "stun" {
		advice += ", or do without STUN with --stun="
	}
	return fmt.Errorf("cannot listen on %s: %w; %s", addr, err, advice)
}

// openRelay prepares TLS, the embedded relay and the relay map.
func (s *Server) openRelay(ctx context.Context) error {
	place := &relayPlace{region: s.cfg.RelayRegion, stunPort: -1}
	place.host, place.port = hostPort(s.url)
	if s.cfg.RelayAddr != "" {
		host, port, _ := net.SplitHostPort(s.cfg.RelayAddr) // Check has looked at it
		place.host = host
		place.port, _ = strconv.Atoi(port)
	}
	var err error
	if s.tls, err = newTLS(ctx, &s.cfg, place.host, s.store); err != nil {
		return err
	}
	if !s.cfg.tlsEndsElsewhere() {
		place.certName = s.tls.pin
	}
	if s.stun != nil {
		place.stunPort = s.stun.LocalAddr().(*net.UDPAddr).Port
	}
	var extra *wire.DERPMap
	if s.cfg.DERPMapFile != "" {
		if extra, err = readDERPMap(s.cfg.DERPMapFile); err != nil {
			return fmt.Errorf("derp-map: %w", err)
		}
	}
	if !s.cfg.Relay {
		place = nil
	} else if err := s.startRelay(ctx); err != nil {
		return err
	}
	s.derpMap, err = relayMap(place, extra)
	return err
}

func (s *Server) startRelay(ctx context.Context) error {
	priv, err := loadKey(ctx, s.store, secretRelayKey, key.NewNode)
	if err != nil {
		return err
	}
	s.relay, err = relay.New(relay.Config{
		PrivateKey: priv,
		Logger:     s.log.With("part", "relay"),
		Metrics:    s.metrics,
		Verify: func(_ context.Context, client key.NodePublic, _ netip.Addr) error {
			if !mayRelay(s.tailnet.Snapshot(), client) {
				return errNotOurs
			}
			return nil
		},
	})
	if err == nil {
		_, s.unwatch = s.tailnet.Subscribe(s.evict)
		s.names = relay.NewBootstrapDNS(s.ownNames(), s.cfg.Lookup, s.log.With("part", "bootstrap-dns"))
	}
	return err
}

var errNotOurs = errors.New("not a node of this network")

// ownNames returns the names of this server that nodes may have to resolve.
func (s *Server) ownNames() []string {
	host, _ := hostPort(s.url)
	if _, err := netip.ParseAddr(host); err == nil || host == "localhost" {
		return nil
	}
	return []string{host}
}

// mayRelay reports whether a node may use relays: it is known, approved and its
// key is valid.
func mayRelay(snap *tailnet.Snapshot, k key.NodePublic) bool {
	n := snap.NodeByKey(k)
	return n != nil && n.Authorized && !n.Expired(time.Now())
}

// textKey is a private key that has a text form.
type textKey[T any] interface {
	*T
	UnmarshalText([]byte) error
	MarshalText() ([]byte, error)
}

// loadKey returns the private key of that name, made and stored the first time.
func loadKey[T any, P textKey[T]](ctx context.Context, secrets secretStore, name string, make func() T) (T, error) {
	var k T
	text, err := secrets.Secret(ctx, name)
	if err != nil {
		return k, err
	}
	if text != nil {
		if err := P(&k).UnmarshalText(text); err != nil {
			return k, fmt.Errorf("the stored %s is damaged: %w", name, err)
		}
		return k, nil
	}
	k = make()
	if text, err = P(&k).MarshalText(); err != nil {
		return k, err
	}
	return k, secrets.SetSecret(ctx, name, text)
}

// firstStart gives a new server a user, and a key for the first node.
func (s *Server) firstStart(ctx context.Context) error {
	if s.tailnet.Snapshot().Seq() != 0 {
		return nil
	}
	by := tailnet.Actor{Kind: tailnet.ActorServer, Name: "first start"}
	u, err := s.tailnet.CreateUser(ctx, by, tailnet.DefaultTailnet, tailnet.UserParams{LoginName: "admin", DisplayName: "Admin"})
	if err != nil {
		return fmt.Errorf("making the first user: %w", err)
	}
	_, secret, err := s.tailnet.CreateAuthKey(ctx, by, tailnet.AuthKeyParams{
		UserID: u.ID, Preauthorized: true, Description: "first node", Expiry: time.Now().Add(time.Hour),
	})
	if err != nil {
		return fmt.Errorf("making the first auth key: %w", err)
	}
	s.firstJoin = admin.JoinCommand(s.url, secret)
	return nil
}

// URL returns the URL by which nodes reach the server.
func (s *Server) URL() string { return s.url }

// Tailnet returns the model and its commands.
func (s *Server) Tailnet() *tailnet.Service { return s.tailnet }

// DERPMap returns the relay map that nodes are given. It must not be changed.
func (s *Server) DERPMap() *wire.DERPMap { return s.derpMap }

// Addrs returns the TCP addresses that the server listens on.
func (s *Server) Addrs() []netip.AddrPort {
	var out []netip.AddrPort
	for _, sn := range s.sniffers {
		out = append(out, sn.l.Addr().(*net.TCPAddr).AddrPort())
	}
	return out
}

// FirstJoin returns the command that joins the first node. It is empty but at
// the first start of a server.
func (s *Server) FirstJoin() string { return s.firstJoin }

// Run serves until ctx ends, then lets requests under way finish and closes
// everything. It returns nil when ctx or Close ended it.
func (s *Server) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	failed := make(chan error, 1)
	var wg sync.WaitGroup
	serve := func(part string, fn func() error) {
		wg.Go(func() {
			if err := fn(); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) && ctx.Err() == nil {
				select {
				case failed <- fmt.Errorf("%s: %w", part, err):
				default:
				}
			}
		})
	}
	for _, sn := range s.sniffers {
		serve("http", func() error { return s.web.Serve(sn.http) })
		serve("https", func() error { return s.web.Serve(s.tlsListener(sn)) })
	}
	serve("admin", func() error { return s.admin.Serve(s.adminL) })
	if s.names != nil {
		wg.Go(func() { s.names.Run(ctx) })
	}
	if s.stun != nil {
		serve("stun", func() error { return stunserver.Serve(ctx, s.stun, s.log.With("part", "stun"), s.metrics) })
	}
	if s.metricsL != nil {
		m := &http.Server{
			Handler:           s.metricsHandler(),
			ReadHeaderTimeout: headerTimeout,
			ReadTimeout:       requestTimeout,
			WriteTimeout:      requestTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeader,
		}
		serve("metrics", func() error { return m.Serve(s.metricsL) })
		defer m.Close()
	}
	s.warnACME()
	s.log.Info("serving", "url", s.url, "listen", s.Addrs(), "data", s.cfg.DataDir, "relay", s.relay != nil, "version", version.Long())
	var err error
	select {
	case <-ctx.Done():
	case <-s.closed:
	case err = <-failed:
	}
	stop()
	s.log.Info("shutting down")
	err = errors.Join(err, s.Close())
	wg.Wait()
	return err
}

// Close ends the server without Run, or while it runs.
func (s *Server) Close() (err error) {
	s.closing.Do(func() {
		close(s.closed)
		err = s.close()
	})
	return err
}

// close closes what open has opened, the newest first.
func (s *Server) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	var errs []error
	// Requests that wait for a login end when the tailnet closes, so the
	// protocol goes first.
	if s.control != nil {
		errs = append(errs, s.control.Close())
	}
	if s.relay != nil {
		s.unwatch()
		s.tellRelayClients(ctx)
		errs = append(errs, s.relay.Close())
	}
	if s.web != nil {
		if err := s.web.Shutdown(ctx); err != nil {
			errs = append(errs, s.web.Close())
		}
	}
	for _, sn := range s.sniffers {
		sn.close()
	}
	if s.admin != nil {
		s.admin.Shutdown(ctx)
	}
	if s.adminL != nil {
		s.adminL.Close()
	}
	if s.metricsL != nil {
		s.metricsL.Close()
	}
	if s.stun != nil {
		s.stun.Close()
	}
	if s.hub != nil {
		s.hub.Close()
	}
	if s.tailnet != nil {
		errs = append(errs, s.tailnet.Close())
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	return errors.Join(errs...)
}

// tellRelayClients says on the embedded relay that it will be back.
func (s *Server) tellRelayClients(ctx context.Context) {
	const (
		patience = 500 * time.Millisecond // of the shutdown
		spread   = 2 * time.Second        // over which nodes come back
		tryFor   = 10 * time.Second       // until the relay counts as broken
	)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s.relay.Restart(ctx, spread, tryFor)
}

// logger returns the configured logger, to standard error unless it was given.
func (c *Config) logger() *slog.Logger {
	if c.Logger != nil {
		return c.Logger
	}
	o := &slog.HandlerOptions{Level: c.LogLevel}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, o))
}

// tlsEndsElsewhere reports whether a proxy in front of the server speaks TLS for
// it: the URL says https and the server has no certificate of its own for it.
func (c *Config) tlsEndsElsewhere() bool {
	return c.RelayAddr == "" && c.TLSCert == "" && c.ACMEHost == "" && hasScheme(c.URL, "https")
}

// status is what only the server knows of its status.
func (s *Server) status() admin.Status {
	st := admin.Status{Version: version.Long(), URL: s.url, DataDir: s.cfg.DataDir, Started: s.started}
	for _, a := range s.Addrs() {
		st.Listen = append(st.Listen, a.String())
	}
	if s.stun != nil {
		st.STUN = s.stun.LocalAddr().String()
	}
	if r := s.derpMap.Regions[s.cfg.RelayRegion]; s.relay != nil && r != nil {
		st.Relay = net.JoinHostPort(r.Nodes[0].HostName, strconv.Itoa(r.Nodes[0].DERPPort))
	}
	return st
}
