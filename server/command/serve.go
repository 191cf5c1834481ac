package command

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/internal/cli"
	"github.com/ginnel/ginnel/server"
	"github.com/ginnel/ginnel/server/tailnet"
)

const serveHelp = `The coordination server of a private mesh network, with a relay and STUN built in.

Without any flag it makes its data directory, listens, and prints the URL to use
and the command that joins the first node. Every flag can also be set by an
environment variable (--data-dir is ` + server.EnvPrefix + `_DATA_DIR) or in the file that
--config names; flags win over variables, variables over the file.`

// serveCommand is the program without a sub-command: it runs the server.
func (e *env) serveCommand() *ffcli.Command {
	cfg := server.DefaultConfig()
	fs := flagSet(Name)
	cfg.Flags(fs)
	e.outer = fs
	root := &ffcli.Command{
		Name: Name, ShortUsage: Name + " [flags]\n" + Name + " <subcommand> [flags]", ShortHelp: "Run the server",
		LongHelp: serveHelp, FlagSet: fs,
	}
	root.Exec = func(ctx context.Context, _ []string) error {
		if err := server.ParseEnv(fs); err != nil {
			return err
		}
		return e.serve(ctx, cfg)
	}
	return root
}

// serve runs the server until it is told to stop.
func (e *env) serve(ctx context.Context, cfg server.Config) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	s, err := server.New(cfg)
	if err != nil {
		return err
	}
	e.greet(s, Name+adminFlags(&cfg))
	return s.Run(ctx)
}

// adminFlags are the flags by which a command finds the server of that
// configuration from any directory, each with a space before it.
func adminFlags(c *server.Config) string {
	def := server.DefaultConfig()
	var b strings.Builder
	add := func(name, path string) {
		if abs, err := filepath.Abs(path); err == nil {
			path = abs
		}
		b.WriteString(" --" + name + " " + shellQuote(path))
	}
	if c.DataDir != def.DataDir {
		add("data-dir", c.DataDir)
	}
	if c.Socket != "" {
		add("socket", c.Socket)
	}
	return b.String()
}

// plainWord is text that means itself to every shell.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// shellQuote writes text as one word of a shell command.
func shellQuote(text string) string {
	if plainWord.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// greet prints how to go on; program is how commands to the server begin. The key
// of the first join goes to standard output only, never to the log, and is good
// for one node within the hour.
func (e *env) greet(s *server.Server, program string) {
	fmt.Fprintf(e.stdout, "%s is ready at %s\n\n", Name, s.URL())
	switch {
	case s.FirstJoin() != "":
		fmt.Fprintf(e.stdout, "Join the first machine with (for one machine, within the hour):\n\n  %s\n\nFor more machines:\n\n", s.FirstJoin())
	case s.Tailnet().Snapshot().NodeCount() == 0:
		fmt.Fprint(e.stdout, "No machine has joined yet. Make a key for one with:\n\n")
	default:
		fmt.Fprint(e.stdout, "Make a key for another machine with:\n\n")
	}
	key := "authkeys create"
	if users := countUsers(s); users != 1 {
		key += " --user <name>"
	}
	fmt.Fprintf(e.stdout, "  %s %s\n\nor approve one that shows a login link with:\n\n  %s nodes approve <link>\n\n", program, key, program)
}

func countUsers(s *server.Server) (n int) {
	for range s.Tailnet().Snapshot().Users(tailnet.DefaultTailnet) {
		n++
	}
	return n
}

// checkCommand checks a configuration without running it.
func (e *env) checkCommand() *ffcli.Command {
	cfg := server.DefaultConfig()
	fs := flagSet("check")
	cfg.Flags(fs)
	return &ffcli.Command{
		Name: "check", ShortUsage: Name + " check [flags]", ShortHelp: "Check the configuration and say what is wrong with it",
		LongHelp: "Check reads flags, environment variables and the configuration file as the server would, and the files that\nthey name. It starts nothing and changes nothing.\nRun it as the user that the server runs as.",
		FlagSet:  fs,
		Exec: func(_ context.Context, args []string) error {
			if err := cli.Args(args); err != nil {
				return err
			}
			if err := e.inherit(fs); err != nil {
				return err
			}
			if err := server.ParseEnv(fs); err != nil {
				return err
			}
			err := cfg.Check()
			if cfg.DataDir != "" {
				err = errors.Join(err, cfg.CheckDataDir())
			}
			if err != nil {
				return fmt.Errorf("the configuration is not usable:\n  %s", strings.ReplaceAll(err.Error(), "\n", "\n  "))
			}
			for _, warning := range cfg.Warnings() {
				fmt.Fprintln(e.stdout, "Warning: "+warning)
			}
			fmt.Fprintln(e.stdout, "The configuration is good.")
			return nil
		},
	}
}
