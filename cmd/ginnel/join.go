package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ginnel/ginnel/internal/cli"
	"github.com/ginnel/ginnel/internal/qrtext"
	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/node/local/client"
)

// errUpTimeout is the end of the wait for the node to come up.
var errUpTimeout = errors.New(`timeout waiting for Ginnel service to enter a Running state; check health with "ginnel status"`)

// upJSON is what up prints with --json.
type upJSON struct {
	AuthURL      string `json:",omitempty"`
	QR           string `json:",omitempty"` // PNG data URL
	BackendState string `json:",omitempty"`
	Error        string `json:",omitempty"`
}

// joining is a plan being carried out, and what the user has been told.
type joining struct {
	app      *app
	flags    *joinFlags
	plan     *plan
	state    api.State
	loggedIn bool // since the start
	asked    bool // the user was asked to do something
	url      string
	approval bool
	trouble  string // the last one told
	refusal  string // of the login before this one
}

// join carries out the plan and waits until the node is up.
func (a *app) join(ctx context.Context, j *joinFlags, p *plan) error {
	if j.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, j.timeout, errUpTimeout)
		defer cancel()
	}
	w := &joining{app: a, flags: j, plan: p}
	err := w.run(ctx)
	if err != nil && context.Cause(ctx) == errUpTimeout {
		err = errUpTimeout
		if w.trouble != "" {
			err = fmt.Errorf("%w; the last known reason: %s", err, w.trouble)
		}
	}
	if err != nil {
		return err
	}
	if j.json {
		return a.printJSON(upJSON{BackendState: api.Running.String()})
	}
	if w.asked {
		fmt.Fprintln(a.stderr, "Success.")
	}
	return a.printWarnings(ctx)
}

// run watches the daemon while it does what the plan says.
func (w *joining) run(ctx context.Context) error {
	watcher, err := w.app.local().WatchBus(ctx, api.NotifyInitialState|api.NotifyInitialHealthState|api.NotifyNoPrivateKeys)
	if err != nil {
		return err
	}
	defer watcher.Close()
	first, err := watcher.Next()
	if err != nil {
		return err
	}
	if first.Health != nil {
		w.refusal = first.Health.Warnings[api.WarnLoginState].Text
	}
	if err := w.begin(ctx); err != nil {
		return err
	}
	if first.State != nil {
		w.state = *first.State
	}
	if !w.plan.login && w.reached() {
		return nil
	}
	for n, err := range watcher.All() {
		if err != nil {
			return fmt.Errorf("ginneld went away while waiting for it: %w", err)
		}
		done, err := w.handle(n)
		if done || err != nil {
			return err
		}
	}
	return client.ErrWatcherClosed
}

// begin asks the daemon for what the plan says.
func (w *joining) begin(ctx context.Context) error {
	local := w.app.local()
	if !w.plan.login {
		_, err := local.EditPrefs(ctx, w.plan.edit)
		return err
	}
	if err := local.CheckPrefs(ctx, w.plan.prefs); err != nil {
		return err
	}
	if err := local.Start(ctx, api.StartOptions{UpdatePrefs: w.plan.prefs, AuthKey: w.plan.authKey}); err != nil {
		return err
	}
	if w.plan.authKey != "" && !w.plan.force {
		return nil
	}
	return local.LoginInteractive(ctx) // by the key, if there is one
}

// handle takes one message of the bus. It is done when the node is up.
func (w *joining) handle(n *api.Notify) (done bool, err error) {
	if n.ErrMessage != nil && *n.ErrMessage != "" {
		return false, w.refused(*n.ErrMessage)
	}
	if n.LoginFinished != nil {
		w.loggedIn = true
	}
	if n.BrowseToURL != nil && *n.BrowseToURL != "" {
		w.showURL(*n.BrowseToURL)
	}
	if n.Health != nil {
		w.showTrouble(n.Health)
	}
	if n.State != nil {
		w.state = *n.State
	}
	return w.reached(), nil
}

// refused explains the server's refusal; where it is about the auth key, with what
// can be done.
func (w *joining) refused(text string) error {
	if w.plan.authKey != "" && strings.Contains(text, "auth key") {
		text += "\nAsk an admin of the network for another key (on a Ginnel server: ginnel-server authkeys create),\n" +
			"or leave out --auth-key to get a login link"
	}
	return errors.New(text)
}

// reached acts on the state and reports whether it is the wanted one.
func (w *joining) reached() bool {
	switch w.state {
	case api.NeedsMachineAuth:
		w.showApproval()
	case api.Running:
		return !w.plan.relogin || w.loggedIn
	}
	return false
}

// showURL asks the user to log in.
func (w *joining) showURL(url string) {
	if url == w.url {
		return
	}
	w.url, w.asked = url, true
	code, err := qrtext.Encode(url)
	if w.flags.json {
		out := upJSON{AuthURL: url, BackendState: api.NeedsLogin.String()}
		if err == nil {
			out.QR = code.DataURL()
		}
		w.app.printJSON(out)
		return
	}
	fmt.Fprintf(w.app.stderr, "\nTo authenticate, visit:\n\n\t%s\n\n", url)
	if err == nil && w.app.wantQR(w.flags) {
		format, color := w.app.qrStyle(w.flags.qrFormat)
		fmt.Fprintln(w.app.stderr, code.Text(format, color))
	}
}

// showApproval says that an admin has to let the machine in.
func (w *joining) showApproval() {
	if w.approval {
		return
	}
	w.approval, w.asked = true, true
	if w.flags.json {
		w.app.printJSON(upJSON{BackendState: api.NeedsMachineAuth.String()})
		return
	}
	fmt.Fprint(w.app.stderr, "\nThis machine must be approved by an admin of the network before it can connect.\n"+
		"On a Ginnel server that is:\n\n\tginnel-server nodes approve NODE\n\n")
}

// troubles are the warnings that tell why a node does not come up.
var troubles = []api.WarnableCode{
	api.WarnStateStore, api.WarnLoginState, api.WarnTLSConnection, api.WarnNetworkStatus, api.WarnNotInMapPoll,
	api.WarnNoDERPHome, api.WarnNoDERPConnection, api.WarnNoUDP4Bind, "network-setup",
}

// showTrouble tells the user, once for each, what is in the way.
func (w *joining) showTrouble(h *api.HealthState) {
	for _, code := range troubles {
		warning, ok := h.Warnings[code]
		if !ok || warning.Text == "" || code == api.WarnLoginState && !w.isLoginTrouble(warning.Text) {
			continue
		}
		text := strings.TrimPrefix(warning.Text, lastLoginError)
		if text == w.trouble {
			return
		}
		w.trouble = text
		if !w.flags.json {
			fmt.Fprintf(w.app.stderr, "# Still trying: %s\n", text)
		}
		return
	}
}

// lastLoginError comes before what went wrong in the warning of a node that is
// logged out.
const lastLoginError = loggedOutText + " The last login error was: "

// refusedText begins what the server says to a login that it refuses, which ends the
// login; other troubles may pass.
const refusedText = "the coordination server refused: "

// isLoginTrouble tells a login that fails from one that has not been tried, and from the
// one before, whose refusal is told until this one gets somewhere.
func (w *joining) isLoginTrouble(text string) bool {
	stale := text == w.refusal && strings.HasPrefix(text, lastLoginError+refusedText)
	return text != loggedOutText && !stale
}

// printWarnings shows what the daemon finds unhealthy now that the node is up.
func (a *app) printWarnings(ctx context.Context) error {
	st, err := a.local().StatusWithoutPeers(ctx)
	if err != nil {
		return err
	}
	switch len(st.Health) {
	case 0:
	case 1:
		fmt.Fprintf(a.stderr, "# Health check warning: %s\n", st.Health[0])
	default:
		fmt.Fprintln(a.stderr, "# Health check warnings:")
		for _, text := range st.Health {
			fmt.Fprintf(a.stderr, "#     - %s\n", text)
		}
	}
	return nil
}

// checkQRFormat fails for a format there is not.
func checkQRFormat(format string) error {
	switch qrtext.Format(format) {
	case "auto", qrtext.ASCII, qrtext.Large, qrtext.Small:
		return nil
	}
	return cli.Usagef("invalid value --qr-format=%q; must be auto, ascii, large or small", format)
}

// wantQR reports whether to draw a code: as the flag says, and without it where a
// person can see it.
func (a *app) wantQR(j *joinFlags) bool {
	if j.qr.text != "" {
		return j.qr.text == "true"
	}
	return a.stderrTerminal && a.getenv("TERM") != "dumb"
}

// qrStyle returns how to draw codes on this terminal.
func (a *app) qrStyle(format string) (f qrtext.Format, color bool) {
	if format == "auto" {
		locale := a.getenv("LC_ALL") + a.getenv("LC_CTYPE") + a.getenv("LANG")
		format = string(qrtext.Small)
		if upper := strings.ToUpper(locale); locale != "" && !strings.Contains(upper, "UTF-8") && !strings.Contains(upper, "UTF8") {
			format = string(qrtext.ASCII)
		}
	}
	return qrtext.Format(format), a.stderrTerminal && a.getenv("NO_COLOR") == ""
}
