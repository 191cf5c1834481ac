// Package control is the server's side of the control protocol: the key and
// upgrade endpoints, the HTTP/2 server inside each Noise connection, register
// and map requests, the sessions of nodes and what they say about who is online
// (wire document control, sections 2 to 5, 7 and 10.2).
//
// It changes nothing itself: every change is a command of server/tailnet. What
// a node is told comes from server/maps. It opens no listener; Handler is
// mounted by whoever does, on plain HTTP and on TLS.
package control

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ginnel/ginnel/internal/noiseconn"
	"github.com/ginnel/ginnel/server/maps"
	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// Config is what a Server is made of.
type Config struct {
	// Tailnet runs the commands. The Server does not close it.
	Tailnet *tailnet.Service
	// Maps makes the frames. It must follow the same Tailnet. The Server does
	// not close it.
	Maps *maps.Hub
	// PrivateKey is the server's Noise key. Changing it strands running nodes.
	PrivateKey key.MachinePrivate
	// PublicURL starts the URLs shown to users, without a final slash. Empty
	// means the address by which the node reached the server.
	PublicURL string
	// Logger may be nil.
	Logger *slog.Logger
	// Metrics may be nil.
	Metrics prometheus.Registerer

	// KeepAlive is the pause after which a silent stream gets a keepalive, to
	// which up to a fifth is added at random. 0 means DefaultKeepAlive.
	KeepAlive time.Duration
	// OfflineGrace is how long a node without a map stream still counts as
	// online. 0 means DefaultOfflineGrace.
	OfflineGrace time.Duration
	// WriteTimeout is how long a stream may refuse bytes before it is closed.
	// 0 means DefaultWriteTimeout.
	WriteTimeout time.Duration
}

// Defaults of Config.
const (
	DefaultKeepAlive    = 50 * time.Second
	DefaultOfflineGrace = 10 * time.Second
	DefaultWriteTimeout = 20 * time.Second
)

// Limits on what clients may send or hold.
const (
	maxStreams    = 32               // requests under way on one connection
	headerTimeout = 30 * time.Second // until a new Noise connection speaks HTTP/2
	bodyTimeout   = 30 * time.Second // to send a request body
	idleTimeout   = 5 * time.Minute  // without any request under way
	pingAfter     = 30 * time.Second // of silence, to see whether the client lives
	pingTimeout   = 15 * time.Second
)

// Server answers the control protocol. Its methods are safe for concurrent use.
type Server struct {
	cfg      Config
	log      *slog.Logger
	keyReply []byte
	inner    *http.Server // speaks HTTP/2 inside Noise
	handlers handlers
	conns    *connQueue
	machines connTable
	large    largeBodies
	upgrades upgradeLimit
	sessions sessions
	presence *presence
	c2n      c2nWaiters
	limit    registerLimit
	metrics  metrics
	keep     [2][]byte     // keepalive frames, plain and compressed
	bulk     chan struct{} // held while a full map is written
}

// New returns a server. Close ends it.
func New(cfg Config) (*Server, error) {
	if cfg.Tailnet == nil || cfg.Maps == nil || cfg.PrivateKey.IsZero() {
		return nil, fmt.Errorf("control server: Tailnet, Maps and PrivateKey must be set")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.PublicURL = strings.TrimRight(cfg.PublicURL, "/")
	setDefault(&cfg.KeepAlive, DefaultKeepAlive)
	setDefault(&cfg.OfflineGrace, DefaultOfflineGrace)
	setDefault(&cfg.WriteTimeout, DefaultWriteTimeout)
	reply, err := json.Marshal(control.KeyResponse{PublicKey: cfg.PrivateKey.Public()})
	if err != nil {
		return nil, fmt.Errorf("control server: encode key: %w", err)
	}
	s := &Server{
		cfg:      cfg,
		log:      cfg.Logger,
		keyReply: reply,
		conns:    newConnQueue(),
		bulk:     make(chan struct{}, maxBulk),
	}
	s.sessions.init()
	s.c2n.init()
	s.limit.init()
	s.machines.init()
	s.large.init()
	s.upgrades.init()
	s.presence = newPresence(cfg.Tailnet, cfg.OfflineGrace, cfg.Logger)
	if err := s.metrics.init(s); err != nil {
		return nil, err
	}
	for i, compress := range [2]bool{false, true} {
		s.keep[i] = cfg.Maps.Frame([]byte(control.KeepAliveBody), compress)
	}
	s.inner = s.innerServer()
	go s.inner.Serve(s.conns)
	return s, nil
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

// Close closes all connections, stores when the nodes were last seen, and waits for
// what is being answered. They are not marked offline: they will be back before anybody should be told.
func (s *Server) Close() error {
	s.presence.close()
	err := s.inner.Close()
	s.conns.Close()
	s.handlers.close()
	return err
}

// PublicKey returns the server's Noise key, by which nodes know it.
func (s *Server) PublicKey() key.MachinePublic { return s.cfg.PrivateKey.Public() }

// Handler serves the two endpoints outside Noise, /key and /ts2021. TLS in front
// of it must not negotiate HTTP/2 on the connections that upgrade.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/key", s.serveKey)
	mux.HandleFunc(noiseconn.UpgradePath, s.serveUpgrade)
	return mux
}

// serveKey answers GET /key?v=N (wire document control, section 2). Nodes ask
// before every register, so it costs next to nothing.
func (s *Server) serveKey(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		s.refuse(w, "key", http.StatusMethodNotAllowed, "method not allowed")
		return
	}
	text := r.URL.Query().Get("v")
	version, err := strconv.Atoi(text)
	switch {
	case text == "":
		s.refuse(w, "key", http.StatusBadRequest, "missing v: the client's capability version")
		return
	case err != nil:
		s.refuse(w, "key", http.StatusBadRequest, "v is not a number")
		return
	}
	s.metrics.request("key", http.StatusOK)
	if control.CapabilityVersion(version) < control.VersionNoise {
		return // knows no Noise key
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(s.keyReply)
}

// refuse answers with a status and a short text, and counts it.
func (s *Server) refuse(w http.ResponseWriter, endpoint string, code int, text string) {
	s.metrics.request(endpoint, code)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	io.WriteString(w, text+"\n")
}
