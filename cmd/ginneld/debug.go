package main

import (
	"encoding/json"
	"net/http"
	"net/http/pprof"

	"github.com/ginnel/ginnel/node"
)

// debugHandler answers with metrics, profiles and the state of paths. Whoever can
// reach its address may ask, so that it is off unless asked for.
func debugHandler(n *node.Node) http.Handler {
	mux := http.NewServeMux()
	metrics := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		if err := n.WriteMetrics(w); err != nil {
			return // the reader has gone
		}
	}
	mux.HandleFunc("GET /metrics", metrics)
	mux.HandleFunc("GET /debug/metrics", metrics)
	mux.HandleFunc("GET /debug/status", answerJSON(func() any { return n.Status(true) }))
	mux.HandleFunc("GET /debug/paths", answerJSON(n.DebugPaths))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

func answerJSON(what func() any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		text, err := json.MarshalIndent(what(), "", "\t")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write(text)
	}
}
