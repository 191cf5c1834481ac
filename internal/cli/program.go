package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/internal/version"
)

// What every program ends with (wire document cli, section 1.3): a wrong command
// line is a failure like any other.
const (
	ExitSuccess = 0
	ExitFailure = 1
)

// Finish tells the user of err, which may be nil, and returns the exit status.
func Finish(program string, err error, stderr io.Writer) int {
	var usage *UsageError
	switch {
	case err == nil:
		return ExitSuccess
	case errors.As(err, &usage):
		fmt.Fprintln(stderr, err)
	default:
		fmt.Fprintf(stderr, "%s: %v\n", program, err)
	}
	return ExitFailure
}

// AddStandard gives a program what all have: the flag --version and the
// sub-commands version and completion. It is called when the rest is there;
// makeCompleter is as for Completion.
func AddStandard(root *ffcli.Command, stdout io.Writer, makeCompleter func() *Completer) {
	show := root.FlagSet.Bool("version", false, "print the version, like the sub-command")
	exec := root.Exec
	root.Exec = func(ctx context.Context, args []string) error {
		switch {
		case *show:
			_, err := io.WriteString(stdout, version.Text())
			return err
		case exec == nil:
			return flag.ErrHelp
		}
		return exec(ctx, args)
	}
	root.Subcommands = append(root.Subcommands, &ffcli.Command{
		Name: "version", ShortUsage: root.Name + " version", ShortHelp: "Print the version",
		FlagSet: flag.NewFlagSet("version", flag.ContinueOnError),
		Exec: func(_ context.Context, args []string) error {
			if err := Args(args); err != nil {
				return err
			}
			_, err := io.WriteString(stdout, version.Text())
			return err
		},
	}, Completion(stdout, root, makeCompleter))
}

// SetFromEnv sets the flags that were not given from environment variables: the
// prefix, an underscore and the flag's name in capitals, with underscores for
// dashes.
func SetFromEnv(fs *flag.FlagSet, prefix string) error {
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	var errs []error
	fs.VisitAll(func(f *flag.Flag) {
		name := EnvName(prefix, f.Name)
		text, ok := os.LookupEnv(name)
		if !ok || given[f.Name] {
			return
		}
		if err := f.Value.Set(text); err != nil {
			errs = append(errs, fmt.Errorf("environment variable %s=%q: %w", name, text, err))
		}
	})
	return errors.Join(errs...)
}

// EnvName returns the environment variable that stands for a flag.
func EnvName(prefix, flag string) string {
	return prefix + "_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}
