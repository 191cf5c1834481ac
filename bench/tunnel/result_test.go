//go:build linux

package tunnel

import (
	"context"
	"encoding/json"
	"flag"
	"strings"
	"testing"

	"github.com/ginnel/ginnel/bench/mesh"
	"github.com/ginnel/ginnel/internal/cli"
)

// rounds makes a series; speeds and costs by round, a cost being half each end's.
func rounds(name string, speeds, costs []float64) *series {
	s := &series{Contender: name}
	for i := range speeds {
		s.Rounds = append(s.Rounds, figure{Gbps: speeds[i], Sender: costs[i] / 2, Receiver: costs[i] / 2})
	}
	s.Median = median(s.Rounds)
	return s
}

// TestCompare checks that each stream is held against the one of its own round
// and direction: a machine that slows down in the middle changes no ratio.
func TestCompare(t *testing.T) {
	r := &result{Path: "direct", Series: []*series{
		rounds("theirs", []float64{2, 1}, []float64{5, 10}), rounds("theirs", []float64{4, 2}, []float64{5, 10}),
		rounds("ours", []float64{4, 2}, []float64{6, 12}), rounds("ours", []float64{8, 4}, []float64{6, 12}),
	}}
	r.compare()
	if r.SpeedRatio != 2 || r.CostRatio != 1.2 {
		t.Errorf("speed ratio %v, cost ratio %v; want 2 and 1.2", r.SpeedRatio, r.CostRatio)
	}
	if len(r.Bars) != 1 || r.Bars[0].Met {
		t.Errorf("a cost of 1.2 against 1.15 gives %v", r.Bars)
	}
	r.Path, r.Bars = "relayed", nil
	r.compare()
	if len(r.Bars) != 1 || r.Bars[0].Met || !r.Bars[0].AtLeast {
		t.Errorf("a throughput of 2 against 5 gives %v", r.Bars)
	}
}

func TestCompareWithNobody(t *testing.T) {
	r := &result{Path: "relayed", Series: []*series{rounds("ours", []float64{1}, []float64{1}), rounds("ours", []float64{1}, []float64{1})}}
	r.compare()
	if r.SpeedRatio != 0 || len(r.Bars) != 0 {
		t.Errorf("compared with nobody: %+v", r)
	}
}

func TestPrint(t *testing.T) {
	r := &result{Bench: "tunnel", Path: "direct", Rounds: 1, Seconds: 1, Series: []*series{
		rounds("theirs", []float64{2}, []float64{5}), rounds("theirs", []float64{2}, []float64{5}),
		rounds("ours", []float64{2}, []float64{5}), rounds("ours", []float64{2}, []float64{5}),
	}}
	r.compare()
	var b strings.Builder
	bench := mesh.Bench{
		Name: "tunnel", Flags: func(*flag.FlagSet) {},
		Run: func(context.Context, mesh.Programs) (mesh.Result, error) { return r, nil },
	}
	if err := cli.Run(t.Context(), bench.Command(&b), []string{"--strict"}, &b); err != nil {
		t.Error(err)
	}
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	var back result
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &back); err != nil || back.CostRatio != 1 || len(back.Series) != 4 {
		t.Errorf("last line: %v\n%s", err, lines[len(lines)-1])
	}
	if !strings.Contains(b.String(), "(bar <= 1.15): met") {
		t.Errorf("no verdict in\n%s", &b)
	}
}
