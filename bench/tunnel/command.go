//go:build linux

package tunnel

import (
	"context"
	"flag"
	"os"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/bench/mesh"
	"github.com/ginnel/ginnel/bench/report"
)

// The bars.
const (
	maxCostRatio  = 1.15 // processor time per GB, direct, against wireguard-go
	minSpeedRatio = 5    // throughput, relayed, against the official pair
)

// options are the command's flags.
type options struct {
	bin      string
	official string
	relayed  bool
	rounds   int
	duration time.Duration
	mtu      int
	strict   bool
}

// Command returns the sub-command "tunnel".
func Command() *ffcli.Command {
	o := &options{}
	fs := flag.NewFlagSet("tunnel", flag.ContinueOnError)
	fs.StringVar(&o.bin, "bin", mesh.OwnFolder(), "`folder` with ginneld, ginnel and ginnel-server")
	fs.BoolVar(&o.relayed, "relayed", false, "measure the way through the relay instead of the direct one")
	fs.StringVar(&o.official, "official", "", "`folder` with tailscaled, tailscale and derper to compare with, for --relayed")
	fs.IntVar(&o.rounds, "rounds", 3, "`number` of rounds")
	fs.DurationVar(&o.duration, "duration", 4*time.Second, "`time` of one stream")
	fs.IntVar(&o.mtu, "wireguard-go-mtu", 1280, "MTU in `bytes` of the wireguard-go pair; Ginnel's is 1280")
	fs.BoolVar(&o.strict, "strict", false, "fail when a bar is not met")
	return &ffcli.Command{
		Name:        "tunnel",
		ShortUsage:  "ginnel-bench tunnel [flags]",
		ShortHelp:   "throughput and cost of the tunnel between two nodes; needs root",
		FlagSet:     fs,
		Subcommands: []*ffcli.Command{wireguardCommand()},
		Exec: func(ctx context.Context, _ []string) error {
			res, err := run(ctx, o)
			if err != nil {
				return err
			}
			res.print(os.Stdout)
			if o.strict {
				return report.Check(res.Bars)
			}
			return nil
		},
	}
}

// run sets everything up, measures, and takes it down.
func run(ctx context.Context, o *options) (*result, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute+time.Duration(o.rounds)*8*(o.duration+2*time.Second))
	defer cancel()
	l, err := newLab(mesh.Programs(o.bin))
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
