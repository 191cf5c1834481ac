package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/bench/idle"
	"github.com/ginnel/ginnel/bench/join"
	"github.com/ginnel/ginnel/bench/mesh"
	"github.com/ginnel/ginnel/bench/rig"
	"github.com/ginnel/ginnel/bench/tunnel"
	"github.com/ginnel/ginnel/internal/cli"
)

// allTimeout bounds the load on the server in all.
const allTimeout = 10 * time.Minute

// allConfig is the command line of all.
type allConfig struct {
	bin, official string
	nodes         int
	strict        bool
}

// systemCommands are the subcommands that start what they measure.
func systemCommands(stdout io.Writer) []*ffcli.Command {
	return []*ffcli.Command{tunnel.Command(stdout), join.Command(stdout), idle.Command(stdout), allCommand(stdout)}
}

// allCommand is the subcommand that runs all others.
func allCommand(stdout io.Writer) *ffcli.Command {
	c := &allConfig{}
	fs := newFlags("all")
	fs.StringVar(&c.bin, "bin", mesh.OwnFolder(), "`folder` with Ginnel's programs")
	fs.StringVar(&c.official, "official", "", "`folder` with tailscaled, tailscale and derper, to compare the relayed tunnel with")
	fs.IntVar(&c.nodes, "nodes", 2000, "`nodes` to simulate in control")
	fs.BoolVar(&c.strict, "strict", false, "fail when a bar of tunnel, join or idle is not met")
	return &ffcli.Command{
		Name:       "all",
		ShortUsage: "ginnel-bench all [flags]",
		ShortHelp:  "Run everything, relay and control against a server of its own; needs root",
		FlagSet:    fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := cli.Args(args); err != nil {
				return err
			}
			return c.run(ctx, stdout)
		},
	}
}

// run runs one after the other. One that fails does not keep the rest from running.
func (c *allConfig) run(ctx context.Context, stdout io.Writer) error {
	flags := []string{"--bin", c.bin, fmt.Sprintf("--strict=%t", c.strict)}
	var errs []error
	for _, b := range []struct {
		cmd  *ffcli.Command
		args []string
	}{
		{tunnel.Command(stdout), nil},
		{tunnel.Command(stdout), []string{"--relayed", "--official", c.official}},
		{join.Command(stdout), nil},
		{idle.Command(stdout), nil},
	} {
		if err := cli.Run(ctx, b.cmd, append(b.args, flags...), stdout); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", b.cmd.Name, err))
		}
		fmt.Fprintln(stdout)
	}
	return errors.Join(append(errs, c.load(ctx, stdout))...)
}

// load puts load on a relay and a server that it starts in a network of their own. The load comes
// from further processes of this program, in that network.
func (c *allConfig) load(ctx context.Context, stdout io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, allTimeout)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	r, err := rig.New()
	if err != nil {
		return err
	}
	defer r.Close()
	host, err := r.Host("server")
	if err != nil {
		return err
	}
	server, err := mesh.StartServer(ctx, mesh.Programs(c.bin), r, host, "ginnel-server", "127.0.0.1")
	if err != nil {
		return err
	}
	key, err := server.AuthKey(ctx)
	if err != nil {
		return err
	}
	// The relay inside the server admits its nodes alone.
	relay, err := mesh.StartRelay(ctx, mesh.Programs(c.bin), r, host, "127.0.0.1:8443")
	if err != nil {
		return err
	}
	var errs []error
	for _, args := range [][]string{
		{"relay", "--url", "https://127.0.0.1:8443", "--insecure", "--pairs", "2", "--pid", strconv.Itoa(relay.PID())},
		{"control", "--url", "http://127.0.0.1:8080", "--auth-key", key, "--nodes", strconv.Itoa(c.nodes), "--pid", strconv.Itoa(server.PID())},
	} {
		out, err := host.Output(ctx, append([]string{self}, args...)...)
		fmt.Fprintln(stdout, out)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", args[0], err))
		}
	}
	return errors.Join(errs...)
}
