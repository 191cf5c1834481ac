package cli

import (
	"context"
	"flag"
	"fmt"
	"io"

	"github.com/peterbourgon/ff/v3/ffcli"
)

// helperName is the hidden sub-command of completion that the scripts call.
const helperName = "__complete"

// Completion returns the sub-command "completion" of a program, which prints scripts
// that let shells complete its command lines. What arguments and values there are
// is asked of makeCompleter when they are needed, if it is not nil; Root is set here.
func Completion(stdout io.Writer, root *ffcli.Command, makeCompleter func() *Completer) *ffcli.Command {
	var flags, descs bool
	newFlags := func(name string) *flag.FlagSet {
		fs := flag.NewFlagSet(name, flag.ContinueOnError)
		fs.BoolVar(&flags, "flags", true, "suggest flags too")
		fs.BoolVar(&descs, "descs", true, "show descriptions, where the shell can")
		return fs
	}
	prefix := root.Name + " completion "
	c := &ffcli.Command{
		Name: "completion", ShortUsage: prefix + "[flags] <bash|zsh|fish|powershell>", ShortHelp: "Print a completion script for a shell",
		LongHelp: "Prints a script that makes a shell complete command lines of " + root.Name + ".\nTo load it into the present bash:\n  source <(" + prefix + "bash)",
		FlagSet:  newFlags("completion"),
	}
	for _, shell := range Shells() {
		c.Subcommands = append(c.Subcommands, &ffcli.Command{
			Name: shell, ShortUsage: prefix + shell + " [flags]", ShortHelp: "Print the script for " + shell, FlagSet: newFlags(shell),
			Exec: func(_ context.Context, args []string) error {
				if err := Args(args); err != nil {
					return err
				}
				script, err := Script(shell, root.Name, fmt.Sprintf("completion %s --flags=%v --descs=%v", helperName, flags, descs))
				if err != nil {
					return err
				}
				_, err = io.WriteString(stdout, script)
				return err
			},
		})
	}
	c.Subcommands = append(c.Subcommands, &ffcli.Command{
		Name: helperName, // hidden
		Exec: func(ctx context.Context, args []string) error {
			completer := &Completer{}
			if makeCompleter != nil {
				completer = makeCompleter()
			}
			completer.Root = root
			return completer.help(ctx, stdout, args)
		},
	})
	return c
}

// help prints the candidates for the last word after "--", one in a line, each with
// its description after a tab.
func (c *Completer) help(ctx context.Context, stdout io.Writer, args []string) error {
	fs := flag.NewFlagSet(helperName, flag.ContinueOnError)
	flags, descs := fs.Bool("flags", true, ""), fs.Bool("descs", true, "")
	fs.SetOutput(io.Discard)
	if err := fs.Parse(args); err != nil {
		return err
	}
	words := fs.Args()
	if n := len(words); n > 0 && words[n-1] == `""` {
		words[n-1] = "" // how old PowerShells pass an empty word
	}
	c.NoFlags = !*flags
	for _, candidate := range c.Complete(ctx, words) {
		line := candidate.Value
		if *descs && candidate.Description != "" {
			line += "\t" + candidate.Description
		}
		if _, err := fmt.Fprintln(stdout, line); err != nil {
			return err
		}
	}
	return nil
}
