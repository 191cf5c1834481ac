package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/internal/cli"
	"github.com/ginnel/ginnel/node/local/api"
)

// getCommand shows preferences by the names of the flags of set.
func (a *app) getCommand() *ffcli.Command {
	fs := newFlags("get")
	asJSON := fs.Bool("json", false, "print JSON")
	setFlags := fs.Bool("set-flags", false, "print words to use with 'ginnel set'")
	return &ffcli.Command{
		Name: "get", ShortUsage: "ginnel get [flags] [<setting>|all]", ShortHelp: "Show preferences", FlagSet: fs,
		Exec: func(ctx context.Context, args []string) error {
			if len(args) > 1 {
				return cli.Usagef("unexpected argument: %s", args[1])
			}
			if *asJSON && *setFlags {
				return cli.Usagef("--json and --set-flags cannot be used together")
			}
			table := prefFlags()
			single := len(args) == 1 && args[0] != "all"
			if single {
				f, err := findPref(table, args[0])
				if err != nil {
					return err
				}
				table = []prefFlag{*f}
			}
			prefs, err := a.local().Prefs(ctx)
			if err != nil {
				return err
			}
			switch {
			case *asJSON:
				return a.printJSON(prefValues(table, prefs))
			case *setFlags:
				return a.printSetFlags(table, prefs)
			case single:
				_, err := fmt.Fprintln(a.stdout, table[0].get(prefs))
				return err
			}
			return a.printPrefs(table, prefs)
		},
	}
}

// findPref returns the flag of that name.
func findPref(table []prefFlag, name string) (*prefFlag, error) {
	name = strings.TrimLeft(name, "-")
	var names []string
	for i := range table {
		if table[i].name == name {
			return &table[i], nil
		}
		names = append(names, table[i].name)
	}
	if s := cli.Suggest(name, names); s != "" {
		return nil, fmt.Errorf("unknown setting %q\nDid you mean %q?", name, s)
	}
	return nil, fmt.Errorf("unknown setting %q; there are: %s", name, strings.Join(names, ", "))
}

// prefValues returns the settings by name, booleans as such.
func prefValues(table []prefFlag, p *api.Prefs) map[string]any {
	values := map[string]any{}
	for _, f := range table {
		text := f.get(p)
		values[f.name] = text
		if f.isBool {
			values[f.name] = text == "true"
		}
	}
	return values
}

// printSetFlags prints words for set.
func (a *app) printSetFlags(table []prefFlag, p *api.Prefs) error {
	var words []string
	for _, f := range table {
		words = append(words, fmt.Sprintf("--%s=%s", f.name, shellQuoteValue(f.get(p))))
	}
	_, err := fmt.Fprintln(a.stdout, strings.Join(words, " "))
	return err
}

// printPrefs prints a table of two columns.
func (a *app) printPrefs(table []prefFlag, p *api.Prefs) error {
	tw := tabwriter.NewWriter(a.stdout, 0, 2, 2, ' ', 0)
	fmt.Fprintln(tw, "NAME\tVALUE")
	for _, f := range table {
		fmt.Fprintf(tw, "%s\t%s\n", f.name, f.get(p))
	}
	return tw.Flush()
}
