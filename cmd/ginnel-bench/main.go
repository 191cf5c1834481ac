// Command ginnel-bench puts load on servers that speak Ginnel's wire protocols, of
// any make, and reports what they did: relay measures a relay (DERP), control a
// coordination server. On Linux it also measures Ginnel's own programs, which it
// runs in network namespaces: tunnel, join and idle; all runs everything.
//
// It prints numbers, as text or as JSON, for people and scripts that compare them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/peterbourgon/ff/v3/ffcli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "ginnel-bench:", err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "ginnel-bench:", err)
		os.Exit(1)
	}
}

// errUsage marks errors of the command line.
var errUsage = errors.New("wrong usage")

// run is the program.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	root := &ffcli.Command{
		Name:        "ginnel-bench",
		ShortUsage:  "ginnel-bench <subcommand> [flags]",
		ShortHelp:   "Measure relays and coordination servers.",
		FlagSet:     newFlagSet("ginnel-bench", stderr),
		Subcommands: append([]*ffcli.Command{relayCommand(stdout, stderr), controlCommand(stdout, stderr)}, systemCommands(stdout)...),
		Exec: func(_ context.Context, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("%w: unknown subcommand %q; -help lists them", errUsage, args[0])
			}
			return fmt.Errorf("%w: which subcommand? -help lists them", errUsage)
		},
	}
	if err := root.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	return root.Run(ctx)
}

// newFlagSet makes a flag set that reports to stderr.
func newFlagSet(name string, stderr io.Writer) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(stderr)
	return fs
}

// noArgs refuses arguments that are no flags.
func noArgs(args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%w: unexpected argument %q", errUsage, args[0])
	}
	return nil
}
