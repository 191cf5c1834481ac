//go:build linux

package tunnel

import (
	"context"
	"flag"
	"io"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/bench/mesh"
	"github.com/ginnel/ginnel/internal/cli"
)

// The bars.
const (
	maxCostRatio  = 1.15 // processor time per GB, direct, against wireguard-go
	minSpeedRatio = 5    // throughput, relayed, against the official pair
)

// options are the command's flags.
type options struct {
	bin      mesh.Programs
	official string
	relayed  bool
	rounds   int
	duration time.Duration
	mtu      int
}

// Command returns the sub-command "tunnel", which prints to stdout.
func Command(stdout io.Writer) *ffcli.Command {
	o := &options{}
	return mesh.Bench{
		Name: "tunnel", Help: "Throughput and cost of the tunnel between two nodes; needs root",
		Flags: func(fs *flag.FlagSet) {
			fs.BoolVar(&o.relayed, "relayed", false, "measure the way through the relay instead of the direct one")
			fs.StringVar(&o.official, "official", "", "`folder` with tailscaled, tailscale and derper to compare with, for --relayed")
			fs.IntVar(&o.rounds, "rounds", 3, "`number` of rounds")
			fs.DurationVar(&o.duration, "duration", 4*time.Second, "`time` of one stream")
			fs.IntVar(&o.mtu, "wireguard-go-mtu", 1280, "MTU in `bytes` of the wireguard-go pair; Ginnel's is 1280")
		},
		Run: func(ctx context.Context, bin mesh.Programs) (mesh.Result, error) {
			o.bin = bin
			return run(ctx, o)
		},
		Parts: []*ffcli.Command{wireguardCommand()},
	}.Command(stdout)
}

// run sets everything up, measures, and takes it down.
func run(ctx context.Context, o *options) (*result, error) {
	if o.rounds < 1 || o.duration <= 0 {
		return nil, cli.Usagef("--rounds and --duration must be above 0")
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute+time.Duration(o.rounds)*8*(o.duration+2*time.Second))
	defer cancel()
	l, err := newLab(o.bin)
	if err != nil {
		return nil, err
	}
	defer l.rig.Close()
	res := &result{Bench: "tunnel", Path: "direct", Rounds: o.rounds, Seconds: o.duration.Seconds()}
	var contenders []*contender
	if o.relayed {
		res.Path = "relayed"
		contenders, err = l.relayed(ctx, mesh.Programs(o.official))
	} else {
		contenders, err = l.direct(ctx, o.mtu)
	}
	if err != nil {
		return nil, err
	}
	if err := res.measure(ctx, contenders, o); err != nil {
		return nil, err
	}
	res.compare()
	return res, nil
}
