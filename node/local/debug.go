package local

import (
	"net/http"
	"runtime/pprof"
	"strconv"
	"time"

	"github.com/ginnel/ginnel/wire/control"
)

// maxProfile bounds a CPU profile.
const maxProfile = 60 * time.Second

func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	if err := s.backend.WriteMetrics(w); err != nil {
		s.log.Debug("writing metrics failed", "err", err)
	}
}

func (s *Server) goroutines(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if err := pprof.Lookup("goroutine").WriteTo(w, 2); err != nil {
		s.log.Debug("writing goroutines failed", "err", err)
	}
}

// pprof answers with a profile: name=profile takes CPU samples for seconds=N, any
// other name is that of a runtime profile.
func (s *Server) pprof(w http.ResponseWriter, r *http.Request) {
	name := r.FormValue("name")
	w.Header().Set("Content-Type", "application/octet-stream")
	if name == "profile" {
		seconds, err := strconv.Atoi(r.FormValue("seconds"))
		if err != nil || seconds <= 0 {
			seconds = 30
		}
		if err := pprof.StartCPUProfile(w); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		defer pprof.StopCPUProfile()
		select {
		case <-time.After(min(time.Duration(seconds)*time.Second, maxProfile)):
		case <-r.Context().Done():
		}
		return
	}
	p := pprof.Lookup(name)
	if p == nil {
		http.Error(w, "no such profile: use profile, heap, allocs, goroutine, block, mutex or threadcreate", http.StatusNotFound)
		return
	}
	debug, _ := strconv.Atoi(r.FormValue("debug")) // zero when absent
	if err := p.WriteTo(w, debug); err != nil {
		s.log.Debug("writing a profile failed", "err", err)
	}
}

// debug runs one of the actions for support.
func (s *Server) debug(w http.ResponseWriter, r *http.Request) {
	switch action := r.FormValue("action"); action {
	case "rebind":
		s.backend.Rebind()
	case "restun":
		s.backend.Restun()
	case "force-netmap-update":
		s.backend.RefreshMap()
	case "current-netmap":
		m := s.backend.Map()
		if m == nil {
			http.Error(w, "there is no network map yet", http.StatusNotFound)
			return
		}
		writeJSON(w, m.Response())
		return
	case "paths", "peer-paths":
		writeJSON(w, s.backend.DebugPaths())
		return
	case "":
		http.Error(w, "missing 'action' parameter", http.StatusBadRequest)
		return
	default:
		http.Error(w, "unknown action "+strconv.Quote(action), http.StatusBadRequest)
		return
	}
	w.Write([]byte("done\n"))
}

func (s *Server) peerByID(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseInt(r.FormValue("id"), 10, 64)
	if err != nil {
		http.Error(w, "invalid 'id' parameter", http.StatusBadRequest)
		return
	}
	if m := s.backend.Map(); m != nil {
		if p := m.Peer(control.NodeID(id)); p != nil {
			writeJSON(w, p)
			return
		}
	}
	http.Error(w, "no such peer", http.StatusNotFound)
}

func (s *Server) userProfile(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseInt(r.FormValue("id"), 10, 64)
	if err != nil {
		http.Error(w, "invalid 'id' parameter", http.StatusBadRequest)
		return
	}
	if m := s.backend.Map(); m != nil {
		if u, ok := m.User(control.UserID(id)); ok {
			writeJSON(w, u)
			return
		}
	}
	http.Error(w, "no such user", http.StatusNotFound)
}
