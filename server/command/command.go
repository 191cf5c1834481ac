// Package command is the command line of ginnel-server: the server itself, the
// administrator's commands that talk to a running one through package admin, and
// the care of its data.
//
// It decides nothing and keeps nothing; package server does.
package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/internal/cli"
	"github.com/ginnel/ginnel/internal/version"
	"github.com/ginnel/ginnel/server"
	"github.com/ginnel/ginnel/server/admin"
)

// Name is the program's name.
const Name = "ginnel-server"

// env is what a run of the program works with.
type env struct {
	stdout io.Writer
	stderr io.Writer
	// outer are the flags before the sub-command: those of the program itself.
	outer *flag.FlagSet
}

// Main runs the program with its arguments and returns its exit status: 0 for
// success, 1 for a failure, 2 for a wrong command line.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	e := &env{stdout: stdout, stderr: stderr}
	err := cli.Run(ctx, e.root(), args, stdout)
	var usage *cli.UsageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		fmt.Fprintln(stderr, err)
		return 2
	}
	fmt.Fprintf(stderr, "%s: %v\n", Name, err)
	return 1
}

// root returns the tree of commands.
func (e *env) root() *ffcli.Command {
	root := e.serveCommand()
	root.Subcommands = []*ffcli.Command{
		e.checkCommand(),
		e.statusCommand(),
		e.usersCommand(),
		e.authKeysCommand(),
		e.nodesCommand(),
		e.auditCommand(),
		e.backupCommand(),
		e.restoreCommand(),
		e.versionCommand(),
		e.completionCommand(),
		e.completeCommand(root),
	}
	return root
}

// inherit sets in fs what was given before the sub-command, unless it was given
// again after it.
func (e *env) inherit(fs *flag.FlagSet) error {
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	var errs []error
	e.outer.Visit(func(f *flag.Flag) {
		if fs.Lookup(f.Name) != nil && !given[f.Name] {
			errs = append(errs, fs.Set(f.Name, f.Value.String()))
		}
	})
	return errors.Join(errs...)
}

// flagSet returns an empty set of flags.
func flagSet(name string) *flag.FlagSet { return flag.NewFlagSet(name, flag.ContinueOnError) }

// remote are the flags of a command that talks to a running server.
type remote struct {
	env  *env
	fs   *flag.FlagSet
	json bool
}

func (e *env) remote(name string) *remote {
	r := &remote{env: e, fs: flagSet(name)}
	def := server.DefaultConfig()
	r.fs.String("data-dir", def.DataDir, "data `directory` of the server")
	r.fs.String("socket", "", "`path` of the server's admin socket (default "+server.AdminSocketName+" in the data directory)")
	r.fs.String("config", "", "configuration `file` of the server, to find its data directory")
	r.fs.BoolVar(&r.json, "json", false, "print JSON")
	return r
}

// config returns what the flags, the environment and the configuration file say
// of the server; only where its data is matters.
func (r *remote) config() (*server.Config, error) {
	c := server.DefaultConfig()
	all := flagSet("all")
	c.Flags(all)
	var args []string
	r.fs.Visit(func(f *flag.Flag) {
		if all.Lookup(f.Name) != nil {
			args = append(args, "--"+f.Name+"="+f.Value.String())
		}
	})
	if err := all.Parse(args); err != nil {
		return nil, err
	}
	if err := r.env.inherit(all); err != nil {
		return nil, err
	}
	return &c, server.ParseEnv(all)
}

// client returns a client of the running server.
func (r *remote) client() (*admin.Client, error) {
	c, err := r.config()
	if err != nil {
		return nil, err
	}
	return admin.NewClient(c.SocketPath()), nil
}

// do makes a request to the running server.
func (r *remote) do(ctx context.Context, method, path string, in, out any) error {
	c, err := r.client()
	if err != nil {
		return err
	}
	return c.Do(ctx, method, path, in, out)
}

// print prints v as JSON if that was asked for, else by text.
func (r *remote) print(v any, text func(w io.Writer)) error {
	if r.json {
		return writeJSON(r.env.stdout, v)
	}
	text(r.env.stdout)
	return nil
}

// usageError says that a command's arguments are wrong.
func usageError(command, format string, args ...any) error {
	return &cli.UsageError{
		Command: Name + " " + command,
		Text:    fmt.Sprintf(format, args...),
		Hint:    fmt.Sprintf("See '%s %s --help'.", Name, command),
	}
}

// exactArgs checks the number of arguments; what names them for the error.
func exactArgs(command string, args []string, what ...string) error {
	switch {
	case len(args) < len(what):
		return usageError(command, "missing argument: %s", what[len(args)])
	case len(args) > len(what):
		return usageError(command, "unexpected argument: %s", args[len(what)])
	}
	return nil
}

// group makes a command that only holds others.
func group(name, short string, subs ...*ffcli.Command) *ffcli.Command {
	return &ffcli.Command{
		Name: name, ShortUsage: Name + " " + name + " <subcommand>", ShortHelp: short,
		FlagSet: flagSet(name), Subcommands: subs,
	}
}

func (e *env) versionCommand() *ffcli.Command {
	return &ffcli.Command{
		Name: "version", ShortUsage: Name + " version", ShortHelp: "print the version", FlagSet: flagSet("version"),
		Exec: func(_ context.Context, args []string) error {
			if err := exactArgs("version", args); err != nil {
				return err
			}
			fmt.Fprintln(e.stdout, version.Long())
			return nil
		},
	}
}

func (e *env) completionCommand() *ffcli.Command {
	shells := strings.Join(cli.Shells(), "|")
	return &ffcli.Command{
		Name: "completion", ShortUsage: Name + " completion <" + shells + ">",
		ShortHelp: "print a completion script for a shell", FlagSet: flagSet("completion"),
		Exec: func(_ context.Context, args []string) error {
			if err := exactArgs("completion", args, "the shell: "+shells); err != nil {
				return err
			}
			text, err := cli.Script(args[0], Name, "__complete")
			if err != nil {
				return usageError("completion", "%v", err)
			}
			_, err = io.WriteString(e.stdout, text)
			return err
		},
	}
}

// completeCommand is what the completion scripts call.
func (e *env) completeCommand(root *ffcli.Command) *ffcli.Command {
	return &ffcli.Command{
		Name: "__complete",
		Exec: func(ctx context.Context, args []string) error {
			if len(args) > 0 && args[0] == "--" {
				args = args[1:]
			}
			c := &cli.Completer{Root: root}
			for _, cand := range c.Complete(ctx, args) {
				fmt.Fprintf(e.stdout, "%s\t%s\n", cand.Value, cand.Description)
			}
			return nil
		},
	}
}

// isTerminal reports whether w is a terminal, so that a person reads it.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	fi, err := f.Stat()
	return err == nil && fi.Mode()&os.ModeCharDevice != 0
}
