// Command ginnel-bench puts load on servers that speak Ginnel's wire protocols, of
// any make, and reports what they did: relay measures a relay (DERP), control a
// coordination server. On Linux it also measures Ginnel's own programs, which it
// runs in network namespaces: tunnel, join and idle; all runs everything.
//
// It prints numbers, as text or as JSON, for people and scripts that compare them.
package main

import (
	"context"
	"flag"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/internal/cli"
)

const programName = "ginnel-bench"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	os.Exit(cli.Finish(programName, err, os.Stderr))
}

// run is the program.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	root := &ffcli.Command{
		Name: programName, ShortUsage: programName + " <subcommand> [flags]", ShortHelp: "Measure relays, coordination servers and nodes",
		FlagSet:     newFlags(programName),
		Subcommands: append([]*ffcli.Command{relayCommand(stdout), controlCommand(stdout)}, systemCommands(stdout)...),
	}
	cli.AddStandard(root, stdout, nil)
	return cli.Run(ctx, root, args, stdout)
}

// newFlags returns an empty set of flags for the command of that name.
func newFlags(name string) *flag.FlagSet { return flag.NewFlagSet(name, flag.ContinueOnError) }

// loadCommand makes a sub-command that puts load on something elsewhere.
func loadCommand(name, usage, help string, fs *flag.FlagSet, stdout io.Writer, check func() error, bench func(context.Context) (result, error)) *ffcli.Command {
	asJSON := fs.Bool("json", false, "print JSON")
	return &ffcli.Command{
		Name: name, ShortUsage: programName + " " + name + " " + usage + " [flags]", ShortHelp: help, FlagSet: fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := cli.Args(args); err != nil {
				return err
			}
			if err := check(); err != nil {
				return err
			}
			res, err := bench(ctx)
			if err != nil {
				return err
			}
			return printResult(stdout, *asJSON, res)
		},
	}
}
