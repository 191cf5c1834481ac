package main

import (
	"strings"
	"testing"

	"github.com/ginnel/ginnel/node/local/api"
)

func TestDebugShows(t *testing.T) {
	d := newFake(t).running()
	d.answers["debug?action=current-netmap"] = `{"Node":{"ID":1,"Name":"fig.","Hostinfo":{"OS":"linux","Hostname":"fig"}},"Peers":[]}`
	d.answers["debug?action=paths"] = `{"Port4":41641,"Relays":[{"Region":1,"Code":"fra","Home":true,"Connected":true}],"Endpoints":[{"Addr":"192.0.2.1:41641"}],"Peers":{"` +
		nodeKey(2).String() + `":{"Name":"apple","CurAddr":"192.0.2.2:41641","Latency":1500000,"Active":true,"Candidates":[{"Addr":"192.0.2.2:41641","Listed":true,"Called":true,"Ponged":"2020-01-01T00:00:00Z","Latency":1500000,"Best":true},{"Addr":"10.0.0.1:1"}]}}}`
	d.answers["derpmap"] = `{"Regions":{"1":{"RegionID":1,"RegionCode":"x","RegionName":"X","Nodes":null}}}`
	for _, action := range []string{"restun", "rebind", "force-netmap-update"} {
		d.answers["debug?action="+action] = "done\n"
		if got := d.ginnel("debug", action); got.code != 0 || got.out+got.err != "" || !d.called("POST debug?action="+action) {
			t.Errorf("%s: %+v", action, got)
		}
	}
	for args, want := range map[string]string{
		"netmap":            "{\n  \"Node\": {\n    \"ID\": 1,",
		"hostinfo":          "{\n  \"OS\": \"linux\",\n  \"Hostname\": \"fig\"\n}\n",
		"paths":             "UDP ports:  41641 (IPv4), 0 (IPv6)\nEndpoints:  192.0.2.1:41641\nRelay:      \"fra\", home, connected\n\napple: active; direct ",
		"path apple":        "apple: active; direct 192.0.2.2:41641 (1.5ms); sent never, received never\n    Candidate        From      Pinged",
		"paths --json":      "{\n  \"Port4\": 41641,\n",
		"path --json apple": "{\n  \"Name\": \"apple\",\n",
		"prefs":             "{\n  \"ControlURL\": \"https://server.example\",",
		"derp-map":          "{\n  \"Regions\": {\n    \"1\": {",
		"local-creds":       "curl --unix-socket " + d.socket + " http://local-tailscaled.sock/localapi/v0/status\n",
	} {
		if got := d.ginnel(append([]string{"debug"}, strings.Fields(args)...)...); got.code != 0 || !strings.HasPrefix(got.out, want) || got.err != "" {
			t.Errorf("debug %s: %+v", args, got)
		}
	}
	for args, want := range map[string]string{
		"path fig":   "fig is this machine\n",
		"path birch": "ginneld has no paths for birch\n",
		"path":       "ginnel debug path: missing argument: the hostname or IP of a peer\nSee 'ginnel debug path --help'.\n",
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
	if got := d.ginnel("debug", "localapi"); got.code != 1 || !strings.Contains(got.err, "missing argument: the path") {
		t.Errorf("without a path: %+v", got)
	}
}

func TestDebugMetricsWatch(t *testing.T) {
	d := newFake(t).running()
	d.answers["metrics"] = "# HELP x\nx 1\ny{a=\"b c\"} 5\nz NaN\n"
	if got := d.ginnel("debug", "metrics"); got.code != 0 || got.out != d.answers["metrics"] {
		t.Errorf("got %+v", got)
	}
	rounds := 0
	d.onPause = func() {
		switch rounds++; rounds {
		case 2:
			d.answers["metrics"] = "x 1\ny{a=\"b c\"} 7.5\n"
		case 4:
			d.answers["metrics"] = "x 0\ny{a=\"b c\"} 7.5\nnew 1\n"
		case 5:
			delete(d.answers, "metrics") // ends it
		}
	}
	got := d.ginnel("debug", "metrics", "--watch")
	if want := "{\"y{a=\\\"b c\\\"}\":2.5}\n{\"new\":1,\"x\":-1}\n"; got.code != 1 || got.out != want {
		t.Errorf("got %+v\nwant %s", got, want)
	}
}

func TestDebugWatch(t *testing.T) {
	d := newFake(t).running()
	got := d.ginnel("debug", "watch-ipn", "--count=1", "--initial", "--engine-updates", "--peer-changes=false")
	if got.code != 0 || !strings.HasPrefix(got.out, "{\n  \"Version\": ") || !strings.Contains(got.out, `"State": 6`) || got.err != "Connected.\n" {
		t.Errorf("got %+v", got)
	}
	want := api.NotifyEngineUpdates | api.NotifyInitialState | api.NotifyInitialPrefs | api.NotifyNoPrivateKeys
	if again := d.ginnel("debug", "watch", "--count=1", "--initial"); again.code != 0 {
		t.Errorf("by its short name: %+v", again)
	}
	if !d.called("GET watch-ipn-bus?mask=23") || want != 23 {
		t.Errorf("requests %q", d.calls)
	}
}
