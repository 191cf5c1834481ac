package main

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/wire/control"
)

const server = "https://server.example"

func TestUpWithAuthKey(t *testing.T) {
	d := newFake(t)
	d.onStart = func() { d.enter(api.Starting); d.tell(finished()); d.enter(api.Running) }
	got := d.ginnel("up", "--login-server", server+"/", "--auth-key", "key-1", "--hostname", "fig", "--accept-routes")
	if got.code != 0 || got.out != "" || got.err != "" {
		t.Errorf("got %+v", got)
	}
	if len(d.starts) != 1 || d.starts[0].AuthKey != "key-1" || !d.called("POST login-interactive") {
		t.Fatalf("starts %v, calls %q", d.starts, d.calls)
	}
	p := d.starts[0].UpdatePrefs
	if p.ControlURL != server || p.Hostname != "fig" || !p.RouteAll || !p.WantRunning || p.LoggedOut || !p.CorpDNS {
		t.Errorf("preferences %+v", p)
	}
}

func TestUpWithAuthKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte("key-2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := newFake(t)
	d.onStart = func() { d.enter(api.Running) }
	if got := d.ginnel("up", "--login-server", server, "--authkey=file:"+path); got.code != 0 || d.starts[0].AuthKey != "key-2" {
		t.Errorf("got %+v, starts %v", got, d.starts)
	}
	d = newFake(t)
	if got := d.ginnel("up", "--login-server", server, "--auth-key=file:"+path+"x"); got.code != 1 || !strings.Contains(got.err, "no such file") {
		t.Errorf("missing file: %+v", got)
	}
	os.WriteFile(path, []byte(" \n"), 0o600)
	if got := d.ginnel("up", "--login-server", server, "--auth-key=file:"+path); got.code != 1 || !strings.Contains(got.err, "is empty") || len(d.starts) != 0 {
		t.Errorf("empty file: %+v", got)
	}
}

func TestUpWithBadKey(t *testing.T) {
	d := newFake(t)
	d.onStart = func() { d.tell(failure("the coordination server refused: invalid auth key")) }
	got := d.ginnel("up", "--login-server", server, "--auth-key", "bad")
	if got.code != 1 || !strings.HasPrefix(got.err, "the coordination server refused: invalid auth key\nAsk an admin") || got.out != "" {
		t.Errorf("got %+v", got)
	}
}

func TestUpWithURL(t *testing.T) {
	const login = "https://server.example/register/abc"
	d := newFake(t)
	d.onLogin = func() {
		d.tell(url(login), url(login), finished())
		d.enter(api.Starting)
		d.enter(api.Running)
	}
	want := "\nTo authenticate, visit:\n\n\t" + login + "\n\n"
	if got := d.ginnel("up", "--login-server", server); got.code != 0 || got.err != want+"Success.\n" || got.out != "" {
		t.Errorf("without a terminal: %+v", got)
	}
	d.enter(api.NeedsLogin)
	got := d.ginnelIn(runOptions{terminal: true, env: map[string]string{"LANG": "C.UTF-8"}}, "up", "--login-server", server)
	if got.code != 0 || !strings.HasPrefix(got.err, want+"\x1b[97;40m█") || !strings.HasSuffix(got.err, "\n\nSuccess.\n") {
		t.Errorf("on a terminal: %+v", got)
	}
	d.enter(api.NeedsLogin)
	if got := d.ginnelIn(runOptions{terminal: true}, "up", "--login-server", server, "--qr=false"); got.err != want+"Success.\n" {
		t.Errorf("with --qr=false: %+v", got)
	}
	d.enter(api.NeedsLogin)
	if got := d.ginnel("up", "--qr", "--qr-format=ascii", "--login-server", server); !strings.HasPrefix(got.err, want+"####") {
		t.Errorf("with --qr: %+v", got)
	}
	if got := d.ginnel("up", "--qr-format=huge"); got.code != 1 || !strings.Contains(got.err, "must be auto, ascii, large or small") {
		t.Errorf("with a wrong format: %+v", got)
	}
}

func TestUpJSON(t *testing.T) {
	d := newFake(t)
	d.onLogin = func() { d.tell(url("https://x/y")); d.enter(api.NeedsMachineAuth); d.enter(api.Running) }
	got := d.ginnel("up", "--json", "--login-server", server)
	dec := json.NewDecoder(strings.NewReader(got.out))
	var all []upJSON
	for {
		var one upJSON
		if err := dec.Decode(&one); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("%v in %s", err, got.out)
		}
		all = append(all, one)
	}
	if got.code != 0 || got.err != "" || len(all) != 3 || all[0].AuthURL != "https://x/y" || !strings.HasPrefix(all[0].QR, "data:image/png;base64,") ||
		all[0].BackendState != "NeedsLogin" || all[1].BackendState != "NeedsMachineAuth" || all[2] != (upJSON{BackendState: "Running"}) {
		t.Errorf("got %+v", got)
	}
	d = newFake(t)
	d.onStart = func() { d.tell(failure("no")) }
	if got := d.ginnel("up", "--json", "--login-server", server, "--auth-key=x"); got.code != 1 || got.out != "{\n  \"Error\": \"no\"\n}\n" || got.err != "" {
		t.Errorf("failure: %+v", got)
	}
}

func TestUpNeedsApproval(t *testing.T) {
	d := newFake(t)
	d.onStart = func() { d.enter(api.NeedsMachineAuth); d.enter(api.Running) }
	got := d.ginnel("up", "--login-server", server, "--auth-key=x")
	if got.code != 0 || !strings.Contains(got.err, "must be approved by an admin") || !strings.HasSuffix(got.err, "Success.\n") {
		t.Errorf("got %+v", got)
	}
}

func TestUpTellsTrouble(t *testing.T) {
	const text = "cannot reach the coordination server https://server.example: connection refused"
	d := newFake(t)
	d.onStart = func() {
		d.tell(warning(api.WarnLoginState, loggedOutText))
		d.tell(warning(api.WarnLoginState, lastLoginError+text))
		d.tell(warning(api.WarnLoginState, lastLoginError+text))
	}
	got := d.ginnel("up", "--login-server", server, "--auth-key=x", "--timeout=200ms")
	if got.code != 1 || got.err != "# Still trying: "+text+"\n"+errUpTimeout.Error()+"; the last known reason: "+text+"\n" {
		t.Errorf("got %+v", got)
	}
	if got := d.ginnel("up", "--json", "--login-server", server, "--auth-key=x", "--timeout=200ms"); got.code != 1 ||
		got.err != "" || !strings.Contains(got.out, "connection refused") || !strings.Contains(got.out, "timeout waiting") {
		t.Errorf("JSON: %+v", got)
	}
}

// TestUpIsRefused has the daemon remember the refusal of the login before.
func TestUpIsRefused(t *testing.T) {
	d := newFake(t)
	before := warning(api.WarnLoginState, lastLoginError+refusedText+"auth key revoked")
	d.health = before.Health
	d.onStart = func() { d.tell(before, failure(refusedText+"auth key expired")) }
	got := d.ginnel("up", "--login-server", server, "--auth-key=x")
	if got.code != 1 || !strings.HasPrefix(got.err, refusedText+"auth key expired\n") || !strings.Contains(got.err, "ginnel-server authkeys create") {
		t.Errorf("got %+v", got)
	}
}

func TestUpWhenDaemonGoesAway(t *testing.T) {
	d := newFake(t)
	d.onStart = func() { d.tell(nil) }
	if got := d.ginnel("up", "--login-server", server, "--auth-key=x"); got.code != 1 || !strings.Contains(got.err, "ginneld went away") {
		t.Errorf("got %+v", got)
	}
}

func TestUpHealthWarnings(t *testing.T) {
	d := newFake(t).running()
	d.status.Health = []string{"first"}
	if got := d.ginnel("up"); got.code != 0 || got.err != "# Health check warning: first\n" {
		t.Errorf("one: %+v", got)
	}
	d.status.Health = []string{"first", "second"}
	if got := d.ginnel("up"); got.err != "# Health check warnings:\n#     - first\n#     - second\n" {
		t.Errorf("two: %+v", got)
	}
}

func TestSimpleUp(t *testing.T) {
	d := newFake(t).running()
	d.prefs.Hostname, d.prefs.WantRunning = "kept", false
	d.status.BackendState = "Stopped"
	d.onEdit = func() { d.enter(api.Running) }
	if got := d.ginnel("up", "--timeout=10s"); got.code != 0 || got.err != "" {
		t.Errorf("got %+v", got)
	}
	if len(d.edits) != 1 || d.edits[0] != `{"WantRunning":true,"WantRunningSet":true}` || len(d.starts) != 0 {
		t.Errorf("edits %q, starts %v", d.edits, d.starts)
	}
}

func TestUpNeedsMention(t *testing.T) {
	d := newFake(t).running()
	d.prefs.Hostname, d.prefs.CorpDNS, d.prefs.AdvertiseTags, d.prefs.ProfileName = "a b", false, []string{"tag:x", "tag:y"}, "nick"
	got := d.ginnel("up", "--shields-up", "--auth-key=secret", "--timeout=1m0s")
	want := `Error: changing settings via 'ginnel up' requires mentioning all
non-default flags. To proceed, either re-run your command with --reset or
use the command below to explicitly mention the current value of
all non-default settings:

	ginnel up --auth-key=... --shields-up --timeout=1m0s --accept-dns=false --advertise-tags=tag:x,tag:y --hostname='a b'

To change only what you mention, use 'ginnel set'.

`
	if got.code != 1 || got.err != want || len(d.edits)+len(d.starts) != 0 {
		t.Errorf("got %+v\n%s", got, got.err)
	}
	if got := d.ginnel("up", "--shields-up", "--accept-dns=false", "--advertise-tags=x,y", "--hostname=a-b"); got.code != 0 || !d.prefs.ShieldsUp ||
		d.prefs.Hostname != "a-b" || d.prefs.ProfileName != "nick" || d.prefs.ControlURL != server {
		t.Errorf("all mentioned: %+v, preferences %+v", got, d.prefs)
	}
	if got := d.ginnel("up", "--reset", "--accept-routes"); got.code != 0 || d.prefs.Hostname != "" || !d.prefs.CorpDNS || d.prefs.ShieldsUp ||
		!d.prefs.RouteAll || d.prefs.ProfileName != "nick" {
		t.Errorf("reset: %+v, preferences %+v", got, d.prefs)
	}
}

func TestUpMentionExemptions(t *testing.T) {
	d := newFake(t).running()
	d.prefs.OperatorUser, d.prefs.NoStatefulFiltering = "ann", control.False
	if got := d.ginnelIn(runOptions{env: map[string]string{"USER": "ann"}}, "up", "--shields-up"); got.code != 0 || d.prefs.OperatorUser != "ann" {
		t.Errorf("own operator: %+v", got)
	}
	if got := d.ginnelIn(runOptions{env: map[string]string{"USER": "bob"}}, "up", "--shields-up"); got.code != 1 || !strings.Contains(got.err, "--operator=ann") {
		t.Errorf("other operator: %+v", got)
	}
	d = newFake(t)
	d.prefs.Hostname = "x"
	d.onStart = func() { d.enter(api.Running) }
	if got := d.ginnel("up", "--login-server", server, "--auth-key=x"); got.code != 0 {
		t.Errorf("without a server before: %+v", got)
	}
}

func TestUpServer(t *testing.T) {
	d := newFake(t)
	if got := d.ginnel("up"); got.code != 1 || !strings.Contains(got.err, "--login-server=URL") || !strings.Contains(got.err, loginServerEnv) {
		t.Errorf("no server: %+v", got)
	}
	if got := d.ginnel("up", "--login-server=host:8080"); got.code != 1 || !strings.Contains(got.err, "https://host:8080") {
		t.Errorf("no scheme: %+v", got)
	}
	d.onStart = func() { d.enter(api.Running) }
	if got := d.ginnelIn(runOptions{env: map[string]string{loginServerEnv: "http://env:1"}}, "up", "--auth-key=x"); got.code != 0 || d.prefs.ControlURL != "http://env:1" {
		t.Errorf("from the environment: %+v", got)
	}
	d = newFake(t).running()
	if got := d.ginnel("up", "--login-server=https://other"); got.code != 1 || got.err != "can't change --login-server without --force-reauth\n" {
		t.Errorf("other server: %+v", got)
	}
	if got := d.ginnel("up", "--login-server=https://server.example/"); got.code != 0 || len(d.starts) != 0 {
		t.Errorf("same server: %+v", got)
	}
}

func TestUpWhenRunningTakesNoKey(t *testing.T) {
	d := newFake(t).running()
	if got := d.ginnel("up", "--auth-key=again", "--hostname=new"); got.code != 0 || len(d.starts) != 0 || d.prefs.Hostname != "new" {
		t.Errorf("got %+v, starts %v", got, d.starts)
	}
}

func TestUpForceReauth(t *testing.T) {
	d := newFake(t).running()
	running := api.Running
	d.onLogin = func() {
		d.tell(&api.Notify{State: &running}, url("https://x"), finished()) // up all the time
	}
	if got := d.ginnel("up", "--force-reauth"); got.code != 0 || !strings.HasSuffix(got.err, "Success.\n") || len(d.starts) != 1 {
		t.Errorf("got %+v, starts %v", got, d.starts)
	}
	d.onLogin = func() { d.tell(&api.Notify{State: &running}, finished()) }
	if got := d.ginnel("up", "--force-reauth", "--auth-key=k"); got.code != 0 || len(d.starts) != 2 || d.starts[1].AuthKey != "k" {
		t.Errorf("by a key: %+v, starts %v", got, d.starts)
	}
	if n := len(d.calls); d.calls[n-2] != "POST login-interactive" { // the last asks for warnings
		t.Errorf("by a key: calls %q", d.calls)
	}
	refused := "the coordination server refused: invalid auth key"
	d.onLogin = func() { d.tell(&api.Notify{ErrMessage: &refused}) }
	if got := d.ginnel("up", "--force-reauth", "--auth-key=wrong"); got.code != 1 || !strings.Contains(got.err, refused) {
		t.Errorf("by a wrong key: %+v", got)
	}
	d.starts = d.starts[:1]
	ssh := map[string]string{"SSH_CLIENT": "100.64.0.9 1 22"}
	if got := d.ginnelIn(runOptions{env: ssh}, "up", "--force-reauth"); got.code != 1 || !strings.Contains(got.err, "--accept-risk=lose-ssh") ||
		!strings.HasSuffix(got.err, "aborted, no changes made\n") || len(d.starts) != 1 {
		t.Errorf("over SSH: %+v", got)
	}
}

func TestUpRefusedPreferences(t *testing.T) {
	d := newFake(t)
	d.refusal = "this version does not support an SSH server yet"
	if got := d.ginnel("up", "--login-server", server, "--ssh"); got.code != 1 || got.err != d.refusal+"\n" || len(d.starts) != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestUpWithArguments(t *testing.T) {
	if got := newFake(t).ginnel("up", "now"); got.code != 1 || got.err != "ginnel up: unexpected argument: now\nSee 'ginnel up --help'.\n" {
		t.Errorf("got %+v", got)
	}
}

func TestLogin(t *testing.T) {
	d := newFake(t)
	d.prefs.ControlURL, d.prefs.Hostname = server, "old"
	d.onStart = func() { d.enter(api.Running) }
	got := d.ginnel("login", "--auth-key=x", "--nickname=work", "--accept-dns")
	if got.code != 0 || len(d.starts) != 1 || d.prefs.ProfileName != "work" || d.prefs.Hostname != "" || d.prefs.ControlURL != server {
		t.Errorf("got %+v, preferences %+v", got, d.prefs)
	}
	if !strings.Contains(got.err, "Warning: --accept-dns=true is saved, but") {
		t.Errorf("no warning: %q", got.err)
	}
}
