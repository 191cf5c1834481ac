//go:build linux

package idle

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/bench/mesh"
	"github.com/ginnel/ginnel/bench/report"
	"github.com/ginnel/ginnel/bench/rig"
	"github.com/ginnel/ginnel/internal/cli"
)

// The bars.
const (
	maxRSS  = 40 // MiB
	maxSize = 30 // MB (10⁶ bytes)
)

// options are the command's flags.
type options struct {
	bin    mesh.Programs
	peers  int
	settle time.Duration
}

// Command returns the sub-command "idle", which prints to stdout.
func Command(stdout io.Writer) *ffcli.Command {
	o := &options{}
	return mesh.Bench{
		Name: "idle", Help: "Memory of an idle node and size of its program; needs root",
		Flags: func(fs *flag.FlagSet) {
			fs.IntVar(&o.peers, "peers", 10, "`number` of peers")
			fs.DurationVar(&o.settle, "settle", 20*time.Second, "`time` of idleness before the memory is measured")
		},
		Run: func(ctx context.Context, bin mesh.Programs) (mesh.Result, error) {
			o.bin = bin
			return run(ctx, o)
		},
	}.Command(stdout)
}

// A result is the outcome.
type result struct {
	Bench      string       `json:"bench"`
	Peers      int          `json:"peers"`
	RSS        int64        `json:"rss_bytes"`
	CPUPercent float64      `json:"idle_cpu_percent"` // of one core, while settling
	Size       int64        `json:"program_bytes"`
	Bars       []report.Bar `json:"bars"`
}

// run sets up a server, peers and the node that is measured.
func run(ctx context.Context, o *options) (*result, error) {
	if o.peers < 0 || o.settle <= 0 {
		return nil, cli.Usagef("--peers must not be negative and --settle must be above 0")
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute+o.settle+time.Duration(o.peers)*5*time.Second)
	defer cancel()
	r, err := rig.New()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	node, err := setUp(ctx, r, o)
	if err != nil {
		return nil, err
	}
	before, err := node.CPU()
	if err != nil {
		return nil, err
	}
	select {
	case <-time.After(o.settle):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	after, err := node.CPU()
	if err != nil {
		return nil, err
	}
	res := &result{Bench: "idle", Peers: o.peers, CPUPercent: 100 * (after - before).Seconds() / o.settle.Seconds()}
	if res.RSS, err = node.RSS(); err != nil {
		return nil, err
	}
	info, err := os.Stat(filepath.Join(string(o.bin), "ginneld"))
	if err != nil {
		return nil, err
	}
	res.Size = info.Size()
	res.Bars = []report.Bar{
		report.AtMost("memory of an idle node, MiB", float64(res.RSS)/(1<<20), maxRSS),
		report.AtMost("size of ginneld, MB", float64(res.Size)/1e6, maxSize),
	}
	return res, nil
}

// setUp starts everything and returns the node to measure, which has heard from
// all its peers. The peers run in userspace, on the server's host.
func setUp(ctx context.Context, r *rig.Rig, o *options) (*mesh.Node, error) {
	hub, err := r.Host("hub")
	if err != nil {
		return nil, err
	}
	host, err := r.Host("idle")
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		r.Join(hub, "10.73.0.1/24", host, "10.73.0.2/24"),
		host.Run("ip", "route", "replace", "default", "via", "10.73.0.1"),
	)
	if err != nil {
		return nil, err
	}
	server, err := mesh.StartServer(ctx, o.bin, r, hub, "ginnel-server", "10.73.0.1")
	if err != nil {
		return nil, err
	}
	key, err := server.AuthKey(ctx)
	if err != nil {
		return nil, err
	}
	join := func(kind mesh.Kind, h *rig.Host, name string) (*mesh.Node, error) {
		n, err := mesh.StartNode(ctx, kind, o.bin, r, h, name)
		if err != nil {
			return nil, err
		}
		return n, errors.Join(n.Up(ctx, server, key), n.LearnAddr(ctx))
	}
	var peers []*mesh.Node
	for i := range o.peers {
		n, err := join(mesh.GinnelUserspace, hub, "peer-"+strconv.Itoa(i+1))
		if err != nil {
			return nil, err
		}
		peers = append(peers, n)
	}
	node, err := join(mesh.Ginnel, host, "idle")
	if err != nil {
		return nil, err
	}
	for _, p := range peers {
		if err := node.Until(ctx, "each peer answers", func() error { return host.Echo(short(ctx), p.Addr) }); err != nil {
			return nil, err
		}
	}
	return node, nil
}

// short is for one attempt to ping. It needs no cancelling: it ends by itself.
func short(ctx context.Context) context.Context {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	context.AfterFunc(ctx, cancel)
	return ctx
}

// Print writes the figures.
func (r *result) Print(w io.Writer) {
	fmt.Fprintf(w, "idle: ginneld with %d peers\n", r.Peers)
	report.Table(w, [][]string{
		{"RSS MiB", "CPU %", "program MB"},
		{number(float64(r.RSS) / (1 << 20)), number(r.CPUPercent), number(float64(r.Size) / 1e6)},
	})
}

// Verdicts returns the bars.
func (r *result) Verdicts() []report.Bar { return r.Bars }

func number(f float64) string { return strconv.FormatFloat(f, 'f', 2, 64) }
