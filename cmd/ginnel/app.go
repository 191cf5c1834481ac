package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/internal/cli"
	"github.com/ginnel/ginnel/internal/version"
	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/node/local/client"
)

// app is one run of the program: the world around it, and the daemon it talks to.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	// stdinTerminal and stderrTerminal say whether a person is there.
	stdinTerminal, stderrTerminal bool
	getenv                        func(string) string
	// connect makes the client of the daemon at a socket. Nil is client.New.
	connect func(socket string) *client.Client
	// pause waits between pings and reports. Nil is sleep.
	pause func(context.Context, time.Duration) error

	args   []string
	socket string
	daemon *client.Client
}

// exitError ends the program with a code and without a message: all has been said.
type exitError int

// Error names the code, for tests and logs; users do not see it.
func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// run does what args, without the program's name, ask for, and returns the exit
// code.
func (a *app) run(ctx context.Context, args []string) int {
	a.args = args
	root := a.commands()
	err := cli.Run(ctx, root, args, a.stdout)
	if a.daemon != nil {
		a.warnVersion()
		a.daemon.Close()
	}
	return a.explain(ctx, err)
}

// commands returns the whole tree of commands.
func (a *app) commands() *ffcli.Command {
	fs := newFlags("ginnel")
	fs.StringVar(&a.socket, "socket", "", "`path` of ginneld's socket (default: $GINNEL_SOCKET, or the system's place for it)")
	showVersion := fs.Bool("version", false, "show the version, like the sub-command")
	fs.BoolVar(showVersion, "V", false, "")
	root := &ffcli.Command{
		Name:       "ginnel",
		ShortUsage: "ginnel [flags] <subcommand> [command flags]",
		LongHelp: `The easiest way to see what ginnel is doing is 'ginnel status'.
For help on a sub-command, add --help to it: 'ginnel up --help'.

This program only controls the daemon ginneld, which must be running.`,
		FlagSet: fs,
	}
	root.Subcommands = []*ffcli.Command{
		a.upCommand(), a.downCommand(), a.setCommand(), a.getCommand(), a.loginCommand(), a.logoutCommand(), a.switchCommand(),
		a.statusCommand(), a.ipCommand(), a.pingCommand(), a.whoisCommand(), a.whoamiCommand(), a.netcheckCommand(),
		a.waitCommand(), a.metricsCommand(), a.versionCommand(), a.debugCommand(),
	}
	root.Subcommands = append(root.Subcommands, cli.Completion(a.stdout, root, func() *cli.Completer { return a.completer(root) }))
	root.Exec = func(context.Context, []string) error {
		if *showVersion {
			return a.print("%s", version.Text())
		}
		return flag.ErrHelp
	}
	return root
}

// local returns the client of the daemon.
func (a *app) local() *client.Client {
	if a.daemon == nil {
		connect := a.connect
		if connect == nil {
			connect = client.New
		}
		a.daemon = connect(a.socket)
	}
	return a.daemon
}

// warnVersion tells the user when the daemon is of another build.
func (a *app) warnVersion() {
	own, daemon := version.Long(), a.daemon.DaemonVersion()
	if fake := a.getenv("TS_DEBUG_FAKE_IPC_VERSION"); fake != "" {
		own = fake
	}
	if daemon != "" && daemon != own {
		fmt.Fprintf(a.stderr, "Warning: client version %q != ginneld server version %q\n", own, daemon)
	}
}

// explain prints an error as the user should see it, and returns the exit code.
func (a *app) explain(ctx context.Context, err error) int {
	var code exitError
	var denied *client.AccessDeniedError
	switch {
	case err == nil:
		return cli.ExitSuccess
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &denied):
		fmt.Fprintf(a.stderr, "Access denied: %s\n\nUse 'sudo ginnel %s'.\nTo not require root, use 'sudo ginnel set --operator=$USER' once.\n",
			denied.Text, quoteArgs(a.args))
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(a.stderr, "interrupted")
	default:
		fmt.Fprintln(a.stderr, err)
	}
	return cli.ExitFailure
}

// newFlags returns an empty set of flags for the command of that name.
func newFlags(name string) *flag.FlagSet { return flag.NewFlagSet(name, flag.ContinueOnError) }

// stateProblem says why the node is not up, as several commands print it; ok when
// it is up or coming up.
func stateProblem(st *api.Status) (text string, ok bool) {
	switch st.BackendState {
	case api.Running.String(), api.Starting.String():
		return "", true
	case api.Stopped.String():
		return "Ginnel is stopped.", false
	case api.NeedsLogin.String():
		if st.AuthURL != "" {
			return "Logged out.\nLog in at: " + st.AuthURL, false
		}
		return "Logged out.", false
	case api.NeedsMachineAuth.String():
		return "Machine is not yet approved by tailnet admin.", false
	}
	return "unexpected state: " + st.BackendState, false
}

// quoteArgs joins arguments for a shell, without the secrets among them.
func quoteArgs(args []string) string {
	quoted := make([]string, len(args))
	for i, arg := range args {
		if i > 0 && isAuthKeyFlag(args[i-1]) && !strings.HasPrefix(arg, "file:") {
			arg = "..."
		} else if name, value, ok := strings.Cut(arg, "="); ok && isAuthKeyFlag(name) && !strings.HasPrefix(value, "file:") {
			arg = name + "=..."
		}
		quoted[i] = shellQuote(arg)
	}
	return strings.Join(quoted, " ")
}

// isAuthKeyFlag reports whether the word is the flag whose value is secret.
func isAuthKeyFlag(word string) bool {
	switch strings.TrimLeft(word, "-") {
	case "auth-key", "authkey":
		return strings.HasPrefix(word, "-")
	}
	return false
}

// shellQuote quotes a word where a shell would change it.
func shellQuote(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_=./:,@%+", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
