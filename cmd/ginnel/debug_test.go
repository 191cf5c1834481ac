package main

import (
	"strings"
	"testing"

	"github.com/ginnel/ginnel/node/local/api"
)

func TestDebugShows(t *testing.T) {
	d := newFake(t).running()
	d.answers["debug?action=current-netmap"] = `{"Node":{"ID":1,"Name":"fig.","Hostinfo":{"OS":"linux","Hostname":"fig"}},"Peers":[]}`
	d.answers["debug?action=paths"] = `{"Peers":{"` + nodeKey(2).String() + `":{"Latency":5}},"HomeRegion":1}`
	d.answers["derpmap"] = `{"Regions":{"1":{"RegionID":1,"RegionCode":"x","RegionName":"X","Nodes":null}}}`
	for _, action := range []string{"restun", "rebind", "force-netmap-update"} {
		d.answers["debug?action="+action] = "done\n"
		if got := d.ginnel("debug", action); got.code != 0 || got.out+got.err != "" || !d.called("POST debug?action="+action) {
			t.Errorf("%s: %+v", action, got)
		}
	}
	for args, want := range map[string]string{
		"netmap":      "{\n  \"Node\": {\n    \"ID\": 1,",
		"hostinfo":    "{\n  \"OS\": \"linux\",\n  \"Hostname\": \"fig\"\n}\n",
		"paths":       "{\n  \"Peers\": {\n",
		"path apple":  "{\n  \"Latency\": 5\n}\n",
		"prefs":       "{\n  \"ControlURL\": \"https://server.example\",",
		"derp-map":    "{\n  \"Regions\": {\n    \"1\": {",
		"local-creds": "curl --unix-socket " + d.socket + " http://local-tailscaled.sock/localapi/v0/status\n",
	} {
		if got := d.ginnel(append([]string{"debug"}, strings.Fields(args)...)...); got.code != 0 || !strings.HasPrefix(got.out, want) || got.err != "" {
			t.Errorf("debug %s: %+v", args, got)
		}
	}
	for args, want := range map[string]string{
		"path fig":   "fig is this machine\n",
		"path birch": "ginneld has no paths for birch\n",
		"path":       "usage: ginnel debug path [flags] <hostname or IP>\n",
		"path plum":  "no node in the network is called \"plum\"\n",
	} {
		if got := d.ginnel(append([]string{"debug"}, strings.Fields(args)...)...); got.code != 1 || got.err != want {
			t.Errorf("debug %s: %+v", args, got)
		}
	}
}

func TestDebugLocalAPI(t *testing.T) {
	d := newFake(t).running()
	d.answers["echo"] = "hello\n"
	if got := d.ginnel("debug", "localapi", "echo"); got.code != 0 || got.out != "hello\n" || !d.called("GET echo") {
		t.Errorf("got %+v", got)
	}
	if got := d.ginnelIn(runOptions{stdin: "body"}, "debug", "localapi", "/localapi/v0/echo", "-"); got.code != 0 || !d.called("POST echo") {
		t.Errorf("with a body: %+v", got)
	}
	if got := d.ginnel("debug", "localapi", "-v", "delete", "echo"); got.code != 0 || !d.called("DELETE echo") || !strings.HasPrefix(got.err, "200 OK\n") {
		t.Errorf("verbose: %+v", got)
	}
	if got := d.ginnel("debug", "localapi", "nothing"); got.code != 1 || got.out != "404 page not found\n" || got.err != "404 Not Found\n" {
		t.Errorf("unknown: %+v", got)
	}
	if got := d.ginnel("debug", "localapi"); got.code != 1 || !strings.HasPrefix(got.err, "usage: ") {
		t.Errorf("without a path: %+v", got)
	}
}

func TestDebugWatch(t *testing.T) {
	d := newFake(t).running()
	got := d.ginnel("debug", "watch-ipn", "--count=1", "--initial", "--engine-updates", "--peer-changes=false")
	if got.code != 0 || !strings.HasPrefix(got.out, "{\n  \"Version\": ") || !strings.Contains(got.out, `"State": 6`) || got.err != "Connected.\n" {
		t.Errorf("got %+v", got)
	}
	want := api.NotifyEngineUpdates | api.NotifyInitialState | api.NotifyInitialPrefs | api.NotifyNoPrivateKeys
	if !d.called("GET watch-ipn-bus?mask=23") || want != 23 {
		t.Errorf("requests %q", d.calls)
	}
}
