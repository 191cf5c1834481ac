package node

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// metric is one value of a metric family.
type metric struct {
	name   string // with the family's prefix
	help   string
	kind   string            // "counter" or "gauge"
	labels map[string]string // at most one
	value  float64
}

// WriteMetrics writes the node's metrics in Prometheus' text form: those of the
// plane, with the names that are usual for nodes (wire document node, section
// 8.1), and those of the node itself.
func (n *Node) WriteMetrics(w io.Writer) error {
	v := n.view.Load()
	s := n.plane.Status()
	list := append([]metric{}, s.Metrics...)
	gauge := func(name, help string, value float64) {
		list = append(list, metric{name: "tailscaled_" + name, help: help, kind: "gauge", value: value})
	}
	gauge("home_derp_region_id", "Region of the home relay, 0 for none.", float64(s.HomeRegion))
	gauge("advertised_routes", "Routes offered to the network, exit routes not counted.", float64(len(v.Prefs.AdvertiseRoutes)))
	if v.Map != nil {
		gauge("approved_routes", "Routes that this node serves, exit routes not counted.", float64(len(v.Map.Self.PrimaryRoutes)))
		gauge("peers", "Peers in the network map.", float64(len(v.Map.Peers)))
	}
	list = append(list, metric{
		name: "tailscaled_health_messages", help: "What is wrong, by kind.", kind: "gauge",
		labels: map[string]string{"type": "warning"}, value: float64(len(n.problems(v, time.Now()))),
	})
	return writeMetrics(w, append(list, n.badConns.metrics()...))
}

// writeMetrics writes the metrics, families together and in order.
func writeMetrics(w io.Writer, list []metric) error {
	slices.SortStableFunc(list, func(a, b metric) int { return cmp.Compare(a.name, b.name) })
	last := ""
	for _, m := range list {
		if m.name != last {
			last = m.name
			if _, err := fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", m.name, m.help, m.name, m.kind); err != nil {
				return err
			}
		}
		labels := ""
		for _, k := range slices.Sorted(maps.Keys(m.labels)) {
			labels += fmt.Sprintf("{%s=%q}", k, m.labels[k])
		}
		if _, err := fmt.Fprintf(w, "%s%s %v\n", m.name, labels, m.value); err != nil {
			return err
		}
	}
	return nil
}
