//go:build linux

package tunnel

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/ginnel/ginnel/bench/report"
	"github.com/ginnel/ginnel/bench/rig"
)

// warmUp is the time of the first stream each way, which is not counted.
const warmUp = time.Second

// A figure is what one stream carried and cost. Costs are processor seconds,
// user and system, per GB (10⁹ bytes) that arrived.
type figure struct {
	Gbps     float64 `json:"gbps"`
	Sender   float64 `json:"sender_cpu_s_per_gb"`
	Receiver float64 `json:"receiver_cpu_s_per_gb"`
	Relay    float64 `json:"relay_cpu_s_per_gb,omitempty"`
}

// nodes is the cost of the two daemons.
func (f figure) nodes() float64 { return f.Sender + f.Receiver }

// A series are the figures of one contender in one direction, by round.
type series struct {
	Contender string   `json:"contender"`
	Direction string   `json:"direction"`
	Rounds    []figure `json:"rounds"`
	Median    figure   `json:"median"` // of each figure by itself
}

// A result is the whole outcome.
type result struct {
	Bench   string    `json:"bench"`
	Path    string    `json:"path"`
	Rounds  int       `json:"rounds"`
	Seconds float64   `json:"seconds_per_stream"`
	Series  []*series `json:"series"`
	// CostRatio and SpeedRatio are ours against the other contender's: the
	// median of the ratios of all streams, each against the one of the same
	// round and direction.
	CostRatio  float64      `json:"cost_ratio,omitempty"`
	SpeedRatio float64      `json:"speed_ratio,omitempty"`
	Bars       []report.Bar `json:"bars"`
}

// directions of streams, as indexes of sender and receiver.
var directions = [2][2]int{{0, 1}, {1, 0}}

// measure lets the contenders take turns.
func (r *result) measure(ctx context.Context, contenders []*contender, o *options) error {
	for _, c := range contenders {
		for _, d := range directions {
			if _, err := c.stream(ctx, d, warmUp); err != nil {
				return err
			}
			r.Series = append(r.Series, &series{Contender: c.name, Direction: c.hosts[d[0]].Name + ">" + c.hosts[d[1]].Name})
		}
	}
	for range o.rounds {
		for i, c := range contenders {
			for j, d := range directions {
				f, err := c.stream(ctx, d, o.duration)
				if err != nil {
					return err
				}
				s := r.Series[i*len(directions)+j]
				s.Rounds = append(s.Rounds, f)
			}
		}
	}
	for _, s := range r.Series {
		s.Median = median(s.Rounds)
	}
	// A path that changed on the way would have been measured as what it is not.
	for _, c := range contenders {
		if c.check == nil {
			continue
		}
		if err := c.check(ctx); err != nil {
			return fmt.Errorf("%s, after the streams: %w", c.name, err)
		}
	}
	return nil
}

// stream measures one stream.
func (c *contender) stream(ctx context.Context, d [2]int, length time.Duration) (figure, error) {
	procs := []*rig.Process{c.daemons[d[0]], c.daemons[d[1]]}
	if c.relay != nil {
		procs = append(procs, c.relay)
	}
	before, err := spent(procs)
	if err != nil {
		return figure{}, err
	}
	flow, err := rig.Stream(ctx, c.hosts[d[0]], c.hosts[d[1]], c.addrs[d[1]], length)
	if err != nil {
		return figure{}, fmt.Errorf("%s: %w", c.name, err)
	}
	after, err := spent(procs)
	if err != nil {
		return figure{}, err
	}
	f := figure{Gbps: flow.Gbps()}
	for i, to := range []*float64{&f.Sender, &f.Receiver, &f.Relay}[:len(procs)] {
		*to = (after[i] - before[i]).Seconds() / (float64(flow.Bytes) / 1e9)
	}
	return f, nil
}

func spent(procs []*rig.Process) (list []time.Duration, err error) {
	for _, p := range procs {
		d, err := p.CPU()
		if err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	return list, nil
}

// median takes each figure's median.
func median(list []figure) (m figure) {
	of := func(get func(figure) float64) float64 {
		var values []float64
		for _, f := range list {
			values = append(values, get(f))
		}
		return report.Median(values)
	}
	m.Gbps = of(func(f figure) float64 { return f.Gbps })
	m.Sender = of(func(f figure) float64 { return f.Sender })
	m.Receiver = of(func(f figure) float64 { return f.Receiver })
	m.Relay = of(func(f figure) float64 { return f.Relay })
	return m
}

// compare holds the last contender, which is ours, against the first.
func (r *result) compare() {
	half := len(directions)
	if len(r.Series) != 2*half {
		return // nothing to compare with
	}
	var cost, speed []float64
	for j := range half {
		theirs, ours := r.Series[j].Rounds, r.Series[half+j].Rounds
		for i := range ours {
			cost = append(cost, ours[i].nodes()/theirs[i].nodes())
			speed = append(speed, ours[i].Gbps/theirs[i].Gbps)
		}
	}
	r.CostRatio, r.SpeedRatio = report.Median(cost), report.Median(speed)
	if r.Path == "direct" {
		r.Bars = append(r.Bars, report.AtMost("CPU per GB, ginnel/wireguard-go", r.CostRatio, maxCostRatio))
	} else {
		r.Bars = append(r.Bars, report.AtLeast("relayed throughput, ginnel/official", r.SpeedRatio, minSpeedRatio))
	}
}

// Print writes the table.
func (r *result) Print(w io.Writer) {
	fmt.Fprintf(w, "tunnel, %s: %d rounds of %gs a stream, medians; CPU in seconds per GB\n", r.Path, r.Rounds, r.Seconds)
	rows := [][]string{{"", "direction", "Gbit/s", "CPU sender", "CPU receiver", "CPU both", "CPU relay"}}
	for _, s := range r.Series {
		m := s.Median
		rows = append(rows, []string{s.Contender, s.Direction, number(m.Gbps), number(m.Sender), number(m.Receiver), number(m.nodes()), number(m.Relay)})
	}
	report.Table(w, rows)
	if r.CostRatio != 0 {
		fmt.Fprintf(w, "%s/%s: CPU per GB of both daemons %.3f, throughput %.3f\n",
			r.Series[len(r.Series)-1].Contender, r.Series[0].Contender, r.CostRatio, r.SpeedRatio)
	}
}

// Verdicts returns the bars.
func (r *result) Verdicts() []report.Bar { return r.Bars }

func number(f float64) string { return strconv.FormatFloat(f, 'f', 3, 64) }
