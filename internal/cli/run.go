package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/peterbourgon/ff/v3/ffcli"
)

// UsageError says that the command line itself is wrong.
type UsageError struct {
	Command string // its full name, such as "ginnel debug"
	Text    string // what is wrong
	Hint    string // what may have been meant, or empty
}

// Error is the text for the user, in one or two lines.
func (e *UsageError) Error() string {
	text := e.Command + ": " + e.Text
	if e.Hint != "" {
		text += "\n" + e.Hint
	}
	return text
}

// Usagef makes a UsageError for a command to return; Run adds which command it is
// and where its help is.
func Usagef(format string, args ...any) error {
	return &UsageError{Text: fmt.Sprintf(format, args...)}
}

// Args checks the number of a command's arguments; what names them for the error.
func Args(args []string, what ...string) error {
	switch {
	case len(args) < len(what):
		return Usagef("missing argument: %s", what[len(args)])
	case len(args) > len(what):
		return Usagef("unexpected argument: %s", args[len(what)])
	}
	return nil
}

// Run finds the command that args (without the program's name) call for, sets its
// flags and runs it. Help goes to stdout and is no error. Mistakes in args are a
// UsageError; every other error is the command's own, and is returned as it is. A
// command that returns flag.ErrHelp has its help shown.
//
// Flags may stand before or after arguments; "--" ends them. A command with
// sub-commands takes no arguments besides, and its flags come first. A command
// whose FlagSet is nil gets its arguments as they are.
func Run(ctx context.Context, root *ffcli.Command, args []string, stdout io.Writer) error {
	cmd, path := root, root.Name
	for {
		rest, err := parse(cmd, path, args)
		if err == nil && len(rest) > 0 {
			if sub := find(cmd, rest[0]); sub != nil {
				cmd, path, args = sub, path+" "+sub.Name, rest[1:]
				continue
			}
			if len(cmd.Subcommands) > 0 || cmd.Exec == nil {
				return unknownCommand(cmd, path, rest[0])
			}
		}
		switch {
		case err != nil:
		case cmd.Exec == nil:
			err = flag.ErrHelp
		default:
			err = cmd.Exec(ctx, rest)
		}
		if errors.Is(err, flag.ErrHelp) {
			_, err = io.WriteString(stdout, Usage(cmd))
		}
		var usage *UsageError
		if errors.As(err, &usage) && usage.Command == "" {
			usage.Command, usage.Hint = path, seeHelp(path)
		}
		return err
	}
}

// seeHelp says where to read on.
func seeHelp(path string) string { return fmt.Sprintf("See '%s --help'.", path) }

// Find returns the command of the given names, separated by spaces, below root, or nil.
func Find(root *ffcli.Command, path string) *ffcli.Command {
	for name := range strings.FieldsSeq(path) {
		if root = find(root, name); root == nil {
			break
		}
	}
	return root
}

// find returns the sub-command of that name, or nil.
func find(c *ffcli.Command, name string) *ffcli.Command {
	for _, sub := range c.Subcommands {
		if sub.Name == name {
			return sub
		}
	}
	return nil
}

// unknownCommand makes the error for a sub-command that there is not.
func unknownCommand(c *ffcli.Command, path, name string) error {
	var names []string
	for _, sub := range visible(c) {
		names = append(names, sub.Name)
	}
	e := &UsageError{Command: path, Text: "unknown subcommand: " + name}
	if s := Suggest(name, names); s != "" {
		e.Hint = fmt.Sprintf("Did you mean %q?", path+" "+s)
	} else {
		e.Hint = seeHelp(path)
	}
	return e
}

// parse sets the flags of one command and returns the arguments that are left.
func parse(c *ffcli.Command, path string, args []string) ([]string, error) {
	if c.FlagSet == nil {
		return args, nil
	}
	c.FlagSet.SetOutput(io.Discard)
	c.FlagSet.Usage = func() {}
	if len(c.Subcommands) == 0 {
		args = flagsFirst(c.FlagSet, args)
	}
	if err := checkFlags(c, path, args); err != nil {
		return nil, err
	}
	err := c.FlagSet.Parse(args)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		return nil, &UsageError{Command: path, Text: flagError(err), Hint: seeHelp(path)}
	}
	return c.FlagSet.Args(), err
}

var flagInError = regexp.MustCompile(`(flag |for |argument: )-(-?[a-zA-Z0-9])`)

// flagError rewrites an error of the flag library with two dashes before the name.
func flagError(err error) string {
	return flagInError.ReplaceAllString(err.Error(), "$1--$2")
}

// flagsFirst moves flags that follow arguments before them.
func flagsFirst(fs *flag.FlagSet, args []string) []string {
	var flags, plain []string
	for i := 0; i < len(args); i++ {
		name, hasValue, ok := flagName(args[i])
		if args[i] == "--" {
			plain = append(plain, args[i+1:]...)
			break
		}
		if !ok {
			plain = append(plain, args[i])
			continue
		}
		flags = append(flags, args[i])
		if f := fs.Lookup(name); f != nil && !isBool(f) && !hasValue && i+1 < len(args) {
			i++
			flags = append(flags, args[i])
		}
	}
	if len(plain) == 0 {
		return flags
	}
	return append(append(flags, "--"), plain...)
}

// flagName returns the name in a word such as "--name=value", and whether the word
// is a flag and has a value.
func flagName(word string) (name string, hasValue, ok bool) {
	if len(word) < 2 || word[0] != '-' || word == "--" {
		return "", false, false
	}
	name, _, hasValue = strings.Cut(strings.TrimPrefix(word[1:], "-"), "=")
	return name, hasValue, true
}

// checkFlags looks for flags that the command does not have.
func checkFlags(c *ffcli.Command, path string, args []string) error {
	for i := 0; i < len(args); i++ {
		name, hasValue, ok := flagName(args[i])
		if !ok {
			return nil
		}
		if name == "h" || name == "help" {
			continue
		}
		f := c.FlagSet.Lookup(name)
		if f == nil {
			return unknownFlag(c, path, name)
		}
		if !isBool(f) && !hasValue {
			i++
		}
	}
	return nil
}

// unknownFlag makes the error for a flag that the command does not have.
func unknownFlag(c *ffcli.Command, path, name string) error {
	var names []string
	for _, f := range visibleFlags(c) {
		names = append(names, f.Name)
	}
	e := &UsageError{Command: path, Text: "unknown flag: --" + name}
	if s := Suggest(name, names); s != "" {
		e.Hint = fmt.Sprintf("Did you mean --%s?", s)
	} else {
		e.Hint = seeHelp(path)
	}
	return e
}
