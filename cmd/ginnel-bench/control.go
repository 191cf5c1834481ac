package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/internal/cli"
)

// Ways in which a simulated node changes.
const (
	changeEndpoint = "endpoint" // a new address, as roaming brings
	changeRename   = "rename"   // a new host name
)

// controlConfig is the command line of control.
type controlConfig struct {
	url, authKey string
	nodes        int
	joiners      int
	joinTimeout  time.Duration
	rate         float64
	duration     time.Duration
	settle       time.Duration
	change       string
	pid          int
}

// controlResult is what control prints.
type controlResult struct {
	URL   string `json:"url"`
	Nodes int    `json:"nodes"`

	JoinSeconds    float64 `json:"join_seconds"`
	JoinsPerSecond float64 `json:"joins_per_s"`
	FirstMap       latency `json:"join_to_first_map"` // of one node: from registering to its first full map

	Change           string  `json:"change"`
	ChangesPerSecond float64 `json:"changes_per_s"`
	Changes          int     `json:"changes"`
	FullyTold        int     `json:"changes_told_to_all"`
	ToldLast         latency `json:"change_to_last_told"`
	ToldEach         latency `json:"change_to_each_told"`
	Lost             int     `json:"streams_lost"`

	ServerCPUJoin    float64 `json:"server_cpu_s_join,omitempty"`
	ServerCPUChurn   float64 `json:"server_cpu_s_churn,omitempty"`
	ServerCPUPercent float64 `json:"server_cpu_percent_churn,omitempty"`
	ServerRSSBefore  int64   `json:"server_rss_bytes_before,omitempty"`
	ServerRSS        int64   `json:"server_rss_bytes,omitempty"`
	ServerRSSPeak    int64   `json:"server_rss_peak_bytes,omitempty"`
	ServerRSSPerNode int64   `json:"server_rss_bytes_per_node,omitempty"`
	GeneratorCPU     float64 `json:"generator_cpu_s"`
}

// controlCommand is the subcommand.
func controlCommand(stdout io.Writer) *ffcli.Command {
	c := &controlConfig{}
	fs := newFlags("control")
	c.define(fs)
	return loadCommand("control", "--url http://host[:port] --auth-key KEY", "Join simulated nodes to a coordination server and change them", fs, stdout, c.check,
		func(ctx context.Context) (result, error) { return benchControl(ctx, c) })
}

// define names the flags.
func (c *controlConfig) define(fs *flag.FlagSet) {
	fs.StringVar(&c.url, "url", "", "`URL` of the server")
	fs.StringVar(&c.authKey, "auth-key", "", "reusable `key` for the nodes to join with")
	fs.IntVar(&c.nodes, "nodes", 100, "`nodes` to join")
	fs.IntVar(&c.joiners, "join-concurrency", 16, "`nodes` that join at the same time")
	fs.DurationVar(&c.joinTimeout, "join-timeout", 5*time.Minute, "how long all joins may take")
	fs.Float64Var(&c.rate, "rate", 1, "changes a `second`")
	fs.DurationVar(&c.duration, "duration", 30*time.Second, "how long to change nodes; 0 for joins only")
	fs.DurationVar(&c.settle, "settle", 10*time.Second, "how long to wait for the news of the last change")
	fs.StringVar(&c.change, "change", changeEndpoint, "what changes: endpoint or rename")
	fs.IntVar(&c.pid, "pid", 0, "process `number` of the server, on this machine, to measure its CPU time and memory")
}

// check finds what is wrong with the flags.
func (c *controlConfig) check() error {
	switch {
	case c.url == "" || c.authKey == "":
		return cli.Usagef("--url and --auth-key are needed")
	case c.nodes < 2 || c.nodes > maxNodes:
		return cli.Usagef("--nodes must be from 2 to %d", maxNodes)
	case c.joiners < 1 || c.joinTimeout <= 0 || c.settle < 0 || c.duration < 0:
		return cli.Usagef("--join-concurrency and --join-timeout must be above 0")
	case c.rate <= 0 || c.rate*c.duration.Seconds() > maxChanges:
		return cli.Usagef("--rate must be above 0, and --rate times --duration at most %d changes", maxChanges)
	case c.change != changeEndpoint && c.change != changeRename:
		return cli.Usagef("--change must be %s or %s", changeEndpoint, changeRename)
	}
	return nil
}

// print writes the result for people.
func (r *controlResult) print(w io.Writer) {
	fmt.Fprintf(w, "control %s: %d nodes\n", r.URL, r.Nodes)
	fmt.Fprintf(w, "  joins           %.1f/s (%.1f s), register to first map p50 %.1f ms, p99 %.1f ms\n",
		r.JoinsPerSecond, r.JoinSeconds, r.FirstMap.P50, r.FirstMap.P99)
	if r.Changes > 0 {
		fmt.Fprintf(w, "  churn           %d %s changes, %.2f/s; %d told to all nodes, %d streams lost\n",
			r.Changes, r.Change, r.ChangesPerSecond, r.FullyTold, r.Lost)
		fmt.Fprintf(w, "  last node told  p50 %.1f ms, p99 %.1f ms, max %.1f ms\n", r.ToldLast.P50, r.ToldLast.P99, r.ToldLast.Max)
		fmt.Fprintf(w, "  each node told  p50 %.1f ms, p99 %.1f ms\n", r.ToldEach.P50, r.ToldEach.P99)
	}
	if r.ServerRSS > 0 {
		const mib = 1 << 20
		fmt.Fprintf(w, "  server memory   %.1f MiB, %.1f MiB at most, %.1f MiB before; %.1f KiB a node\n",
			float64(r.ServerRSS)/mib, float64(r.ServerRSSPeak)/mib, float64(r.ServerRSSBefore)/mib, float64(r.ServerRSSPerNode)/1024)
		fmt.Fprintf(w, "  server CPU      %.2f s for the joins, %.2f s for the churn (%.1f%% of a core)\n",
			r.ServerCPUJoin, r.ServerCPUChurn, r.ServerCPUPercent)
	}
	fmt.Fprintf(w, "  generator CPU   %.2f s\n", r.GeneratorCPU)
}
