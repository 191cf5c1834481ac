package cli

import (
	"flag"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/peterbourgon/ff/v3/ffcli"
)

// Usage returns the help text of a command: sections USAGE, prose, SUBCOMMANDS and
// FLAGS. Sub-commands without ShortHelp and flags without usage are hidden.
func Usage(c *ffcli.Command) string {
	var b strings.Builder
	usage := c.ShortUsage
	if usage == "" {
		usage = c.Name
	}
	fmt.Fprintf(&b, "USAGE\n  %s\n", strings.ReplaceAll(usage, "\n", "\n  "))
	switch {
	case c.LongHelp != "":
		fmt.Fprintf(&b, "\n%s\n", strings.TrimSpace(c.LongHelp))
	case c.ShortHelp != "":
		fmt.Fprintf(&b, "\n%s\n", c.ShortHelp)
	}
	if subs := visible(c); len(subs) > 0 {
		b.WriteString("\nSUBCOMMANDS\n")
		tw := tabwriter.NewWriter(&b, 0, 2, 2, ' ', 0)
		for _, sub := range subs {
			fmt.Fprintf(tw, "  %s\t%s\n", sub.Name, sub.ShortHelp)
		}
		tw.Flush()
	}
	if flags := visibleFlags(c); len(flags) > 0 {
		b.WriteString("\nFLAGS\n")
		for _, f := range flags {
			b.WriteString(flagHelp(f))
		}
	}
	return b.String()
}

// visible returns the sub-commands that are not hidden.
func visible(c *ffcli.Command) []*ffcli.Command {
	var out []*ffcli.Command
	for _, sub := range c.Subcommands {
		if sub.ShortHelp != "" {
			out = append(out, sub)
		}
	}
	return out
}

// visibleFlags returns the flags that are not hidden, in order of their names.
func visibleFlags(c *ffcli.Command) []*flag.Flag {
	var out []*flag.Flag
	if c.FlagSet != nil {
		c.FlagSet.VisitAll(func(f *flag.Flag) {
			if f.Usage != "" {
				out = append(out, f)
			}
		})
	}
	return out
}

// flagHelp returns the lines about one flag.
func flagHelp(f *flag.Flag) string {
	placeholder, usage := flag.UnquoteUsage(f)
	head := "--" + f.Name
	switch {
	case isBool(f):
		head += ", --" + f.Name + "=false"
	case placeholder != "":
		head += " " + placeholder
	default:
		head += " value"
	}
	text := "  " + head + "\n      " + strings.ReplaceAll(usage, "\n", "\n      ")
	if f.DefValue != "" && !(isBool(f) && f.DefValue == "false") {
		text += " (default " + f.DefValue + ")"
	}
	return text + "\n"
}

// isBool reports whether the flag needs no value.
func isBool(f *flag.Flag) bool {
	b, ok := f.Value.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}
