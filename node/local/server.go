package local

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/ginnel/ginnel/internal/httpcount"
	"github.com/ginnel/ginnel/node"
	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/node/netmap"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// hostName is the only host name in requests: anything else comes from a program
// that believes to talk to somebody else.
const hostName = "local-tailscaled.sock"

// prefix is the path of all endpoints.
const prefix = "/localapi/v0/"

// Limits of requests.
const (
	maxBody      = 1 << 20
	headTimeout  = 10 * time.Second
	pingTimeout  = 10 * time.Second
	writeTimeout = 10 * time.Second // of one message to a watcher
)

// Backend is the node that is served; *node.Node is one.
type Backend interface {
	Status(peers bool) *api.Status
	Map() *netmap.Map
	State() api.State
	WhoIs(addr netip.AddrPort, k key.NodePublic) *api.WhoIsResponse
	Prefs() *api.Prefs
	EditPrefs(ctx context.Context, edit *api.MaskedPrefs) (*api.Prefs, error)
	CheckPrefs(ctx context.Context, p *api.Prefs) error
	Start(ctx context.Context, o api.StartOptions) error
	LoginInteractive(ctx context.Context) error
	Logout(ctx context.Context) error
	ResetAuth(ctx context.Context) error
	Profiles(ctx context.Context) (current api.LoginProfile, all []api.LoginProfile, err error)
	SwitchProfile(ctx context.Context, id string) error
	NewProfile(ctx context.Context) error
	DeleteProfile(ctx context.Context, id string) error
	Watch(ctx context.Context, mask api.NotifyMask) (*node.Watcher, *api.Notify, error)
	Ping(ctx context.Context, ip netip.Addr, kind api.PingType, size int) (*api.PingResult, error)
	Netcheck(ctx context.Context) (*api.NetcheckReport, error)
	Dial(ctx context.Context, network string, host string, port uint16) (net.Conn, error)
	Rebind()
	Restun()
	RefreshMap()
	DebugPaths() any
	WriteMetrics(w io.Writer) error
	NoteBadConnection(listener string)
	OperatorUser() string
	Version() string
}

// Server serves the local API of one node.
type Server struct {
	backend Backend
	log     *slog.Logger
	ownUID  uint32
	mux     *http.ServeMux
	// accessFor decides by the caller's credentials; tests replace it.
	accessFor func(*http.Request) access
}

// New returns a server of backend. Logger may be nil.
func New(backend Backend, logger *slog.Logger) *Server {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{backend: backend, log: logger, ownUID: ownUID(), mux: http.NewServeMux()}
	s.accessFor = s.accessOf
	s.routes()
	return s
}

// Serve answers requests on l until ctx ends, and then closes l and what is left
// of connections.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler: s, ReadHeaderTimeout: headTimeout, MaxHeaderBytes: 64 << 10, ConnContext: withCaller,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	httpcount.Watch(srv, func() { s.backend.NoteBadConnection(node.ListenerLocalAPI) })
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	err := srv.Serve(l)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Tailscale-Version", s.backend.Version())
	h.Set("Tailscale-Cap", strconv.Itoa(int(control.CurrentCapabilityVersion)))
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; script-src 'none'; script-src-elem 'none'; script-src-attr 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	if (r.Host != "" && r.Host != hostName) || r.Header.Get("Referer") != "" || r.Header.Get("Origin") != "" {
		http.Error(w, "invalid localapi request", http.StatusForbidden)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	s.mux.ServeHTTP(w, r)
}

// endpoint registers a handler for methods that callers with the access may use.
// A name that ends in a slash stands for all paths below it.
func (s *Server) endpoint(name string, need access, handle http.HandlerFunc, methods ...string) {
	s.mux.HandleFunc(prefix+name, func(w http.ResponseWriter, r *http.Request) {
		allowed := false
		for _, m := range methods {
			allowed = allowed || m == r.Method
		}
		switch {
		case !allowed:
			w.Header().Set("Allow", strings.Join(methods, ", "))
			http.Error(w, "use "+strings.Join(methods, " or "), http.StatusMethodNotAllowed)
		case s.accessFor(r) < need:
			denied(w, name)
		default:
			handle(w, r)
		}
	})
}

func denied(w http.ResponseWriter, name string) {
	http.Error(w, name+" access denied", http.StatusForbidden)
}

// writeJSON answers with v, indented with tabs.
func writeJSON(w http.ResponseWriter, v any) {
	text, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(append(text, '\n'))
}

// writeError answers with the text of err, in the form of the status.
func writeError(w http.ResponseWriter, err error) {
	var prefs *node.PrefsError
	status := http.StatusInternalServerError
	if errors.As(err, &prefs) || errors.Is(err, node.ErrNoServer) {
		status = http.StatusBadRequest
	}
	http.Error(w, err.Error(), status)
}

// readJSON decodes the body into v, answering itself when that fails. An empty
// body leaves v alone.
func readJSON(w http.ResponseWriter, r *http.Request, v any) bool {
	body, err := io.ReadAll(r.Body)
	if err == nil && len(body) > 0 {
		err = json.Unmarshal(body, v)
	}
	if err != nil {
		http.Error(w, "invalid request body: "+err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}
