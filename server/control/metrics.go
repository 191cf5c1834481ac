package control

import (
	"fmt"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ginnel/ginnel/server/maps"
)

// metrics count what the server does. They exist whether or not anybody collects
// them.
type metrics struct {
	requests        *prometheus.CounterVec
	refused         prometheus.Counter
	limited         prometheus.Counter
	upgradesLimited prometheus.Counter
	replaced        prometheus.Counter
	busy            prometheus.Counter
	frames          prometheus.Counter
	frameBytes      prometheus.Counter
	stalled         prometheus.Counter
	badRecords      prometheus.Counter
}

func (m *metrics) init(s *Server) error {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "ginnel", Subsystem: "control", Name: name, Help: help})
	}
	m.requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "ginnel", Subsystem: "control", Name: "requests_total",
		Help: "Requests by endpoint and HTTP status; 499 means that the client went away.",
	}, []string{"endpoint", "code"})
	m.refused = counter("registrations_refused_total", "Registrations refused for a reason that the node's user is shown.")
	m.limited = counter("registrations_limited_total", "Registrations held back because too many before had failed.")
	m.upgradesLimited = counter("upgrades_limited_total", "Noise handshakes refused because their address makes too many.")
	m.replaced = counter("connections_replaced_total", "Connections closed because their machine has too many newer ones.")
	m.busy = counter("requests_busy_total", "Requests refused because too many other large ones were under way.")
	m.frames = counter("map_frames_total", "Map frames written.")
	m.frameBytes = counter("map_frame_bytes_total", "Size of the map frames written, in bytes.")
	m.stalled = counter("map_streams_stalled_total", "Map streams reset because the client took no bytes.")
	m.badRecords = counter("bad_connections_total", "Noise connections in which a record did not open.")
	all := []prometheus.Collector{m.badRecords, m.requests, m.refused, m.limited, m.upgradesLimited, m.replaced, m.busy, m.frames, m.frameBytes, m.stalled,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "ginnel", Subsystem: "control", Name: "map_streams",
			Help: "Nodes with a map stream now.",
		}, func() float64 { return float64(s.sessions.count()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "ginnel", Subsystem: "control", Name: "connections",
			Help: "Noise connections now, of nodes and of machines that are none.",
		}, func() float64 { return float64(s.machines.count()) }),
	}
	for name, get := range map[string]func(maps.Stats) uint64{
		"change_sets_total":    func(st maps.Stats) uint64 { return st.Published },
		"full_maps_total":      func(st maps.Stats) uint64 { return st.Full },
		"blocks_encoded_total": func(st maps.Stats) uint64 { return st.BlocksEncoded },
		"blocks_shared_total":  func(st maps.Stats) uint64 { return st.BlocksShared },
		"deltas_encoded_total": func(st maps.Stats) uint64 { return st.Encoded },
		"deltas_shared_total":  func(st maps.Stats) uint64 { return st.Shared },
		"streams_lost_total":   func(st maps.Stats) uint64 { return st.Lost },
	} {
		all = append(all, prometheus.NewCounterFunc(prometheus.CounterOpts{
			Namespace: "ginnel", Subsystem: "maps", Name: name, Help: mapsHelp[name],
		}, func() float64 { return float64(get(s.cfg.Maps.Stats())) }))
	}
	if s.cfg.Metrics == nil {
		return nil
	}
	for _, c := range all {
		if err := s.cfg.Metrics.Register(c); err != nil {
			return fmt.Errorf("control server: metrics: %w", err)
		}
	}
	return nil
}

var mapsHelp = map[string]string{
	"change_sets_total":    "Change sets of the model that streams were told of.",
	"full_maps_total":      "Full maps built.",
	"blocks_encoded_total": "Blocks of peers in full maps that were compressed.",
	"blocks_shared_total":  "Blocks of peers in full maps that had been compressed for another already.",
	"deltas_encoded_total": "Delta frames encoded.",
	"deltas_shared_total":  "Delta frames sent that were encoded for another stream already.",
	"streams_lost_total":   "Map streams ended because they fell too far behind.",
}

// request counts an answered request.
func (m *metrics) request(endpoint string, code int) {
	m.requests.WithLabelValues(endpoint, strconv.Itoa(code)).Inc()
}
