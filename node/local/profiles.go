package local

import (
	"errors"
	"net/http"
	"strings"

	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/node/state"
)

// profiles lists the profiles and makes a new one, or shows, selects or deletes the one
// that the path names (wire document cli, section 5.2).
func (s *Server) profiles(w http.ResponseWriter, r *http.Request) {
	id := strings.TrimPrefix(r.URL.Path, prefix+"profiles/")
	current, all, err := s.backend.Profiles(r.Context())
	if err != nil {
		writeError(w, err)
		return
	}
	if all == nil {
		all = []api.LoginProfile{}
	}
	switch {
	case id == "" && r.Method == http.MethodGet:
		writeJSON(w, all)
	case id == "" && r.Method == http.MethodPut:
		s.changeProfile(w, s.backend.NewProfile(r.Context()), http.StatusCreated)
	case id == "current" && r.Method == http.MethodGet:
		writeJSON(w, current)
	case id == "" || id == "current" || r.Method == http.MethodPut:
		http.Error(w, r.Method+" is not for this path", http.StatusMethodNotAllowed)
	case r.Method == http.MethodGet:
		for _, p := range all {
			if p.ID == id {
				writeJSON(w, p)
				return
			}
		}
		http.Error(w, "no such profile", http.StatusNotFound)
	case r.Method == http.MethodPost:
		s.changeProfile(w, s.backend.SwitchProfile(r.Context(), id), http.StatusNoContent)
	case r.Method == http.MethodDelete:
		s.changeProfile(w, s.backend.DeleteProfile(r.Context(), id), http.StatusNoContent)
	}
}

// changeProfile answers with the status, or with what went wrong.
func (s *Server) changeProfile(w http.ResponseWriter, err error, done int) {
	switch {
	case err == nil:
		w.WriteHeader(done)
	case errors.Is(err, state.ErrNoProfile):
		http.Error(w, "no such profile", http.StatusNotFound)
	default:
		writeError(w, err)
	}
}
