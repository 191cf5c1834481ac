package server

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ginnel/ginnel/internal/version"
	"github.com/ginnel/ginnel/server/tailnet"
)

// registerMetrics registers what the parts do not register themselves.
func (s *Server) registerMetrics() {
	gauge := func(name, help string, fn func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "ginnel", Subsystem: "tailnet", Name: name, Help: help}, fn)
	}
	counter := func(name, help string, fn func(tailnet.Stats) float64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "ginnel", Subsystem: "tailnet", Name: name, Help: help},
			func() float64 { return fn(s.tailnet.Stats()) })
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "ginnel", Subsystem: "server", Name: "info", Help: "1, labelled with the version.",
		ConstLabels: prometheus.Labels{"version": version.Long()},
	})
	info.Set(1)
	s.metrics.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		info,
		gauge("nodes", "Nodes known.", func() float64 { return float64(s.tailnet.Snapshot().NodeCount()) }),
		gauge("change_seq", "Number of the last command on disk.", func() float64 { return float64(s.tailnet.Snapshot().Seq()) }),
		gauge("pending_logins", "Logins that wait for approval.", func() float64 { return float64(len(s.tailnet.PendingLogins())) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "ginnel", Subsystem: "server", Name: "strangers",
			Help: "Connections at whose other end no node has shown itself yet."},
			func() float64 { return float64(s.limit.Strangers()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "ginnel", Subsystem: "server", Name: "strangers_evicted_total",
			Help: "Connections of strangers closed because there were too many."},
			func() float64 { return float64(s.limit.Evicted()) }),
		counter("commands_total", "Commands that changed the model.", func(st tailnet.Stats) float64 { return float64(st.Commands) }),
		counter("commits_total", "Transactions that held them.", func(st tailnet.Stats) float64 { return float64(st.Commits) }),
		counter("commit_errors_total", "Transactions that failed.", func(st tailnet.Stats) float64 { return float64(st.CommitErrors) }),
		counter("logins_evicted_total", "Pending logins dropped because there were too many.", func(st tailnet.Stats) float64 { return float64(st.LoginsEvicted) }),
		counter("commit_seconds_total", "Time spent in transactions.", func(st tailnet.Stats) float64 { return st.CommitTime.Seconds() }),
	)
}

// badConnections is a counter of the connections that net/http refuses.
func (s *Server) badConnections() prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "ginnel", Subsystem: "server", Name: "bad_connections_total",
		Help: "Connections that spoke neither HTTP nor TLS as they should."})
	s.metrics.MustRegister(c)
	return c
}

// metricsHandler serves the metrics, and /healthz beside them.
func (s *Server) metricsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", s.serveHealth)
	return mux
}
