package local

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/wire/key"
)

// routes registers all endpoints (wire document cli, sections 5.2 and 11).
func (s *Server) routes() {
	s.mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("tailscaled\n")) })
	s.endpoint("status", accessRead, s.status, "GET")
	s.endpoint("whois", accessRead, s.whois, "GET")
	s.endpoint("prefs", accessRead, s.prefs, "GET", "PATCH")
	s.endpoint("check-prefs", accessWrite, s.checkPrefs, "POST")
	s.endpoint("start", accessWrite, s.start, "POST")
	s.endpoint("login-interactive", accessWrite, s.act(s.backend.LoginInteractive), "POST")
	s.endpoint("logout", accessWrite, s.act(s.backend.Logout), "POST")
	s.endpoint("reset-auth", accessWrite, s.act(s.backend.ResetAuth), "POST")
	s.endpoint("profiles/", accessWrite, s.profiles, "GET", "PUT", "POST", "DELETE")
	s.endpoint("watch-ipn-bus", accessRead, s.watch, "GET")
	s.endpoint("ping", accessRead, s.ping, "POST")
	s.endpoint("dial", accessRead, s.dial, "POST")
	s.endpoint("netcheck", accessRead, s.netcheck, "POST")
	s.endpoint("derpmap", accessRead, s.derpMap, "GET")
	s.endpoint("dns-config", accessRead, s.dnsConfig, "GET")
	s.endpoint("cert-domains", accessRead, s.certDomains, "GET")
	s.endpoint("serve-config", accessRead, serveConfig, "GET")
	s.endpoint("peer-by-id", accessRead, s.peerByID, "GET")
	s.endpoint("user-profile", accessRead, s.userProfile, "GET")
	s.endpoint("usermetrics", accessRead, s.metrics, "GET")
	s.endpoint("metrics", accessWrite, s.metrics, "GET")
	s.endpoint("goroutines", accessWrite, s.goroutines, "GET")
	s.endpoint("pprof", accessWrite, s.pprof, "GET")
	s.endpoint("debug", accessWrite, s.debug, "POST")
}

// act makes a handler of an action without parameters.
func (s *Server) act(f func(context.Context) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := f(r.Context()); err != nil {
			writeError(w, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	peers := true
	if v := r.FormValue("peers"); v != "" {
		var err error
		if peers, err = strconv.ParseBool(v); err != nil {
			http.Error(w, "invalid 'peers' parameter", http.StatusBadRequest)
			return
		}
	}
	writeJSON(w, s.backend.Status(peers))
}

func (s *Server) whois(w http.ResponseWriter, r *http.Request) {
	addr := r.FormValue("addr")
	var ap netip.AddrPort
	var k key.NodePublic
	var err error
	switch {
	case addr == "":
		http.Error(w, "missing 'addr' parameter", http.StatusBadRequest)
		return
	case strings.HasPrefix(addr, "nodekey:"):
		k, err = key.ParseNodePublic(addr)
	default:
		var ip netip.Addr
		if ip, err = netip.ParseAddr(addr); err == nil {
			ap = netip.AddrPortFrom(ip, 0)
		} else {
			ap, err = netip.ParseAddrPort(addr)
		}
	}
	if err != nil {
		http.Error(w, "invalid 'addr' parameter", http.StatusBadRequest)
		return
	}
	who := s.backend.WhoIs(ap, k)
	if who == nil {
		http.Error(w, "no match for IP:port", http.StatusNotFound)
		return
	}
	writeJSON(w, who)
}

func (s *Server) prefs(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		writeJSON(w, s.backend.Prefs())
		return
	}
	if s.accessFor(r) < accessWrite {
		denied(w, "prefs write")
		return
	}
	var edit api.MaskedPrefs
	if !readJSON(w, r, &edit) {
		return
	}
	prefs, err := s.backend.EditPrefs(r.Context(), &edit)
	if err != nil {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		json.NewEncoder(w).Encode(api.ErrorResponse{Error: err.Error()})
		return
	}
	writeJSON(w, prefs)
}

func (s *Server) checkPrefs(w http.ResponseWriter, r *http.Request) {
	prefs := api.NewPrefs()
	if !readJSON(w, r, prefs) {
		return
	}
	var out api.CheckPrefsResponse
	if err := s.backend.CheckPrefs(r.Context(), prefs); err != nil {
		out.Error = err.Error()
	}
	writeJSON(w, out)
}

func (s *Server) start(w http.ResponseWriter, r *http.Request) {
	var o api.StartOptions
	if !readJSON(w, r, &o) {
		return
	}
	if err := s.backend.Start(r.Context(), o); err != nil {
		writeError(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) ping(w http.ResponseWriter, r *http.Request) {
	ip, err := netip.ParseAddr(r.FormValue("ip"))
	if err != nil {
		http.Error(w, "invalid 'ip' parameter", http.StatusBadRequest)
		return
	}
	kind, err := api.ParsePingType(r.FormValue("type"))
	if err != nil {
		http.Error(w, "invalid 'type' parameter: "+err.Error(), http.StatusBadRequest)
		return
	}
	size := 0
	if v := r.FormValue("size"); v != "" {
		if size, err = strconv.Atoi(v); err != nil || size != 0 && kind != api.PingDisco {
			http.Error(w, "'size' is a number, and only for disco pings", http.StatusBadRequest)
			return
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), pingTimeout)
	defer cancel()
	result, err := s.backend.Ping(ctx, ip, kind, size)
	if err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, result)
}

func (s *Server) netcheck(w http.ResponseWriter, r *http.Request) {
	report, err := s.backend.Netcheck(r.Context())
	if err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, report)
}

func (s *Server) derpMap(w http.ResponseWriter, _ *http.Request) {
	if m := s.backend.Map(); m != nil {
		writeJSON(w, m.DERPMap)
		return
	}
	writeJSON(w, nil)
}

func (s *Server) dnsConfig(w http.ResponseWriter, _ *http.Request) {
	if m := s.backend.Map(); m != nil {
		writeJSON(w, m.DNS)
		return
	}
	writeJSON(w, nil)
}

// serveConfig answers that nothing is served to the network: this version cannot.
// Clients ask for it to show the status.
func serveConfig(w http.ResponseWriter, _ *http.Request) { writeJSON(w, struct{}{}) }

func (s *Server) certDomains(w http.ResponseWriter, _ *http.Request) {
	domains := []string{}
	if m := s.backend.Map(); m != nil {
		domains = append(domains, m.DNS.CertDomains...)
	}
	writeJSON(w, domains)
}
