//go:build linux

package join

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/bench/mesh"
	"github.com/ginnel/ginnel/bench/report"
	"github.com/ginnel/ginnel/bench/rig"
	"github.com/ginnel/ginnel/internal/cli"
)

const (
	maxMedian = 1000 // milliseconds; the bar
	// echoWait is how long the first ping may take to be answered.
	echoWait = 5 * time.Second
	// roundTimeout bounds one round, most of which is start and end of a daemon.
	roundTimeout = 45 * time.Second
)

// options are the command's flags.
type options struct {
	bin    mesh.Programs
	rounds int
}

// Command returns the sub-command "join", which prints to stdout.
func Command(stdout io.Writer) *ffcli.Command {
	o := &options{}
	return mesh.Bench{
		Name: "join", Help: "Time from `ginnel up` to the first ping answered; needs root",
		Flags: func(fs *flag.FlagSet) {
			fs.IntVar(&o.rounds, "rounds", 10, "`number` of nodes to join, one after the other")
		},
		Run: func(ctx context.Context, bin mesh.Programs) (mesh.Result, error) {
			o.bin = bin
			return run(ctx, o)
		},
	}.Command(stdout)
}

// A result is the outcome; times are in milliseconds.
type result struct {
	Bench  string       `json:"bench"`
	Rounds []round      `json:"rounds"`
	Lost   int          `json:"lost"` // first pings without an answer
	Up     summary      `json:"up_ms"`
	Total  summary      `json:"up_to_pong_ms"` // of the rounds whose ping was answered
	Bars   []report.Bar `json:"bars"`
}

// A round is one node's joining.
type round struct {
	Up       float64 `json:"up_ms"`         // until `ginnel up` returned
	Total    float64 `json:"up_to_pong_ms"` // 0 when the ping was lost
	Answered bool    `json:"answered"`
}

type summary struct {
	Median float64 `json:"median"`
	P99    float64 `json:"p99"`
}

func summarize(values []float64) (s summary) {
	if len(values) > 0 {
		s.Median, s.P99 = report.Median(values), report.Quantile(values, 0.99)
	}
	return s
}

// run sets up a server and a peer, and joins nodes.
func run(ctx context.Context, o *options) (*result, error) {
	if o.rounds < 1 {
		return nil, cli.Usagef("--rounds must be at least 1")
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute+time.Duration(o.rounds)*roundTimeout)
	defer cancel()
	r, err := rig.New()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	l := &lab{rig: r, bin: o.bin}
	if err := l.setUp(ctx); err != nil {
		return nil, err
	}
	res := &result{Bench: "join"}
	for i := range o.rounds {
		rd, err := l.round(ctx, i)
		if err != nil {
			return nil, fmt.Errorf("round %d: %w", i+1, err)
		}
		res.Rounds = append(res.Rounds, rd)
	}
	res.summarize()
	return res, nil
}

// lab is what the rounds share: a server, a peer that answers, and a host to join
// from, all on one network.
type lab struct {
	rig    *rig.Rig
	bin    mesh.Programs
	server *mesh.Server
	host   *rig.Host
	peer   *mesh.Node
	key    string
}

func (l *lab) setUp(ctx context.Context) error {
	hosts := make([]*rig.Host, 3)
	for i, name := range []string{"server", "new", "peer"} {
		var err error
		if hosts[i], err = l.rig.Host(name); err != nil {
			return err
		}
	}
	l.host = hosts[1]
	err := errors.Join(
		l.rig.Join(hosts[0], "10.72.1.1/24", hosts[1], "10.72.1.2/24"),
		l.rig.Join(hosts[0], "10.72.2.1/24", hosts[2], "10.72.2.2/24"),
		l.rig.Join(hosts[1], "10.72.3.1/24", hosts[2], "10.72.3.2/24"),
		hosts[1].Run("ip", "route", "replace", "default", "via", "10.72.1.1"),
		hosts[2].Run("ip", "route", "replace", "default", "via", "10.72.2.1"),
	)
	if err != nil {
		return err
	}
	if l.server, err = mesh.StartServer(ctx, l.bin, l.rig, hosts[0], "ginnel-server", "10.72.1.1"); err != nil {
		return err
	}
	if l.key, err = l.server.AuthKey(ctx, "--ephemeral"); err != nil {
		return err
	}
	if l.peer, err = mesh.StartNode(ctx, mesh.Ginnel, l.bin, l.rig, hosts[2], "peer"); err != nil {
		return err
	}
	return errors.Join(l.peer.Up(ctx, l.server, l.key), l.peer.LearnAddr(ctx))
}

// round joins one new node and takes it away again.
func (l *lab) round(ctx context.Context, i int) (round, error) {
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	n, err := mesh.StartNode(ctx, mesh.Ginnel, l.bin, l.rig, l.host, "new-"+strconv.Itoa(i+1))
	if err != nil {
		return round{}, err
	}
	defer n.Stop()
	start := time.Now()
	if err := n.Up(ctx, l.server, l.key); err != nil {
		return round{}, err
	}
	rd := round{Up: report.Millis(time.Since(start))}
	echo, cancelEcho := context.WithTimeout(ctx, echoWait)
	defer cancelEcho()
	if err := l.host.Echo(echo, l.peer.Addr); err == nil {
		rd.Answered, rd.Total = true, report.Millis(time.Since(start))
	} else if echo.Err() == nil {
		return round{}, err // the ping could not be sent
	}
	_, err = n.CLI(ctx, "logout")
	return rd, err
}

func (r *result) summarize() {
	var up, total []float64
	for _, rd := range r.Rounds {
		up = append(up, rd.Up)
		if rd.Answered {
			total = append(total, rd.Total)
		} else {
			r.Lost++
		}
	}
	r.Up, r.Total = summarize(up), summarize(total)
	r.Bars = append(r.Bars, report.AtMost("first pings lost", float64(r.Lost), 0))
	if len(total) > 0 {
		r.Bars = append(r.Bars, report.AtMost("median from up to the first pong, ms", r.Total.Median, maxMedian))
	}
}

// Print writes the table.
func (r *result) Print(w io.Writer) {
	fmt.Fprintf(w, "join: %d fresh nodes, %d first pings lost; milliseconds\n", len(r.Rounds), r.Lost)
	ms := func(f float64) string { return strconv.FormatFloat(f, 'f', 0, 64) }
	report.Table(w, [][]string{
		{"", "median", "p99"},
		{"ginnel up", ms(r.Up.Median), ms(r.Up.P99)},
		{"up to first pong", ms(r.Total.Median), ms(r.Total.P99)},
	})
}

// Verdicts returns the bars.
func (r *result) Verdicts() []report.Bar { return r.Bars }
