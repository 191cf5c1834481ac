package main

import (
	"fmt"
	"html"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ginnel/ginnel/internal/version"
	"github.com/ginnel/ginnel/relay"
	wire "github.com/ginnel/ginnel/wire/relay"
)

// handler serves everything on the TLS port.
func (s *service) handler() http.Handler {
	mux := http.NewServeMux()
	r := s.relay.Handler()
	for _, path := range []string{wire.Path, wire.ProbePath, wire.LatencyPath, wire.ConnectivityPath} {
		mux.Handle(path, r)
	}
	mux.Handle("/robots.txt", browser(http.HandlerFunc(serveRobots)))
	mux.Handle("/{$}", browser(s.homePage()))
	mux.Handle("/debug/", browser(localOnly(debugPages(s.registry))))
	return mux
}

// plainHandler serves the plain HTTP port: what must work without TLS, and the way
// to the other port.
func (s *service) plainHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc(wire.ConnectivityPath, relay.ServeConnectivity)
	mux.HandleFunc("/", redirectToTLS)
	if s.cert.acme != nil {
		return s.cert.acme.HTTPHandler(mux)
	}
	return mux
}

// redirectToTLS sends browsers to the other port.
func redirectToTLS(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "use HTTPS", http.StatusBadRequest)
		return
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	http.Redirect(w, r, "https://"+host+r.URL.RequestURI(), http.StatusFound)
}

// browser adds what keeps browsers out of trouble.
func browser(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Strict-Transport-Security", "max-age=63072000; includeSubDomains")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; form-action 'none'; base-uri 'none'; style-src 'unsafe-inline'")
		h.Set("X-Frame-Options", "DENY")
		h.Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

// serveRobots keeps crawlers away.
func serveRobots(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprint(w, "User-agent: *\nDisallow: /\n")
}

// homePage serves / as --home says.
func (s *service) homePage() http.Handler {
	switch s.cfg.home {
	case "blank":
		return http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	case "":
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			fmt.Fprintf(w, "<!doctype html>\n<title>Ginnel relay</title>\n<h1>Ginnel relay</h1>\n"+
				"<p>This host passes encrypted packets between the devices of a private network (DERP). It cannot read them.</p>\n"+
				"<p>Version %s.</p>\n", html.EscapeString(version.Get().Short))
		})
	}
	return http.RedirectHandler(s.cfg.home, http.StatusFound)
}

// debugPages are metrics and profiles.
func debugPages(reg *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	metrics := promhttp.HandlerFor(reg, promhttp.HandlerOpts{})
	mux.Handle("/debug/metrics", metrics)
	mux.Handle("/debug/varz", metrics)
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// localOnly serves this machine alone, and nobody through a proxy on it.
func localOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !from.Addr().Unmap().IsLoopback() || r.Header.Get("X-Forwarded-For") != "" {
			http.Error(w, "only for requests from this machine", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}
