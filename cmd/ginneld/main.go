// Command ginneld is the node daemon: it connects this machine to a mesh and
// serves the local API by which the command ginnel steers it.
//
// Flags, environment and defaults are those of the wire document node, section
// 1.1, as far as this version has what they are about.
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
	"github.com/ginnel/ginnel/node"
)

const programName = "ginneld"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

const longHelp = `Connects this machine to a mesh. It runs until it is told to stop, and is steered by
the command ginnel, which talks to it over a socket.

It needs root, unless it runs with --tun=` + node.Userspace + `.`

// run is the whole program: it returns the exit status.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	o := &options{}
	fs := flag.NewFlagSet(programName, flag.ContinueOnError)
	o.define(fs, getenv)
	root := &ffcli.Command{
		Name: programName, ShortUsage: programName + " [flags]", ShortHelp: "Run the node daemon", LongHelp: longHelp, FlagSet: fs,
		Exec: func(ctx context.Context, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			if o.cleanup {
				return cleanUp(o, stderr)
			}
			return serve(ctx, o, getenv, stderr)
		},
	}
	cli.AddStandard(root, stdout, nil)
	return cli.Finish(programName, cli.Run(ctx, root, args, stdout), stderr)
}
