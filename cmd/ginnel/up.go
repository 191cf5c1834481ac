package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/internal/cli"
	"github.com/ginnel/ginnel/node/local/api"
)

// loginServerEnv is the environment variable with the login server for nodes that
// have none yet.
const loginServerEnv = "GINNEL_LOGIN_SERVER"

// joinFlags are the flags of up and login that are not preferences.
type joinFlags struct {
	fs          *flag.FlagSet
	table       []prefFlag
	authKey     string
	loginServer string
	acceptRisk  string
	timeout     time.Duration
	qr          value
	qrFormat    string
	// These are of up alone.
	json, reset, forceReauth bool
}

// passive are the flags of up that do not change what it does, only how.
var passive = map[string]bool{"qr": true, "qr-format": true, "json": true, "timeout": true, "accept-risk": true}

// newJoinFlags defines the flags that up and login share.
func newJoinFlags(name string, table []prefFlag) *joinFlags {
	j := &joinFlags{fs: newFlags(name), table: table, qr: value{isBool: true}}
	addPrefFlags(j.fs, table, api.NewPrefs())
	j.fs.StringVar(&j.authKey, "auth-key", "", "auth `key` of the server; \"file:\" and a path reads it from a file")
	j.fs.StringVar(&j.authKey, "authkey", "", "")
	j.fs.StringVar(&j.loginServer, "login-server", "", "base `URL` of the coordination server (default: the present one, or $"+loginServerEnv+")")
	j.fs.StringVar(&j.acceptRisk, "accept-risk", "", riskUsage)
	j.fs.DurationVar(&j.timeout, "timeout", 0, "`time` to wait until the node is up; 0s waits forever")
	j.fs.Var(&j.qr, "qr", "show a QR code of the login URL (default: on a terminal)")
	j.fs.StringVar(&j.qrFormat, "qr-format", "auto", "`format` of QR codes: auto, ascii, large or small")
	return j
}

// upCommand connects, logging in if needed.
func (a *app) upCommand() *ffcli.Command {
	j := newJoinFlags("up", upFlags())
	j.fs.BoolVar(&j.json, "json", false, "print JSON (the format may change)")
	j.fs.BoolVar(&j.reset, "reset", false, "set preferences that are not mentioned to their defaults")
	j.fs.BoolVar(&j.forceReauth, "force-reauth", false, "log in again even if logged in (WARNING: this interrupts connections)")
	return &ffcli.Command{
		Name: "up", ShortUsage: "ginnel up [flags]", ShortHelp: "Connect to the network, logging in if needed",
		LongHelp: `Connects this machine to the network, and waits until it is.

Without flags, 'ginnel up' brings back the network with the preferences as they
are. With flags, all preferences that differ from their defaults must be mentioned;
to change one and keep the rest, use 'ginnel set' instead.

The first time, say which server to use:
  ginnel up --login-server=https://server.example.com`,
		FlagSet: j.fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := cli.Args(args); err != nil {
				return err
			}
			err := a.up(ctx, j)
			if j.json && err != nil {
				a.printJSON(upJSON{Error: err.Error()})
				return exitError(1)
			}
			return err
		},
	}
}

// plan is what up is going to do.
type plan struct {
	prefs *api.Prefs // wanted, or nil for only the change of edit
	edit  *api.MaskedPrefs
	// login starts the backend anew, with the key if any.
	login   bool
	authKey string
	// force asks for an interactive login even with a key, by which it then is: that makes
	// one in any case.
	force bool
	// relogin waits for a login even though the node is up at present.
	relogin bool
}

// up connects as the flags say.
func (a *app) up(ctx context.Context, j *joinFlags) error {
	if err := checkQRFormat(j.qrFormat); err != nil {
		return err
	}
	st, err := a.local().StatusWithoutPeers(ctx)
	if err != nil {
		return err
	}
	prefs, err := a.local().Prefs(ctx)
	if err != nil {
		return err
	}
	p, err := a.planUp(ctx, j, st, prefs)
	if err != nil {
		return err
	}
	return a.join(ctx, j, p)
}

// isSimpleUp reports whether up was asked only to bring back what was.
func isSimpleUp(j *joinFlags, st *api.Status, prefs *api.Prefs) bool {
	for _, name := range given(j.fs) {
		if !passive[name] {
			return false
		}
	}
	known := st.HaveNodeKey || prefs.Config != nil && (prefs.Config.UserProfile.LoginName != "" || prefs.Config.NodeID != "")
	return prefs.ControlURL != "" && known && st.BackendState != api.NeedsLogin.String()
}

// planUp decides what to do by the flags and the present state.
func (a *app) planUp(ctx context.Context, j *joinFlags, st *api.Status, prefs *api.Prefs) (*plan, error) {
	if isSimpleUp(j, st, prefs) {
		return &plan{edit: &api.MaskedPrefs{Prefs: api.Prefs{WantRunning: true}, WantRunningSet: true}}, nil
	}
	authKey, err := readAuthKey(j.authKey)
	if err != nil {
		return nil, err
	}
	wanted := withUpDefaults(prefs)
	env := a.flagEnv(ctx)
	applied, err := applyGiven(j.fs, j.table, wanted, env)
	if err != nil {
		return nil, err
	}
	if wanted.ControlURL, err = a.chooseServer(j.loginServer, prefs.ControlURL); err != nil {
		return nil, err
	}
	a.keepOperator(j, wanted, prefs)
	if !j.reset {
		if err := a.checkMentioned(j, wanted, prefs); err != nil {
			return nil, err
		}
	}
	a.warnIdle(applied, wanted)
	wanted.WantRunning, wanted.LoggedOut = true, false
	return a.planLogin(ctx, j, st, prefs, wanted, authKey)
}

// planLogin decides whether a login is needed for the wanted preferences.
func (a *app) planLogin(ctx context.Context, j *joinFlags, st *api.Status, prefs, wanted *api.Prefs, authKey string) (*plan, error) {
	running := st.BackendState == api.Running.String()
	moved := prefs.ControlURL != "" && !sameServer(prefs.ControlURL, wanted.ControlURL)
	if moved && running && !j.forceReauth {
		return nil, errors.New("can't change --login-server without --force-reauth")
	}
	if j.forceReauth && running {
		if err := a.riskSSH(j.acceptRisk, "logging in again"); err != nil {
			return nil, err
		}
	}
	if st.HaveNodeKey && st.BackendState != api.NeedsLogin.String() && !j.forceReauth && !moved {
		edit := mask(wanted, j.table)
		edit.WantRunningSet, edit.LoggedOutSet = true, true
		edit.ControlURLSet = prefs.ControlURL == ""
		return &plan{edit: edit}, nil
	}
	return &plan{prefs: wanted, login: true, authKey: authKey, force: j.forceReauth || !st.HaveNodeKey, relogin: running || j.forceReauth}, nil
}

// withUpDefaults returns preferences with those that up has flags for at their
// defaults and all others kept.
func withUpDefaults(prefs *api.Prefs) *api.Prefs {
	wanted := prefs.Public()
	m := mask(api.NewPrefs(), upFlags())
	m.ApplyTo(wanted)
	return wanted
}

// keepOperator keeps the operator when that is who runs the command, since losing
// it would lock the user out.
func (a *app) keepOperator(j *joinFlags, wanted, prefs *api.Prefs) {
	if user := a.getenv("USER"); user != "" && prefs.OperatorUser == user && wanted.OperatorUser == "" && !j.reset {
		wanted.OperatorUser = user
	}
}

// chooseServer returns the login server to use: the flag's, the present one, or
// that of the environment.
func (a *app) chooseServer(flag, present string) (string, error) {
	for _, url := range []string{flag, present, a.getenv(loginServerEnv)} {
		if url != "" {
			if !strings.Contains(url, "://") {
				return "", fmt.Errorf("login server %q has no scheme; use --login-server=https://%s or http://", url, url)
			}
			return strings.TrimRight(url, "/"), nil
		}
	}
	return "", errors.New("which coordination server? Use --login-server=URL, as printed by 'ginnel-server' when it starts,\n" +
		"or set " + loginServerEnv + ". There is no default: Ginnel is hosted by you.")
}

// sameServer reports whether two URLs are of one server.
func sameServer(a, b string) bool {
	return strings.EqualFold(strings.TrimRight(a, "/"), strings.TrimRight(b, "/"))
}

// readAuthKey returns the key, from a file when text says so.
func readAuthKey(text string) (string, error) {
	path, isFile := strings.CutPrefix(text, "file:")
	if !isFile {
		return text, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("--auth-key: %w", err)
	}
	key := strings.TrimSpace(string(data))
	if key == "" {
		return "", fmt.Errorf("--auth-key: the file %s is empty", path)
	}
	return key, nil
}

// flagEnv returns what flags may ask of the daemon.
func (a *app) flagEnv(ctx context.Context) *flagEnv {
	return &flagEnv{status: func() (*api.Status, error) { return a.local().Status(ctx) }}
}
