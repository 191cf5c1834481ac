package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"

	"github.com/ginnel/ginnel/lab/vnet"
	"github.com/ginnel/ginnel/server"
	"github.com/ginnel/ginnel/server/tailnet"
)

// serverName is the server's host name.
const serverName = "server.test"

// serverPort is where the server listens for everything but STUN.
const serverPort = 8080

// Server is the coordination server of a world and its embedded relay.
type Server struct {
	*vnet.Host
	// Region is the region of the embedded relay.
	Region int
	// URL is what nodes log in to.
	URL string

	w       *World
	running *server.Server
	cancel  context.CancelFunc
	done    chan error
	authKey string
}

// startServer makes the server and starts it.
func (w *World) startServer() {
	host, v4, _ := w.place("server", vnet.Link{Latency: w.serverLatency})
	w.Network.Name(serverName, v4)
	w.Server = &Server{Host: host, Region: server.DefaultRelayRegion, URL: fmt.Sprintf("http://%s:%d", serverName, serverPort), w: w}
	host.Resolver(w.startNames())
	w.Server.Start()
	_, key, err := w.Server.running.Tailnet().CreateAuthKey(w.ctx, tailnet.Actor{Kind: tailnet.ActorServer, Name: "lab"},
		tailnet.AuthKeyParams{UserID: 1, Preauthorized: true, Reusable: true})
	if err != nil {
		w.Fatal(err)
	}
	w.Server.authKey = key
}

// startNames starts the internet's name server, which nothing ever happens to. It returns
// its address.
func (w *World) startNames() netip.Addr {
	host, v4, _ := w.place("names", vnet.Link{Latency: w.serverLatency})
	w.resolver = v4
	if err := host.ServeNames(netip.Prefix{}); err != nil {
		w.Fatal(err)
	}
	return v4
}

// Start starts the server, again after Stop or Crash.
func (s *Server) Start() {
	s.w.Helper()
	cfg := server.DefaultConfig()
	cfg.DataDir, cfg.URL = s.w.file("server"), s.URL
	cfg.Listen = []string{":" + strconv.Itoa(serverPort)}
	cfg.Logger = s.w.logger("server")
	cfg.ListenTCP = func(addr string) (net.Listener, error) { return s.ListenTCP("tcp", netip.Addr{}, portOf(addr)) }
	cfg.ListenUDP = func(addr string) (net.PacketConn, error) { return s.ListenUDP("udp4", netip.Addr{}, portOf(addr)) }
	cfg.Lookup = s.Lookup
	cfg.ListenAdmin = func(string) (net.Listener, error) { return newQuiet(), nil }
	if len(s.w.relays) > 0 {
		cfg.DERPMapFile = s.w.file("regions.json")
		text, err := json.Marshal(s.w.regions())
		if err == nil {
			err = os.WriteFile(cfg.DERPMapFile, text, 0o600)
		}
		if err != nil {
			s.w.Fatal(err)
		}
	}
	var err error
	if s.running, err = server.New(cfg); err != nil {
		s.w.Fatalf("start the server: %v", err)
	}
	ctx, cancel := context.WithCancel(s.w.ctx)
	s.cancel, s.done = cancel, make(chan error, 1)
	go func() { s.done <- s.running.Run(ctx) }()
}

// Resume starts the server if it does not run.
func (s *Server) Resume() {
	if s.running == nil {
		s.Start()
	}
}

// Stop ends the server in good order, if it runs.
func (s *Server) Stop() {
	if s.running == nil {
		return
	}
	s.cancel()
	if err := ignoreEnd(<-s.done); err != nil {
		s.w.Errorf("server: %v", err)
	}
	if err := s.running.Close(); err != nil {
		s.w.Errorf("close the server: %v", err)
	}
	s.running = nil
}

// Crash ends the server without a word to anyone: its sockets are gone before it can
// close a connection.
func (s *Server) Crash() {
	s.Kill()
	s.Stop()
}

// Tailnet is the server's model.
func (s *Server) Tailnet() *tailnet.Service { return s.running.Tailnet() }

// portOf returns the port of ":port" or "host:port".
func portOf(addr string) uint16 {
	_, text, _ := net.SplitHostPort(addr)
	port, _ := strconv.ParseUint(text, 10, 16)
	return uint16(port)
}

// quiet is a listener that nobody connects to.
type quiet struct {
	ctx    context.Context
	cancel context.CancelFunc
}

func newQuiet() *quiet {
	ctx, cancel := context.WithCancel(context.Background())
	return &quiet{ctx, cancel}
}

func (q *quiet) Accept() (net.Conn, error) {
	<-q.ctx.Done()
	return nil, net.ErrClosed
}

func (q *quiet) Close() error {
	q.cancel()
	return nil
}

func (q *quiet) Addr() net.Addr { return &net.UnixAddr{Name: "quiet", Net: "unix"} }
