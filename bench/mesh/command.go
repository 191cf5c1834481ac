//go:build linux

package mesh

import (
	"context"
	"flag"
	"fmt"
	"io"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/bench/report"
	"github.com/ginnel/ginnel/internal/cli"
)

// A Result is what a benchmark found. As JSON it is printed in one line.
type Result interface {
	// Print writes it for people.
	Print(w io.Writer)
	// Verdicts are how it stands to the bars.
	Verdicts() []report.Bar
}

// A Bench is a benchmark of built programs.
type Bench struct {
	Name, Help string
	// Flags adds the benchmark's own flags.
	Flags func(fs *flag.FlagSet)
	// Run measures the programs in a folder.
	Run func(ctx context.Context, bin Programs) (Result, error)
	// Parts are further commands below it.
	Parts []*ffcli.Command
}

// Command returns the sub-command of ginnel-bench that runs the benchmark and prints
// the result to stdout: for people, then the verdicts, then JSON in the last line.
func (b Bench) Command(stdout io.Writer) *ffcli.Command {
	fs := flag.NewFlagSet(b.Name, flag.ContinueOnError)
	bin := fs.String("bin", OwnFolder(), "`folder` with ginneld, ginnel and ginnel-server")
	strict := fs.Bool("strict", false, "fail when a bar is not met")
	b.Flags(fs)
	return &ffcli.Command{
		Name: b.Name, ShortUsage: "ginnel-bench " + b.Name + " [flags]", ShortHelp: b.Help, FlagSet: fs, Subcommands: b.Parts,
		Exec: func(ctx context.Context, args []string) error {
			if err := cli.Args(args); err != nil {
				return err
			}
			res, err := b.Run(ctx, Programs(*bin))
			if err != nil {
				return err
			}
			res.Print(stdout)
			for _, bar := range res.Verdicts() {
				fmt.Fprintln(stdout, bar)
			}
			if err := report.JSON(stdout, res); err != nil {
				return err
			}
			if *strict {
				return report.Check(res.Verdicts())
			}
			return nil
		},
	}
}
