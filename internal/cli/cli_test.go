package cli

import (
	"context"
	"errors"
	"flag"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/internal/version"
)

// tree is a small program; got receives what a run did.
type tree struct {
	root *ffcli.Command
	got  string
	host string
	many int
	yes  bool
}

func newTree() *tree {
	t := &tree{}
	record := func(name string) func(context.Context, []string) error {
		return func(_ context.Context, args []string) error {
			t.got = name + " " + strings.Join(args, ",")
			return nil
		}
	}
	fs := flag.NewFlagSet("ping", flag.ContinueOnError)
	fs.IntVar(&t.many, "c", 10, "how `many`")
	fs.BoolVar(&t.yes, "until-direct", true, "stop at the first direct answer")
	fs.StringVar(&t.host, "secret", "", "")
	ping := &ffcli.Command{Name: "ping", ShortHelp: "ping a peer", FlagSet: fs, Exec: record("ping")}
	debug := &ffcli.Command{Name: "debug", ShortHelp: "look inside", FlagSet: flag.NewFlagSet("debug", flag.ContinueOnError),
		Subcommands: []*ffcli.Command{
			{Name: "prefs", ShortHelp: "show preferences", FlagSet: flag.NewFlagSet("prefs", flag.ContinueOnError), Exec: record("prefs")},
			{Name: "hidden", FlagSet: flag.NewFlagSet("hidden", flag.ContinueOnError), Exec: record("hidden")},
			{Name: "raw", ShortHelp: "takes all", Exec: record("raw")},
			{Name: "ask", ShortHelp: "asks for help", FlagSet: flag.NewFlagSet("ask", flag.ContinueOnError),
				Exec: func(context.Context, []string) error { return flag.ErrHelp }},
		}}
	rootFlags := flag.NewFlagSet("prog", flag.ContinueOnError)
	rootFlags.StringVar(&t.host, "socket", "", "path of the `socket`")
	t.root = &ffcli.Command{Name: "prog", ShortUsage: "prog [flags] <command>", FlagSet: rootFlags, Subcommands: []*ffcli.Command{ping, debug}}
	return t
}

func TestRun(t *testing.T) {
	tests := []struct {
		args, got, out, err string
	}{
		{"ping a", "ping a", "", ""},
		{"ping -c 3 a", "ping a", "", ""},
		{"ping a -c 3 --until-direct=false b", "ping a,b", "", ""},
		{"ping a --c=3 -- -c", "ping a,-c", "", ""},
		{"--socket ping ping x", "ping x", "", ""},
		{"--socket=s debug prefs", "prefs ", "", ""},
		{"debug hidden", "hidden ", "", ""},
		{"debug raw -x --help -- y", "raw -x,--help,--,y", "", ""},
		{"", "", "USAGE\n  prog [flags] <command>", ""},
		{"debug", "", "USAGE\n  debug\n", ""},
		{"debug ask", "", "USAGE\n  ask\n", ""},
		{"ping --help", "", "USAGE\n  ping\n", ""},
		{"ping a -h", "", "USAGE\n  ping\n", ""},
		{"pong", "", "", "prog: unknown subcommand: pong\nDid you mean \"prog ping\"?"},
		{"debug perfs", "", "", "prog debug: unknown subcommand: perfs\nDid you mean \"prog debug prefs\"?"},
		{"xyzzy", "", "", "prog: unknown subcommand: xyzzy\nSee 'prog --help'."},
		{"debug hiddem", "", "", "prog debug: unknown subcommand: hiddem\nSee 'prog debug --help'."},
		{"ping --until-drect a", "", "", "prog ping: unknown flag: --until-drect\nDid you mean --until-direct?"},
		{"ping a --zzz", "", "", "prog ping: unknown flag: --zzz\nSee 'prog ping --help'."},
		{"ping -c", "", "", "prog ping: flag needs an argument: --c\nSee 'prog ping --help'."},
		{"ping -c x a", "", "", "prog ping: invalid value \"x\" for flag --c: parse error\nSee 'prog ping --help'."},
		{"ping --until-direct=maybe", "", "", "prog ping: invalid boolean value \"maybe\" for --until-direct: parse error\nSee 'prog ping --help'."},
		{"--scoket x ping", "", "", "prog: unknown flag: --scoket\nDid you mean --socket?"},
	}
	for _, tt := range tests {
		tree := newTree()
		var out strings.Builder
		err := Run(context.Background(), tree.root, strings.Fields(tt.args), &out)
		text := ""
		if err != nil {
			text = err.Error()
			var usage *UsageError
			if !errors.As(err, &usage) {
				t.Errorf("%q: error of type %T", tt.args, err)
			}
		}
		if tree.got != tt.got || text != tt.err || !strings.HasPrefix(out.String(), tt.out) || tt.out == "" && out.Len() > 0 {
			t.Errorf("%q: ran %q, printed %q, error %q", tt.args, tree.got, out.String(), text)
		}
	}
}

func TestCommandErrorIsReturned(t *testing.T) {
	want := errors.New("own error")
	root := &ffcli.Command{Name: "x", Exec: func(context.Context, []string) error { return want }}
	if err := Run(context.Background(), root, nil, nil); err != want {
		t.Errorf("err = %v", err)
	}
}

func TestUsage(t *testing.T) {
	tree := newTree()
	if got, want := Usage(tree.root.Subcommands[0]), `USAGE
  ping

ping a peer

FLAGS
  --c many
      how many (default 10)
  --until-direct, --until-direct=false
      stop at the first direct answer (default true)
`; got != want {
		t.Errorf("\n%s\nwant\n%s", got, want)
	}
	if got, want := Usage(tree.root.Subcommands[1]), `USAGE
  debug

look inside

SUBCOMMANDS
  prefs  show preferences
  raw    takes all
  ask    asks for help
`; got != want {
		t.Errorf("\n%s\nwant\n%s", got, want)
	}
}

func TestSuggest(t *testing.T) {
	names := []string{"status", "set", "up", "down", "login", "logout", "ping", "netcheck"}
	for word, want := range map[string]string{"stauts": "status", "statsu": "status", "Status": "status", "setup": "", "loguot": "logout",
		"netchek": "netcheck", "net": "netcheck", "u": "", "upp": "up", "": "", "zzzzzz": "", "pign": "ping", "dwon": "down"} {
		if got := Suggest(word, names); got != want {
			t.Errorf("Suggest(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"kitten", "sitting", 3}, {"ab", "ba", 1}, {"abc", "abc", 0}, {"über", "uber", 1}} {
		if got := distance(tt.a, tt.b); got != tt.want || distance(tt.b, tt.a) != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestComplete(t *testing.T) {
	tree := newTree()
	ping := tree.root.Subcommands[0]
	c := &Completer{Root: tree.root,
		Args: map[*ffcli.Command]func(context.Context, []string) []Candidate{
			ping: func(_ context.Context, before []string) []Candidate {
				if len(before) > 0 {
					return nil
				}
				return []Candidate{{"apple", "100.64.0.1"}, {"birch", "100.64.0.2"}}
			}},
		Values: map[string]func(context.Context) []Candidate{
			"socket": func(context.Context) []Candidate { return []Candidate{{Value: "one"}, {Value: "two"}} }},
	}
	tests := []struct {
		line string
		want string
	}{
		{"", "ping debug"},
		{"p", "ping"},
		{"debug ", "prefs raw ask"},
		{"debug h", ""},
		{"ping ", "apple birch"},
		{"ping b", "birch"},
		{"ping -c 3 a", "apple"},
		{"ping -c ", ""},
		{"ping apple ", "--c --until-direct"},
		{"ping --", "--c --until-direct"},
		{"ping -u", "-until-direct"},
		{"ping --until-direct=", "--until-direct=true --until-direct=false"},
		{"ping --until-direct=f", "--until-direct=false"},
		{"--socket ", "one two"},
		{"--socket t", "two"},
		{"--socket=o", "--socket=one"},
		{"--socket one p", "ping"},
		{"--nonsense=", ""},
		{"nonsense ", "--socket"},
	}
	for _, tt := range tests {
		var got []string
		for _, candidate := range c.Complete(context.Background(), strings.Split(tt.line, " ")) {
			got = append(got, candidate.Value)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%q completes to %q, want %q", tt.line, got, tt.want)
		}
	}
	if got := c.Complete(context.Background(), nil); len(got) != 2 || got[0].Description != "ping a peer" {
		t.Errorf("no words complete to %v", got)
	}
	c.NoFlags = true
	if got := c.Complete(context.Background(), []string{"ping", "--"}); got != nil {
		t.Errorf("flags were not left out: %v", got)
	}
}

func TestScripts(t *testing.T) {
	for _, shell := range Shells() {
		text, err := Script(shell, "gin-nel", "completion __complete")
		if err != nil || strings.Contains(text, "%") && shell != "powershell" && strings.Contains(text, "%NAME%") {
			t.Errorf("%s: %v\n%s", shell, err, text)
		}
		if strings.Contains(text, "%PROGRAM%") || strings.Contains(text, "%HELPER%") || strings.Contains(text, "%QUOTED%") || !strings.Contains(text, "__complete") {
			t.Errorf("%s has places not filled in:\n%s", shell, text)
		}
	}
	if _, err := Script("tcsh", "x", "y"); err == nil || !strings.Contains(err.Error(), "bash, fish, powershell, zsh") {
		t.Errorf("tcsh: %v", err)
	}
	if !slices.IsSorted(Shells()) {
		t.Error("shells are not in order")
	}
}

func TestCommandsNeedNotKnowTheirNames(t *testing.T) {
	tree := newTree()
	tree.root.Subcommands[0].Exec = func(_ context.Context, args []string) error { return Args(args, "the peer") }
	for line, want := range map[string]string{
		"ping":     "prog ping: missing argument: the peer\nSee 'prog ping --help'.",
		"ping a b": "prog ping: unexpected argument: b\nSee 'prog ping --help'.",
		"ping a":   "",
	} {
		text := ""
		if err := Run(t.Context(), tree.root, strings.Fields(line), io.Discard); err != nil {
			text = err.Error()
		}
		if text != want {
			t.Errorf("%s: %q, want %q", line, text, want)
		}
	}
}

func TestStandardCommands(t *testing.T) {
	build := func(out io.Writer) *tree {
		tree := newTree()
		tree.root.Exec = func(context.Context, []string) error { tree.got = "root"; return nil }
		AddStandard(tree.root, out, nil)
		return tree
	}
	for line, want := range map[string]string{
		"--version":                     version.Text(),
		"version":                       version.Text(),
		"completion __complete -- vers": "version\tPrint the version\n",
		"completion __complete --descs=false -- ping --c": "--c\n",
		"completion __complete --flags=false -- ping --":  "",
		"": "",
	} {
		var out strings.Builder
		tree := build(&out)
		if err := Run(t.Context(), tree.root, strings.Fields(line), &out); err != nil || out.String() != want || (line == "") != (tree.got == "root") {
			t.Errorf("%q: printed %q, %v, ran %q", line, &out, err, tree.got)
		}
	}
	// Arguments of a command with sub-commands are names of such.
	if err := Run(t.Context(), build(io.Discard).root, []string{"pnig"}, io.Discard); err == nil || !strings.Contains(err.Error(), `Did you mean "prog ping"?`) {
		t.Errorf("an unknown sub-command: %v", err)
	}
}

func TestFinish(t *testing.T) {
	for _, tt := range []struct {
		err  error
		code int
		text string
	}{
		{nil, ExitSuccess, ""},
		{errors.New("no luck"), ExitFailure, "prog: no luck\n"},
		{&UsageError{Command: "prog x", Text: "wrong", Hint: "Hint."}, ExitFailure, "prog x: wrong\nHint.\n"},
	} {
		var out strings.Builder
		if code := Finish("prog", tt.err, &out); code != tt.code || out.String() != tt.text {
			t.Errorf("%v: %d, %q", tt.err, code, &out)
		}
	}
}

func TestSetFromEnv(t *testing.T) {
	t.Setenv("X_A_FLAG", "2")
	t.Setenv("X_GIVEN", "3")
	t.Setenv("X_BAD", "many")
	fs := flag.NewFlagSet("x", flag.ContinueOnError)
	a, given, unset := fs.Int("a-flag", 1, ""), fs.Int("given", 1, ""), fs.Int("unset", 1, "")
	fs.Int("bad", 1, "")
	if err := fs.Parse([]string{"--given=5"}); err != nil {
		t.Fatal(err)
	}
	err := SetFromEnv(fs, "X")
	if err == nil || !strings.Contains(err.Error(), `environment variable X_BAD="many"`) || *a != 2 || *given != 5 || *unset != 1 {
		t.Errorf("%d %d %d, %v", *a, *given, *unset, err)
	}
}

func TestFind(t *testing.T) {
	root := newTree().root
	if c := Find(root, "debug prefs"); c == nil || c.Name != "prefs" {
		t.Errorf("found %v", c)
	}
	if c := Find(root, "debug nothing more"); c != nil {
		t.Errorf("found %v", c)
	}
}
