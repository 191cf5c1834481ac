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
	"io"
	"os"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/internal/cli"
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

// Main runs the program with its arguments and returns its exit status.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	e := &env{stdout: stdout, stderr: stderr}
	return cli.Finish(Name, cli.Run(ctx, e.root(), args, stdout), stderr)
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
	}
	cli.AddStandard(root, e.stdout, func() *cli.Completer { return e.completer(root) })
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

// group makes a command that only holds others.
func group(name, short string, subs ...*ffcli.Command) *ffcli.Command {
	return &ffcli.Command{
		Name: name, ShortUsage: Name + " " + name + " <subcommand>", ShortHelp: short,
		FlagSet: flagSet(name), Subcommands: subs,
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
