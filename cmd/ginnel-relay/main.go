// Command ginnel-relay is a relay on its own: it passes packets between nodes that
// have no direct path, and tells them their addresses by STUN. A coordination
// server has one built in; this is for relays elsewhere, and for regions of several.
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

const programName = "ginnel-relay"

const longHelp = `Passes packets between nodes that have no direct path, and tells nodes their
addresses by STUN. It prints the entry by which a relay map names it.

Every flag can also be set by an environment variable: --cert-mode is
` + envPrefix + `_CERT_MODE.`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(cli.Finish(programName, err, os.Stderr))
}

// run is the program: it serves until ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	cfg := &config{}
	fs := flag.NewFlagSet(programName, flag.ContinueOnError)
	cfg.define(fs)
	root := &ffcli.Command{
		Name: programName, ShortUsage: programName + " [flags]", ShortHelp: "Run a relay", LongHelp: longHelp, FlagSet: fs,
		Exec: func(ctx context.Context, _ []string) error {
			if err := cli.SetFromEnv(fs, envPrefix); err != nil {
				return err
			}
			if err := cfg.check(); err != nil {
				return err
			}
			return serve(ctx, cfg, stdout, stderr)
		},
	}
	cli.AddStandard(root, stdout, nil)
	return cli.Run(ctx, root, args, stdout)
}

// serve runs the relay that cfg describes until ctx ends.
func serve(ctx context.Context, cfg *config, stdout, stderr io.Writer) error {
	s, err := newService(ctx, cfg, stderr)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.printRegion(stdout); err != nil {
		return err
	}
	return s.serve(ctx)
}
