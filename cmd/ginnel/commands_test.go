package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ginnel/ginnel/internal/version"
	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/wire/control"
)

func TestMistakes(t *testing.T) {
	tests := []struct{ args, err string }{
		{"stauts", "ginnel: unknown subcommand: stauts\nDid you mean \"ginnel status\"?\n"},
		{"frobnicate", "ginnel: unknown subcommand: frobnicate\nSee 'ginnel --help'.\n"},
		{"debug netmpa", "ginnel debug: unknown subcommand: netmpa\nDid you mean \"ginnel debug netmap\"?\n"},
		{"up --hostnmae=x", "ginnel up: unknown flag: --hostnmae\nDid you mean --hostname?\n"},
		{"status --peers=maybe", "ginnel status: invalid boolean value \"maybe\" for --peers: parse error\nSee 'ginnel status --help'.\n"},
		{"ping -c many x", "ginnel ping: invalid value \"many\" for flag --c: parse error\nSee 'ginnel ping --help'.\n"},
		{"down now", "ginnel down: unexpected argument: now\nSee 'ginnel down --help'.\n"},
		{"whois", "ginnel whois: missing argument: the IP[:port] or hostname\nSee 'ginnel whois --help'.\n"},
		{"completion tcsh", "ginnel completion: unknown subcommand: tcsh\nSee 'ginnel completion --help'.\n"},
	}
	for _, tt := range tests {
		d := newFake(t)
		if got := d.ginnel(strings.Fields(tt.args)...); got.code != 1 || got.out != "" || got.err != tt.err || len(d.calls) != 0 {
			t.Errorf("%s: %+v, requests %q", tt.args, got, d.calls)
		}
	}
}

func TestHelp(t *testing.T) {
	d := newFake(t)
	for _, args := range [][]string{nil, {"--help"}, {"-h"}} {
		got := d.ginnel(args...)
		if got.code != 0 || !strings.HasPrefix(got.out, "USAGE\n  ginnel [flags] <subcommand>") || got.err != "" {
			t.Errorf("%q: %+v", args, got)
		}
		for _, name := range []string{"up", "down", "set", "get", "login", "logout", "switch", "status", "ip", "ping", "whois", "whoami", "netcheck", "wait", "version", "debug", "metrics", "completion"} {
			if !strings.Contains(got.out, "\n  "+name+" ") {
				t.Errorf("%q does not list %s", args, name)
			}
		}
	}
	for _, args := range [][]string{{"up", "--help"}, {"debug"}, {"debug", "watch-ipn", "-h"}, {"set"}, {"completion"}} {
		if got := d.ginnel(args...); got.code != 0 || !strings.HasPrefix(got.out, "USAGE\n  ginnel "+args[0]) || strings.Contains(got.out, "authkey") {
			t.Errorf("%q: %+v", args, got)
		}
	}
}

func TestNotRunning(t *testing.T) {
	d := newFake(t)
	d.socket = filepath.Join(t.TempDir(), "absent.sock")
	for _, args := range []string{"status", "up", "down", "ip", "ping x", "get", "set --hostname=x", "logout", "version --daemon", "wait", "whois 1.2.3.4"} {
		if got := d.ginnel(strings.Fields(args)...); got.code != 1 || got.out != "" || !strings.HasPrefix(got.err, "failed to connect to local ginneld") {
			t.Errorf("%s: %+v", args, got)
		}
	}
}

func TestAccessDenied(t *testing.T) {
	d := newFake(t).running()
	d.readOnly = true
	got := d.ginnel("up", "--reset", "--auth-key", "secret", "--operator", "a b")
	want := "Access denied: write access denied\n\nUse 'sudo ginnel --socket " + d.socket + " up --reset --auth-key ... --operator 'a b''.\n" +
		"To not require root, use 'sudo ginnel set --operator=$USER' once.\n"
	if got.code != 1 || got.err != want {
		t.Errorf("got %+v, want %s", got, want)
	}
	if got := d.ginnel("status"); got.code != 0 {
		t.Errorf("reading: %+v", got)
	}
}

func TestVersionWarning(t *testing.T) {
	d := newFake(t).running()
	d.version = "9.9.9"
	want := "Warning: client version \"" + version.Long() + "\" != ginneld server version \"9.9.9\"\n"
	if got := d.ginnel("ip", "-4"); got.code != 0 || got.err != want || got.out != "100.64.0.1\n" {
		t.Errorf("got %+v", got)
	}
	if got := d.ginnelIn(runOptions{env: map[string]string{"TS_DEBUG_FAKE_IPC_VERSION": "9.9.9"}}, "ip", "-4"); got.err != "" {
		t.Errorf("faked: %+v", got)
	}
}

func TestDown(t *testing.T) {
	d := newFake(t).running()
	if got := d.ginnel("down"); got.code != 0 || got.out+got.err != "" || d.prefs.WantRunning {
		t.Errorf("got %+v", got)
	}
	d.status.BackendState = "Stopped"
	if got := d.ginnel("down"); got.code != 0 || got.err != "Ginnel was already stopped.\n" || len(d.edits) != 1 {
		t.Errorf("again: %+v", got)
	}
}

func TestRisk(t *testing.T) {
	const prompt = "You are connected over Ginnel; this action may result in your SSH session disconnecting.\n" +
		"To skip this warning, use --accept-risk=lose-ssh\nContinue? [y/n] "
	tests := []struct {
		from, answer, flag string
		goes               bool
		err                string
	}{
		{"100.64.0.9 5 22", "y\n", "", true, prompt},
		{"fd7a:115c:a1e0::9 5 22", "YES\n", "", true, prompt},
		{"::ffff:100.64.0.9 5 22", "n\n", "", false, prompt + "\naborted, no changes made\n"},
		{"100.64.0.9 5 22", "", "", false, prompt + "\naborted, no changes made\n"},
		{"100.64.0.9 5 22", "", "--accept-risk=lose-ssh", true, ""},
		{"100.64.0.9 5 22", "", "--accept-risk=all", true, ""},
		{"100.64.0.9 5 22", "", "--accept-risk=mac-app-connector", false, prompt + "\naborted, no changes made\n"},
		{"192.0.2.1 5 22", "", "", true, ""},
		{"nonsense", "", "", true, ""},
		{"", "", "", true, ""},
	}
	for _, tt := range tests {
		d := newFake(t).running()
		args := append([]string{"down"}, strings.Fields(tt.flag)...)
		got := d.ginnelIn(runOptions{stdin: tt.answer, env: map[string]string{"SSH_CLIENT": tt.from}}, args...)
		if d.prefs.WantRunning == tt.goes || got.err != tt.err || (got.code == 0) != tt.goes {
			t.Errorf("%+v: %+v", tt, got)
		}
	}
}

func TestLogout(t *testing.T) {
	d := newFake(t).running()
	if got := d.ginnel("logout", "--reason", "sold"); got.code != 0 || got.out+got.err != "" || !d.called("POST logout") {
		t.Errorf("got %+v, requests %q", got, d.calls)
	}
}

func TestHostnameIsChecked(t *testing.T) {
	long := strings.Repeat("a", 63)
	for name, want := range map[string]string{
		"fig": "", "": "", "Fig-2.example": "", "fig.": "", long: "", "4": "",
		"büro": `"büro" is not a valid DNS label`, "con\nnewline": "not a valid DNS label", "\x1b[31m": `"\x1b[31m" is not a valid DNS label`, "a b": "not a valid",
		"a_b": "not a valid", "-a": "not a valid", "a-": "not a valid", "a..b": "not a valid", ".": "not a valid",
		long + "a": "at most 63", strings.Repeat("a.", 150): "at most 253",
	} {
		for _, args := range [][]string{{"set"}, {"up"}} {
			d := newFake(t).running()
			got := d.ginnel(append(args, "--hostname="+name)...)
			if (got.code != 0) != (want != "") || !strings.Contains(got.err, want) || want != "" && len(d.edits)+len(d.starts) != 0 {
				t.Errorf("%s --hostname=%q: %+v, edits %q", args[0], name, got, d.edits)
			}
		}
	}
}

func TestSetAndGet(t *testing.T) {
	d := newFake(t).running()
	got := d.ginnel("set", "--hostname=x", "--accept-routes", "--nickname", "n")
	want := `{"RouteAll":true,"RouteAllSet":true,"Hostname":"x","HostnameSet":true,"ProfileName":"n","ProfileNameSet":true}`
	if got.code != 0 || got.out+got.err != "" || len(d.edits) != 1 || d.edits[0] != want {
		t.Errorf("got %+v, edits %q", got, d.edits)
	}
	if got := d.ginnel("get", "hostname"); got.code != 0 || got.out != "x\n" {
		t.Errorf("get hostname: %+v", got)
	}
	if got := d.ginnel("get", "hostnme"); got.code != 1 || got.err != "unknown setting \"hostnme\"\nDid you mean \"hostname\"?\n" {
		t.Errorf("get hostnme: %+v", got)
	}
	if got := d.ginnel("get"); got.code != 0 || !strings.HasPrefix(got.out, "NAME                        VALUE\naccept-dns                  true\naccept-routes               true\n") {
		t.Errorf("get: %+v", got)
	}
	var values map[string]any
	if got := d.ginnel("get", "--json", "all"); json.Unmarshal([]byte(got.out), &values) != nil || values["hostname"] != "x" || values["accept-routes"] != true || len(values) != len(prefFlags()) {
		t.Errorf("get --json: %+v", got)
	}
	words := d.ginnel("get", "--set-flags")
	if got := d.ginnel(append([]string{"set"}, strings.Fields(words.out)...)...); got.code != 0 || d.prefs.Hostname != "x" || !d.prefs.RouteAll {
		t.Errorf("set with the words of get: %+v", got)
	}
	if got := d.ginnel("get", "--json", "--set-flags"); got.code != 1 {
		t.Errorf("both forms: %+v", got)
	}
	d.refusal = "Cannot do that."
	if got := d.ginnel("set", "--hostname=y"); got.code != 1 || got.err != "Cannot do that.\n" || d.prefs.Hostname != "x" {
		t.Errorf("refused: %+v", got)
	}
}

func TestSetRisk(t *testing.T) {
	d := newFake(t).running()
	env := runOptions{env: map[string]string{"SSH_CLIENT": "100.64.0.9 5 22"}}
	if got := d.ginnelIn(env, "set", "--shields-up"); got.code != 1 || d.prefs.ShieldsUp {
		t.Errorf("got %+v", got)
	}
	if got := d.ginnelIn(env, "set", "--hostname=x"); got.code != 0 {
		t.Errorf("harmless: %+v", got)
	}
}

func TestIP(t *testing.T) {
	d := newFake(t).running()
	d.status.TailscaleIPs = addrs("fd7a:115c:a1e0::1", "100.64.0.1")
	tests := []struct {
		args, out, err string
	}{
		{"", "100.64.0.1\nfd7a:115c:a1e0::1\n", ""},
		{"-1", "100.64.0.1\n", ""},
		{"-4", "100.64.0.1\n", ""},
		{"-6", "fd7a:115c:a1e0::1\n", ""},
		{"-4 -6", "", "ginnel ip: -1, -4, and -6 are mutually exclusive\nSee 'ginnel ip --help'.\n"},
		{"apple", "100.64.0.2\nfd7a:115c:a1e0::2\n", ""},
		{"birch -6", "", "no Ginnel IPv6 address\n"},
		{"100.64.0.3", "100.64.0.3\n", ""},
		{"berch", "", "no node in the network is called \"berch\"\nDid you mean \"birch\"?\n"},
		{"a b", "", "ginnel ip: unexpected argument: b\nSee 'ginnel ip --help'.\n"},
		{"--assert 100.64.0.1", "", ""},
		{"--assert 100.64.0.2", "", "assertion failed: IP 100.64.0.2 not found among [fd7a:115c:a1e0::1 100.64.0.1]\n"},
		{"--assert x", "", "ginnel ip: --assert: \"x\" is not an IP address\nSee 'ginnel ip --help'.\n"},
	}
	for _, tt := range tests {
		got := d.ginnel(append([]string{"ip"}, strings.Fields(tt.args)...)...)
		if got.out != tt.out || got.err != tt.err || (got.code == 0) != (tt.err == "") {
			t.Errorf("ip %s: %+v", tt.args, got)
		}
	}
	if got := newFake(t).ginnel("ip"); got.code != 1 || got.err != "no current Ginnel IPs; state: NeedsLogin\n" {
		t.Errorf("logged out: %+v", got)
	}
}

const whoisAnswer = `{"Node":{"ID":2,"StableID":"napple","Name":"apple.net.example.","User":1,"Key":"nodekey:0000000000000000000000000000000000000000000000000000000000000002",
"Addresses":["100.64.0.2/32"],"AllowedIPs":["100.64.0.2/32","10.0.0.0/8"]%s},
"UserProfile":{"ID":1,"LoginName":"ann@example.com","DisplayName":"Ann"},"CapMap":{"example.com/cap/b":null,"example.com/cap/a":[{"x":1}]}}`

func TestWhoIs(t *testing.T) {
	d := newFake(t).running()
	d.answers["whois?addr=100.64.0.2"] = strings.Replace(whoisAnswer, "%s", "", 1)
	d.answers["whois?addr=100.64.0.2%3A80&proto=tcp"] = strings.Replace(whoisAnswer, "%s", `,"Tags":["tag:x"]`, 1)
	d.answers["whois?addr="+strings.ReplaceAll(nodeKey(2).String(), ":", "%3A")] = d.answers["whois?addr=100.64.0.2"]
	caps := "Capabilities:\n  - example.com/cap/a:\n    [\n      {\n        \"x\": 1\n      }\n    ]\n  - example.com/cap/b\n"
	machine := "Machine:\n  Name:            apple.net.example\n  ID:              napple\n  Addresses:       [100.64.0.2/32]\n  AllowedIPs:      [10.0.0.0/8]\n"
	user := "User:\n  Name:            ann@example.com\n  ID:              1\n"
	if got := d.ginnel("whois", "100.64.0.2"); got.code != 0 || got.out != machine+user+caps {
		t.Errorf("got %+v", got)
	}
	if got := d.ginnel("whois", "apple"); got.code != 0 || got.out != machine+user+caps {
		t.Errorf("by name: %+v", got)
	}
	if got := d.ginnel("whois", "--proto=tcp", "100.64.0.2:80"); got.code != 0 || got.out != machine+"  Tags:            tag:x\n"+caps {
		t.Errorf("tagged: %+v", got)
	}
	var who api.WhoIsResponse
	if got := d.ginnel("whois", "--json", "100.64.0.2"); json.Unmarshal([]byte(got.out), &who) != nil || who.Node.StableID != "napple" {
		t.Errorf("JSON: %+v", got)
	}
	for args, want := range map[string]string{"100.64.0.9": "peer not found\n", "--proto=icmp 1.2.3.4": "ginnel whois: invalid value --proto=\"icmp\"; must be tcp or udp\nSee 'ginnel whois --help'.\n"} {
		if got := d.ginnel(append([]string{"whois"}, strings.Fields(args)...)...); got.code != 1 || got.err != want {
			t.Errorf("whois %s: %+v", args, got)
		}
	}
}

func TestWhoAmI(t *testing.T) {
	d := newFake(t).running()
	d.answers["whois?addr=100.64.0.1"] = `{"Node":{"StableID":"nself","Name":"fig.net.example.","Addresses":["100.64.0.1/32"]},"UserProfile":{"ID":1,"LoginName":"ann@example.com"}}`
	want := "Machine:\n  Name:            fig.net.example\n  ID:              nself\n  Addresses:       [100.64.0.1/32]\n" +
		"User:\n  Name:            ann@example.com\n  ID:              1\nTailnet:\n  Name:            example\n  MagicDNS Suffix: net.example\n"
	if got := d.ginnel("whoami"); got.code != 0 || got.out != want {
		t.Errorf("got %+v", got)
	}
	if got := newFake(t).ginnel("whoami"); got.code != 1 || !strings.HasPrefix(got.err, "no current Ginnel IPs") {
		t.Errorf("logged out: %+v", got)
	}
}

func TestWait(t *testing.T) {
	if got := newFake(t).running().ginnel("wait"); got.code != 0 || got.out+got.err != "" {
		t.Errorf("when up: %+v", got)
	}
	if got := newFake(t).ginnel("wait", "--timeout=20ms"); got.code != 1 || !strings.HasPrefix(got.err, "timeout after 20ms waiting") {
		t.Errorf("when down: %+v", got)
	}
	d := newFake(t).running()
	d.status.TUN, d.status.TailscaleIPs = true, addrs("100.127.255.254")
	if got := d.ginnel("wait", "--timeout=300ms"); got.code != 1 || !strings.HasPrefix(got.err, "timeout after 300ms waiting") {
		t.Errorf("without the address: %+v", got)
	}
	d.status.TailscaleIPs = addrs("127.0.0.1")
	if got := d.ginnel("wait", "--timeout=10s"); got.code != 0 {
		t.Errorf("with the address: %+v", got)
	}
}

func TestVersion(t *testing.T) {
	d := newFake(t)
	for _, args := range []string{"version", "--version", "-V"} {
		if got := d.ginnel(args); got.code != 0 || !strings.HasPrefix(got.out, version.Short()+"\n") || !strings.Contains(got.out, "  go version: go1.") {
			t.Errorf("%s: %+v", args, got)
		}
	}
	if got := d.ginnel("version", "--daemon"); got.code != 0 || got.out != "Client: "+version.Long()+"\nDaemon: "+version.Long()+"\n" {
		t.Errorf("--daemon: %+v", got)
	}
	var v map[string]any
	got := d.ginnel("version", "--json", "--daemon")
	if err := json.Unmarshal([]byte(got.out), &v); err != nil || v["short"] != version.Short() || v["daemonLong"] != version.Long() ||
		v["cap"] != float64(control.CurrentCapabilityVersion) || v["majorMinorPatch"] == "" {
		t.Errorf("--json: %v, %+v", err, got)
	}
}

func TestMetrics(t *testing.T) {
	d := newFake(t).running()
	d.answers["usermetrics"], d.answers["metrics"] = "a 1\n", "b 2\n"
	for _, args := range []string{"metrics", "metrics print"} {
		if got := d.ginnel(strings.Fields(args)...); got.code != 0 || got.out != "a 1\n" {
			t.Errorf("%s: %+v", args, got)
		}
	}
	if got := d.ginnel("debug", "metrics"); got.out != "b 2\n" {
		t.Errorf("debug metrics: %+v", got)
	}
	path := filepath.Join(t.TempDir(), "out.prom")
	if got := d.ginnel("metrics", "write", path); got.code != 0 || got.out != "" {
		t.Errorf("write: %+v", got)
	}
	info, err := os.Stat(path)
	if data, _ := os.ReadFile(path); err != nil || string(data) != "a 1\n" || info.Mode() != 0o644 {
		t.Errorf("wrote %q, %v, %v", data, info, err)
	}
	if got := d.ginnel("metrics", "write", path+"/x"); got.code != 1 || !strings.HasPrefix(got.err, "write metrics: ") {
		t.Errorf("bad path: %+v", got)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestCompletion(t *testing.T) {
	d := newFake(t).running()
	for words, want := range map[string]string{
		"st":                "status\tShow the state of ginneld and its peers",
		"ping ":             "apple\t100.64.0.2 birch\t100.64.0.3",
		"ping a":            "apple\t100.64.0.2",
		"up --ac":           "--accept-dns --accept-risk --accept-routes",
		"set --exit-node ":  "apple\t100.64.0.2 auto:any",
		"up --qr-format=a":  "--qr-format=auto --qr-format=ascii",
		"debug pa":          "paths path",
		"get shi":           "shields-up",
		"completion ":       "bash fish powershell zsh",
		"completion __comp": "",
		"up --authk":        "",
	} {
		args := append([]string{"completion", "__complete", "--"}, strings.Split(words, " ")...)
		got := d.ginnel(args...)
		var values []string
		for line := range strings.Lines(got.out) {
			value := strings.TrimSuffix(line, "\n")
			if !strings.Contains(want, "\t") {
				value, _, _ = strings.Cut(value, "\t")
			}
			values = append(values, value)
		}
		if strings.Join(values, " ") != want || got.code != 0 || got.err != "" {
			t.Errorf("%q: %+v, want %q", words, got, want)
		}
	}
	if got := d.ginnel("completion", "__complete", "--flags=false", "--descs=false", "--", "up", "--"); got.out != "" {
		t.Errorf("flags were not left out: %+v", got)
	}
	d.socket += ".absent"
	if got := d.ginnel("completion", "__complete", "--", "ping", ""); got.code != 0 || got.err != "" || strings.Contains(got.out, "apple") {
		t.Errorf("without a daemon: %+v", got)
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if got := d.ginnel("completion", shell, "--descs=false"); got.code != 0 || len(got.out) < 200 {
			t.Errorf("%s: %+v", shell, got)
		}
	}
	if got := d.ginnel("completion", "--descs=false", "bash"); !strings.Contains(got.out, "completion __complete --flags=true --descs=false --") {
		t.Errorf("bash: %s", got.out)
	}
}

func TestEveryCommandHasHelp(t *testing.T) {
	a := &app{getenv: func(string) string { return "" }}
	root := a.commands()
	var names []string
	for _, c := range root.Subcommands {
		names = append(names, c.Name)
		if c.ShortHelp == "" || !strings.HasPrefix(c.ShortUsage, "ginnel "+c.Name) {
			t.Errorf("%s: help %q, usage %q", c.Name, c.ShortHelp, c.ShortUsage)
		}
	}
	if slices.Sort(names); len(slices.Compact(names)) != len(root.Subcommands) {
		t.Errorf("a command is there twice: %q", names)
	}
}
