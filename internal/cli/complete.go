package cli

import (
	"context"
	"flag"
	"strings"

	"github.com/peterbourgon/ff/v3/ffcli"
)

// Candidate is one possible completion of a word.
type Candidate struct {
	Value       string
	Description string // one line, may be empty
}

// Completer finds what a half-typed command line could go on with.
type Completer struct {
	Root *ffcli.Command
	// Args makes candidates for the next argument of a command, by the arguments
	// that stand before it.
	Args map[*ffcli.Command]func(ctx context.Context, before []string) []Candidate
	// Values makes candidates for the value of a flag, by the flag's name.
	Values map[string]func(ctx context.Context) []Candidate
	// NoFlags leaves flags out.
	NoFlags bool
}

// Complete returns the candidates for the last of words, which are those after the
// program's name; the last may be empty.
func (c *Completer) Complete(ctx context.Context, words []string) []Candidate {
	if len(words) == 0 {
		words = []string{""}
	}
	last := words[len(words)-1]
	cmd, before, wants := c.walk(words[:len(words)-1])
	switch name, _, isFlag := flagName(last); {
	case wants != nil:
		return c.values(ctx, wants, "", last)
	case isFlag && strings.Contains(last, "="):
		head, tail, _ := strings.Cut(last, "=")
		if f := lookup(cmd, name); f != nil {
			return c.values(ctx, f, head+"=", tail)
		}
		return nil
	case isFlag || last == "-" || last == "--":
		return c.flags(cmd, last)
	}
	out := c.arguments(ctx, cmd, before, last)
	if len(out) == 0 && last == "" {
		out = c.flags(cmd, "")
	}
	return out
}

// walk follows complete words. It returns the command they lead to, its arguments
// so far, and the flag that still wants its value, if any.
func (c *Completer) walk(words []string) (cmd *ffcli.Command, before []string, wants *flag.Flag) {
	cmd = c.Root
	for _, w := range words {
		name, hasValue, isFlag := flagName(w)
		if wants != nil {
			wants = nil
			continue
		}
		if isFlag {
			if f := lookup(cmd, name); f != nil && !isBool(f) && !hasValue {
				wants = f
			}
			continue
		}
		if sub := find(cmd, w); sub != nil && len(before) == 0 {
			cmd = sub
			continue
		}
		before = append(before, w)
	}
	return cmd, before, wants
}

// lookup returns the command's flag of that name, or nil.
func lookup(c *ffcli.Command, name string) *flag.Flag {
	if c.FlagSet == nil {
		return nil
	}
	return c.FlagSet.Lookup(name)
}

// values returns the candidates for a flag's value that start with word.
func (c *Completer) values(ctx context.Context, f *flag.Flag, head, word string) []Candidate {
	if isBool(f) {
		return matching(head, word, []Candidate{{Value: "true"}, {Value: "false"}})
	}
	if values := c.Values[f.Name]; values != nil {
		return matching(head, word, values(ctx))
	}
	return nil
}

// flags returns the flags that start with word.
func (c *Completer) flags(cmd *ffcli.Command, word string) []Candidate {
	if c.NoFlags {
		return nil
	}
	dashes := "--"
	if strings.HasPrefix(word, "-") && !strings.HasPrefix(word, "--") && word != "-" {
		dashes = "-"
	}
	var all []Candidate
	for _, f := range visibleFlags(cmd) {
		_, usage := flag.UnquoteUsage(f)
		all = append(all, Candidate{dashes + f.Name, firstLine(usage)})
	}
	return matching("", word, all)
}

// arguments returns the sub-commands and arguments that start with word.
func (c *Completer) arguments(ctx context.Context, cmd *ffcli.Command, before []string, word string) []Candidate {
	var all []Candidate
	if len(before) == 0 {
		for _, sub := range visible(cmd) {
			all = append(all, Candidate{sub.Name, sub.ShortHelp})
		}
	}
	if args := c.Args[cmd]; args != nil {
		all = append(all, args(ctx, before)...)
	}
	return matching("", word, all)
}

// matching returns the candidates whose value starts with word, with head before
// the values.
func matching(head, word string, all []Candidate) []Candidate {
	var out []Candidate
	for _, candidate := range all {
		if strings.HasPrefix(candidate.Value, word) {
			candidate.Value = head + candidate.Value
			out = append(out, candidate)
		}
	}
	return out
}

// firstLine returns text up to its first line break.
func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
