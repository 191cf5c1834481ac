package main

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/wire/control"
)

// account is an entry of the list of profiles.
func account(id, name, login, tailnet string) api.LoginProfile {
	return api.LoginProfile{ID: id, Name: name, UserProfile: control.UserProfile{LoginName: login}, NetworkProfile: api.NetworkProfile{DomainName: tailnet}}
}

// serveProfiles answers for a daemon with the profiles, of which one is current; enter is
// the state after a switch.
func (d *fakeDaemon) serveProfiles(current string, after api.State, list ...api.LoginProfile) *fakeDaemon {
	d.profiles = func(w http.ResponseWriter, r *http.Request) {
		id := strings.TrimPrefix(r.URL.Path, "/localapi/v0/profiles/")
		switch {
		case id == "" && r.Method == http.MethodPut:
			current = ""
			d.enter(api.NeedsLogin)
			w.WriteHeader(http.StatusCreated)
		case id == "":
			json.NewEncoder(w).Encode(list)
		case id == "current":
			i := slices.IndexFunc(list, func(p api.LoginProfile) bool { return p.ID == current })
			if i < 0 {
				json.NewEncoder(w).Encode(api.LoginProfile{})
				return
			}
			json.NewEncoder(w).Encode(list[i])
		case r.Method == http.MethodPost:
			current = id
			d.enter(after)
			w.WriteHeader(http.StatusNoContent)
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	}
	return d
}

func TestSwitchList(t *testing.T) {
	d := newFake(t).running().serveProfiles("00b2", api.Running,
		account("00a1", "ann@example.com", "ann@example.com", "example.com"), account("00b2", "work", "bob@corp", ""))
	want := "ID    Tailnet      Account\n00a1  example.com  ann@example.com\n00b2  -            work*\n"
	if got := d.ginnel("switch", "--list"); got.code != 0 || got.out != want || got.err != "" {
		t.Errorf("got %+v", got)
	}
	got := d.ginnel("switch", "--list", "--json")
	var list []accountJSON
	if err := json.Unmarshal([]byte(got.out), &list); err != nil || got.code != 0 {
		t.Fatalf("%+v: %v", got, err)
	}
	if len(list) != 2 || list[1] != (accountJSON{"00b2", "work", "", "bob@corp", true}) || list[0].Selected {
		t.Errorf("list = %+v", list)
	}
}

func TestSwitch(t *testing.T) {
	accounts := []api.LoginProfile{account("00a1", "ann@x", "ann@x", "one"), account("00b2", "work", "bob@y", "two"), account("00c3", "bob@y", "bob@y", "three")}
	for _, c := range []struct {
		name  string
		after api.State
		code  int
		out   string
		err   string
		call  string
	}{
		{"00b2", api.Running, 0, "Switching to account \"work\"\nSuccess.\n", "", "POST profiles/00b2"},
		{"two", api.Running, 0, "Switching to account \"work\"\nSuccess.\n", "", "POST profiles/00b2"},
		{"work", api.Stopped, 0, "Switching to account \"work\"\nGinnel is stopped.\nTo connect, run:\n  ginnel up\n", "", "POST profiles/00b2"},
		{"work", api.NeedsLogin, 0, "Switching to account \"work\"\nLogged out.\nTo log in, run:\n  ginnel up\n", "", "POST profiles/00b2"},
		{"one", api.Running, 0, "Already on account \"ann@x\"\n", "", ""},
		{"bob@y", api.Running, 1, "", "\"bob@y\" stands for several accounts; use one of the IDs 00b2, 00c3\n", ""},
		{"nobody", api.Running, 1, "", "no account is called \"nobody\"; 'ginnel switch --list' shows them\n", ""},
	} {
		d := newFake(t).running().serveProfiles("00a1", c.after, accounts...)
		got := d.ginnel("switch", c.name)
		if got.code != c.code || got.out != c.out || got.err != c.err {
			t.Errorf("switch %s: %+v", c.name, got)
		}
		if c.call != "" && !d.called(c.call) {
			t.Errorf("switch %s: no request %q", c.name, c.call)
		}
	}
	d := newFake(t).running().serveProfiles("00a1", api.Running, accounts...)
	if got := d.ginnel("switch", "remove", "work"); got.code != 0 || got.out != "" || !d.called("DELETE profiles/00b2") {
		t.Errorf("remove: %+v", got)
	}
	for _, args := range [][]string{{"switch"}, {"switch", "a", "b"}, {"switch", "--json", "x"}, {"switch", "--list", "x"}, {"switch", "remove"}} {
		if got := d.ginnel(args...); got.code != 1 || got.err == "" {
			t.Errorf("%q: %+v", args, got)
		}
	}
}

func TestLoginAddsAnAccount(t *testing.T) {
	d := newFake(t).running().serveProfiles("00a1", api.Running, account("00a1", "ann@x", "ann@x", "one"))
	d.onStart = func() { d.enter(api.Running) }
	got := d.ginnel("login", "--login-server=https://other.example", "--auth-key=x", "--nickname=work")
	if got.code != 0 || !d.called("PUT profiles/") || len(d.starts) != 1 || d.prefs.ControlURL != "https://other.example" || d.prefs.ProfileName != "work" {
		t.Errorf("got %+v, preferences %+v", got, d.prefs)
	}

	// What does not come about leaves things as they were.
	d = newFake(t).running().serveProfiles("00a1", api.Running, account("00a1", "ann@x", "ann@x", "one"))
	d.onStart = func() { d.tell(failure("the key is spent")) }
	got = d.ginnel("login", "--auth-key=x")
	if got.code != 1 || !d.called("PUT profiles/") || !d.called("POST profiles/00a1") ||
		got.err != "Nobody has logged in; back to account \"ann@x\".\nthe key is spent\n" {
		t.Errorf("got %+v, requests %q", got, d.calls)
	}
}
