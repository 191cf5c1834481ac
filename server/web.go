package server

import (
	"context"
	"crypto/tls"
	"embed"
	"encoding/json"
	"html/template"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/ginnel/ginnel/internal/version"
	"github.com/ginnel/ginnel/relay"
	"github.com/ginnel/ginnel/wire/key"
)

// noHTTP2 keeps the web server to HTTP/1.1, which both upgrades need.
var noHTTP2 = map[string]func(*http.Server, *tls.Conn, http.Handler){}

//go:embed pages/*.html
var pageFiles embed.FS

var pages = template.Must(template.ParseFS(pageFiles, "pages/*.html"))

// tlsListener is the TLS side of a listener, made for relaying when it does.
func (s *Server) tlsListener(sn *sniffer) net.Listener {
	if s.relay == nil {
		return tls.NewListener(sn.tls, s.tls.config)
	}
	conf := s.relay.AppendMetaCert(s.tls.config)
	if s.tls.acme != nil {
		conf.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if slices.Equal(hello.SupportedProtos, []string{acme.ALPNProto}) {
				return s.tls.config, nil // the authority wants its certificate alone
			}
			return nil, nil
		}
	}
	return tls.NewListener(wrapListener{sn.tls, relay.WrapConn}, conf)
}

// wrapListener wraps what a listener accepts.
type wrapListener struct {
	net.Listener
	wrap func(net.Conn) net.Conn
}

// Accept waits for the next connection.
func (l wrapListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.wrap(c), nil
}

// handler serves everything that the server answers on its listening addresses.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/key", s.control.Handler())
	mux.Handle("/ts2021", s.control.Handler())
	if s.relay != nil {
		mux.Handle("/derp", s.relay.Handler())
		mux.Handle("/derp/", s.relay.Handler())
		mux.Handle("/bootstrap-dns", s.names)
	}
	mux.HandleFunc("/generate_204", relay.ServeConnectivity)
	mux.HandleFunc("POST /verify", s.serveVerify)
	mux.HandleFunc("GET /healthz", s.serveHealth)
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, version.Long()+"\n") })
	mux.HandleFunc("GET /robots.txt", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "User-agent: *\nDisallow: /\n") })
	mux.HandleFunc("GET /register/{id}", s.serveRegisterPage)
	mux.HandleFunc("GET /{$}", s.serveHome)
	mux.Handle("GET /metrics", onlyLocal(s.metricsHandler()))
	if s.tls.acme != nil {
		return s.tls.acme.HTTPHandler(mux)
	}
	return mux
}

// onlyLocal serves requests of this machine. One that came through a proxy is not.
func onlyLocal(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		forwarded := r.Header.Get("Forwarded") + r.Header.Get("X-Forwarded-For") + r.Header.Get("X-Real-Ip") + r.Header.Get("Via")
		if !fromHere(r) || forwarded != "" {
			http.Error(w, "metrics are served to this machine only; see --metrics-listen", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// fromHere reports whether the connection of a request began on this machine: one to an
// own address begins at that same address.
func fromHere(r *http.Request) bool {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	ip := from.Addr().Unmap()
	if ip.IsLoopback() {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	to, err := netip.ParseAddrPort(local.String())
	return err == nil && to.Addr().Unmap() == ip
}

// healthTimeout bounds a health check.
const healthTimeout = 5 * time.Second

// serveHealth answers 200 while the server can do its work.
func (s *Server) serveHealth(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), healthTimeout)
	defer cancel()
	_, err := s.store.Secret(ctx, secretMachineKey)
	if err == nil {
		err = s.tailnet.Health()
	}
	w.Header().Set("Cache-Control", "no-store")
	if err != nil {
		s.log.Error("unhealthy", "err", err)
		http.Error(w, "unhealthy: see the server's log", http.StatusServiceUnavailable)
		return
	}
	io.WriteString(w, "ok\n")
}

// maxVerify bounds the body of an admission request, in bytes.
const maxVerify = 4 << 10

// serveVerify tells relays of other machines whom to admit: section 12.2 of the
// wire document relay.
func (s *Server) serveVerify(w http.ResponseWriter, r *http.Request) {
	var req struct {
		NodePublic key.NodePublic
		Source     string
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxVerify)).Decode(&req); err != nil {
		http.Error(w, "the body is no admission request", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(struct{ Allow bool }{mayRelay(s.tailnet.Snapshot(), req.NodePublic)})
}

func (s *Server) serveHome(w http.ResponseWriter, _ *http.Request) {
	s.page(w, http.StatusOK, "home.html", struct{ URL string }{s.url})
}

// registerPage is what the page of a pending login shows.
type registerPage struct {
	ID, Hostname, OS, From, Tags string
	Found                        bool
}

// serveRegisterPage tells how to approve a pending login. What the node says of
// itself is the node's word only.
func (s *Server) serveRegisterPage(w http.ResponseWriter, r *http.Request) {
	l, ok := s.tailnet.PendingLogin(r.PathValue("id"))
	if !ok {
		s.page(w, http.StatusNotFound, "register.html", registerPage{})
		return
	}
	p := registerPage{Found: true, ID: l.ID, Hostname: l.Hostinfo.Hostname, OS: l.Hostinfo.OS, Tags: strings.Join(l.Tags, " ")}
	if l.From.IsValid() {
		p.From = l.From.String()
	}
	s.page(w, http.StatusOK, "register.html", p)
}

// page writes an HTML page that loads nothing and runs nothing.
func (s *Server) page(w http.ResponseWriter, status int, name string, data any) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if err := pages.ExecuteTemplate(w, name, data); err != nil {
		s.log.Debug("writing a page failed", "page", name, "err", err)
	}
}
