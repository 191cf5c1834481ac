package main

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/internal/cli"
	"github.com/ginnel/ginnel/node/local/api"
)

// completionPatience is how long completion waits for the daemon.
const completionPatience = 500 * time.Millisecond

// completionCommand prints scripts that let shells complete commands.
func (a *app) completionCommand(root *ffcli.Command) *ffcli.Command {
	fs := newFlags("completion")
	var flags, descs bool
	addFlags := func(fs *flag.FlagSet) *flag.FlagSet {
		fs.BoolVar(&flags, "flags", true, "suggest flags too")
		fs.BoolVar(&descs, "descs", true, "show descriptions, where the shell can")
		return fs
	}
	addFlags(fs)
	c := &ffcli.Command{
		Name: "completion", ShortUsage: "ginnel completion [flags] <bash|zsh|fish|powershell>", ShortHelp: "Print a completion script for a shell",
		LongHelp: "Prints a script that makes a shell complete sub-commands, flags and peers.\nTo load it into the present bash:\n  source <(ginnel completion bash)",
		FlagSet:  fs,
	}
	for _, shell := range cli.Shells() {
		c.Subcommands = append(c.Subcommands, &ffcli.Command{
			Name: shell, ShortUsage: "ginnel completion " + shell + " [flags]", ShortHelp: "Print the script for " + shell, FlagSet: addFlags(newFlags(shell)),
			Exec: func(_ context.Context, args []string) error {
				if err := noArgs(args); err != nil {
					return err
				}
				script, err := cli.Script(shell, "ginnel", fmt.Sprintf("completion __complete --flags=%v --descs=%v", flags, descs))
				if err != nil {
					return err
				}
				return a.print("%s", script)
			},
		})
	}
	c.Subcommands = append(c.Subcommands, &ffcli.Command{
		Name: "__complete", // hidden
		Exec: func(ctx context.Context, args []string) error { return a.complete(ctx, root, args) },
	})
	return c
}

// complete prints candidates for the last word after "--".
func (a *app) complete(ctx context.Context, root *ffcli.Command, args []string) error {
	fs := newFlags("__complete")
	flags, descs := fs.Bool("flags", true, ""), fs.Bool("descs", true, "")
	if err := fs.Parse(args); err != nil {
		return err
	}
	words := fs.Args()
	if n := len(words); n > 0 && words[n-1] == `""` {
		words[n-1] = "" // how old PowerShells pass an empty word
	}
	c := a.completer(root)
	c.NoFlags = !*flags
	for _, candidate := range c.Complete(ctx, words) {
		line := candidate.Value
		if *descs && candidate.Description != "" {
			line += "\t" + candidate.Description
		}
		if err := a.print("%s\n", line); err != nil {
			return err
		}
	}
	return nil
}

// completer knows what arguments and values the commands take.
func (a *app) completer(root *ffcli.Command) *cli.Completer {
	c := &cli.Completer{Root: root, Args: map[*ffcli.Command]func(context.Context, []string) []cli.Candidate{},
		Values: map[string]func(context.Context) []cli.Candidate{}}
	onePeer := func(ctx context.Context, before []string) []cli.Candidate {
		if len(before) > 0 {
			return nil
		}
		return a.peerCandidates(ctx, func(*api.PeerStatus) bool { return true })
	}
	for _, path := range []string{"ping", "ip", "whois", "debug path"} {
		c.Args[commandAt(root, path)] = onePeer
	}
	c.Args[commandAt(root, "get")] = func(_ context.Context, before []string) []cli.Candidate {
		if len(before) > 0 {
			return nil
		}
		out := []cli.Candidate{{Value: "all"}}
		for _, f := range prefFlags() {
			out = append(out, cli.Candidate{Value: f.name, Description: usageLine(f.usage)})
		}
		return out
	}
	for name, values := range map[string]string{"netfilter-mode": "on nodivert off", "qr-format": "auto ascii large small",
		"format": "json json-line", "proto": "tcp udp", "accept-risk": "lose-ssh all", "auth-key": "file:"} {
		c.Values[name] = func(context.Context) []cli.Candidate { return candidates(values) }
	}
	c.Values["exit-node"] = func(ctx context.Context) []cli.Candidate {
		return append(a.peerCandidates(ctx, func(p *api.PeerStatus) bool { return p.ExitNodeOption }), cli.Candidate{Value: "auto:any"})
	}
	return c
}

// commandAt returns the command of the given names below root, or nil.
func commandAt(root *ffcli.Command, path string) *ffcli.Command {
	for name := range strings.FieldsSeq(path) {
		var found *ffcli.Command
		for _, sub := range root.Subcommands {
			if sub.Name == name {
				found = sub
			}
		}
		if found == nil {
			return nil
		}
		root = found
	}
	return root
}

// candidates makes candidates of words.
func candidates(words string) []cli.Candidate {
	var out []cli.Candidate
	for w := range strings.FieldsSeq(words) {
		out = append(out, cli.Candidate{Value: w})
	}
	return out
}

// usageLine returns the first line of a flag's usage as plain text.
func usageLine(usage string) string {
	_, text := flag.UnquoteUsage(&flag.Flag{Usage: usage, Value: &value{}})
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// peerCandidates returns the names of the peers that want accepts. Without a
// daemon there are none: completion stays silent.
func (a *app) peerCandidates(ctx context.Context, want func(*api.PeerStatus) bool) []cli.Candidate {
	ctx, cancel := context.WithTimeout(ctx, completionPatience)
	defer cancel()
	st, err := a.local().Status(ctx)
	if err != nil {
		return nil
	}
	var out []cli.Candidate
	for _, p := range sortedPeers(st) {
		if name := baseName(p, st); name != "" && want(p) {
			out = append(out, cli.Candidate{Value: name, Description: firstIP(p)})
		}
	}
	return out
}
