package control

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"github.com/ginnel/ginnel/wire/control"
)

// statusGone counts requests whose client went away before the answer.
const statusGone = 499

type connKey struct{}

// innerServer is the HTTP/2 server inside Noise.
func (s *Server) innerServer() *http.Server {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:     http.HandlerFunc(s.serveInner),
		Protocols:   &protocols,
		ReadTimeout: bodyTimeout,
		IdleTimeout: idleTimeout,
		ErrorLog:    slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          maxStreams,
			MaxReadFrameSize:              16 << 10,
			MaxReceiveBufferPerConnection: 256 << 10,
			MaxReceiveBufferPerStream:     64 << 10,
			SendPingTimeout:               pingAfter,
			PingTimeout:                   pingTimeout,
			WriteByteTimeout:              s.cfg.WriteTimeout,
		},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
	}
}

// serveInner routes what comes inside Noise, on the path alone: scheme and
// authority are whatever the client likes (wire document control, section 3.8).
func (s *Server) serveInner(w http.ResponseWriter, r *http.Request) {
	if !s.handlers.begin() {
		s.refuse(w, "other", http.StatusServiceUnavailable, "the server is shutting down")
		return
	}
	defer s.handlers.end()
	conn, ok := r.Context().Value(connKey{}).(*nodeConn)
	if !ok {
		s.refuse(w, "other", http.StatusInternalServerError, "internal error")
		return
	}
	switch path := r.URL.Path; {
	case path == "/machine/register":
		if s.method(w, r, "register", http.MethodPost) {
			s.serveRegister(w, r, conn)
		}
	case path == "/machine/map":
		if s.method(w, r, "map", http.MethodPost) {
			s.serveMap(w, r, conn)
		}
	case strings.HasPrefix(path, c2nPath):
		if s.method(w, r, "c2n", http.MethodPost) {
			s.serveC2N(w, r, conn)
		}
	case notImplemented(path):
		s.refuse(w, "unimplemented", http.StatusNotImplemented, "not implemented on this server")
	default:
		s.refuse(w, "other", http.StatusNotFound, "no such endpoint")
	}
}

// notImplemented reports whether the path is one of the protocol's that this
// server has no answer for yet (wire document control, section 7.1); nodes take
// that for a feature that is absent.
func notImplemented(path string) bool {
	switch path {
	case "/machine/set-dns", "/machine/id-token", "/machine/feature/query", "/machine/set-device-attr",
		"/machine/audit-log", "/machine/update-health", "/machine/whoami":
		return true
	}
	for _, prefix := range []string{"/machine/tka/", "/machine/webclient/", "/machine/ssh/"} {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return false
}

func (s *Server) method(w http.ResponseWriter, r *http.Request, endpoint, want string) bool {
	if r.Method == want {
		return true
	}
	w.Header().Set("Allow", want)
	s.refuse(w, endpoint, http.StatusMethodNotAllowed, "method not allowed")
	return false
}

// supported refuses requests of client versions that the server does not admit.
func (s *Server) supported(w http.ResponseWriter, endpoint string, v control.CapabilityVersion) bool {
	if v.Supported() {
		return true
	}
	s.refuse(w, endpoint, http.StatusBadRequest, unsupportedVersion(v))
	return false
}

func unsupportedVersion(v control.CapabilityVersion) string {
	return fmt.Sprintf("unsupported client version: capability version %d, this server needs %d (Tailscale 1.80) or later; update the client",
		v, control.MinimumCapabilityVersion)
}

// reply answers 200 with v as JSON.
func (s *Server) reply(w http.ResponseWriter, endpoint string, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		s.log.Error("answer does not encode", "endpoint", endpoint, "err", err)
		s.refuse(w, endpoint, http.StatusInternalServerError, "internal error")
		return
	}
	s.metrics.request(endpoint, http.StatusOK)
	w.Header().Set("Content-Type", "application/json")
	w.Write(body)
}
