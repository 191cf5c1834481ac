package local

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/ginnel/ginnel/node/local/api"
)

// watch streams the notification bus, one JSON object a line. A reader that does
// not keep up is disconnected.
func (s *Server) watch(w http.ResponseWriter, r *http.Request) {
	mask, err := api.ParseNotifyMask(r.FormValue("mask"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if err := mask.Check(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	watcher, first, err := s.backend.Watch(r.Context(), mask)
	if err != nil {
		writeError(w, err)
		return
	}
	defer watcher.Close()
	w.Header().Set("Content-Type", "application/json")
	ctl := http.NewResponseController(w)
	send := func(n *api.Notify) error {
		if err := ctl.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return err
		}
		if err := json.NewEncoder(w).Encode(n); err != nil {
			return err
		}
		return ctl.Flush()
	}
	if err := send(first); err != nil {
		return
	}
	for {
		select {
		case n, ok := <-watcher.C():
			if !ok || send(n) != nil {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}
