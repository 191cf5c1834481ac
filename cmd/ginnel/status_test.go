package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/wire/control"
)

func TestStatus(t *testing.T) {
	d := newFake(t).running()
	const self = "100.64.0.1  fig    ann@            linux  -\n"
	const apple = "100.64.0.2  apple  ann@            linux  idle; offers exit node\n"
	const birch = "100.64.0.3  birch  tagged-devices  macOS  active; direct 192.0.2.3:41641, tx 10 rx 20\n"
	tests := []struct{ flags, want string }{
		{"", self + apple + birch},
		{"--self=false", apple + birch},
		{"--active", self + birch},
		{"--peers=false", "100.64.0.1  fig  ann@  linux  -\n"},
		{"--header", "" +
			"IP          Hostname  Owner           OS     Status\n" +
			"--          --------  -----           --     ------\n" +
			"100.64.0.1  fig       ann@            linux  -\n" +
			"100.64.0.2  apple     ann@            linux  idle; offers exit node\n" +
			"100.64.0.3  birch     tagged-devices  macOS  active; direct 192.0.2.3:41641, tx 10 rx 20\n"},
	}
	for _, tt := range tests {
		got := d.ginnel(append([]string{"status"}, strings.Fields(tt.flags)...)...)
		if got.code != 0 || got.out != tt.want || got.err != "" {
			t.Errorf("status %s: %+v, want\n%s", tt.flags, got, tt.want)
		}
	}
	d.status.Health = []string{"one", "two\nlines"}
	if got := d.ginnel("status", "--peers=false"); !strings.HasSuffix(got.out, "-\n\n# Health check:\n#     - one\n#     - two\n#       lines\n") {
		t.Errorf("health: %q", got.out)
	}
}

func TestStatusWhenNotUp(t *testing.T) {
	d := newFake(t)
	tests := []struct {
		state, authURL, health, want string
	}{
		{"Stopped", "", "Ginnel is stopped.", "Ginnel is stopped.\n"},
		{"NeedsLogin", "", loggedOutText, "Logged out.\n"},
		{"NeedsLogin", "https://x/y", "", "Logged out.\nLog in at: https://x/y\n"},
		{"NeedsLogin", "", "bad key", "Logged out.\n\n# Health check:\n#     - bad key\n"},
		{"NeedsMachineAuth", "", "", "Machine is not yet approved by tailnet admin.\n"},
		{"NoState", "", "", "unexpected state: NoState\n"},
	}
	for _, tt := range tests {
		d.status.BackendState, d.status.AuthURL, d.status.Health = tt.state, tt.authURL, nil
		if tt.health != "" {
			d.status.Health = []string{tt.health}
		}
		if got := d.ginnel("status"); got.code != 1 || got.out != tt.want || got.err != "" {
			t.Errorf("%s: %+v, want %q", tt.state, got, tt.want)
		}
		if got := d.ginnel("status", "--json"); got.code != 0 {
			t.Errorf("%s with --json: code %d", tt.state, got.code)
		}
		d.status.Health = nil
		if got := d.ginnel("ping", "x"); got.code != 1 || !strings.HasPrefix(tt.want, got.out) || got.err != "" {
			t.Errorf("ping when %s: %+v", tt.state, got)
		}
	}
}

func TestStatusJSON(t *testing.T) {
	d := newFake(t).running()
	got := d.ginnel("status", "--json")
	var st api.Status
	if err := json.Unmarshal([]byte(got.out), &st); err != nil || got.code != 0 || len(st.Peer) != 2 || st.Self.ID != "nself" {
		t.Errorf("%v: %+v", err, got)
	}
	if !strings.HasPrefix(got.out, "{\n  \"Version\": ") {
		t.Errorf("not indented by two: %.40q", got.out)
	}
	got = d.ginnel("status", "--json", "--active", "--self=false")
	st = api.Status{}
	if err := json.Unmarshal([]byte(got.out), &st); err != nil || len(st.Peer) != 1 || st.Self != nil {
		t.Errorf("filtered: %v, %s", err, got.out)
	}
	got = d.ginnel("status", "--json", "--peers=false")
	if !strings.Contains(got.out, `"Peer": null`) || !d.called("GET status?peers=false") {
		t.Errorf("without peers: %s", got.out)
	}
}

func TestStatusCell(t *testing.T) {
	now := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	tests := []struct {
		peer api.PeerStatus
		want string
	}{
		{api.PeerStatus{Online: true}, "-"},
		{api.PeerStatus{}, "offline"},
		{api.PeerStatus{LastSeen: now.Add(-90 * time.Minute)}, "offline, last seen 1h ago"},
		{api.PeerStatus{Online: true, RxBytes: 1}, "idle, tx 0 rx 1"},
		{api.PeerStatus{Online: true, LastHandshake: now}, "idle"},
		{api.PeerStatus{Online: true, ExitNode: true, ExitNodeOption: true}, "idle; exit node"},
		{api.PeerStatus{ExitNodeOption: true, LastSeen: now.Add(-time.Minute)}, "idle; offers exit node; offline, last seen 1m ago"},
		{api.PeerStatus{Online: true, Active: true, Relay: "fra", TxBytes: 5}, `active; relay "fra", tx 5 rx 0`},
		{api.PeerStatus{Online: true, Active: true, Relay: "fra", CurAddr: "[::1]:2"}, "active; direct [::1]:2"},
		{api.PeerStatus{Online: true, Active: true, Relay: "fra", PeerRelay: "1.2.3.4:5:vni:6"}, "active; peer-relay 1.2.3.4:5:vni:6"},
		{api.PeerStatus{Online: true, Active: true, ExitNode: true, CurAddr: "1.2.3.4:5"}, "active; exit node; direct 1.2.3.4:5"},
		{api.PeerStatus{Active: true, Relay: "fra"}, `active; relay "fra"; offline`},
		{api.PeerStatus{Online: true, Active: true}, "active; no path yet"},
	}
	for _, tt := range tests {
		if got := statusCell(&tt.peer, now); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.peer, got, tt.want)
		}
	}
	for d, want := range map[time.Duration]string{-time.Second: "0s", 59 * time.Second: "59s", time.Hour - 1: "59m", 47 * time.Hour: "47h", 49 * time.Hour: "2d"} {
		if got := ago(d); got != want {
			t.Errorf("ago(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestStatusNames(t *testing.T) {
	st := &api.Status{MagicDNSSuffix: "net.example", User: map[control.UserID]control.UserProfile{1: {LoginName: "ann@example.com"}, 2: {LoginName: "bob"}}}
	for _, tt := range []struct {
		peer        api.PeerStatus
		name, owner string
	}{
		{api.PeerStatus{DNSName: "a.net.example.", UserID: 1}, "a", "ann@"},
		{api.PeerStatus{DNSName: "a.other.example.", UserID: 2}, "a.other.example", "bob"},
		{api.PeerStatus{DNSName: "xn--bcher-kva.net.example.", UserID: 9}, "xn--bcher-kva (bücher)", "9"},
		{api.PeerStatus{HostName: "My Phone"}, `("my-phone")`, "-"},
	} {
		if name, who := displayName(&tt.peer, st), owner(&tt.peer, st); name != tt.name || who != tt.owner {
			t.Errorf("%+v: %q of %q, want %q of %q", tt.peer, name, who, tt.name, tt.owner)
		}
	}
}

func TestStatusHidesPeers(t *testing.T) {
	d := newFake(t).running()
	d.status.Peer[nodeKey(2)].ShareeNode = true
	d.status.Peer[nodeKey(3)].Location, d.status.Peer[nodeKey(3)].ExitNodeOption = &control.Location{Country: "x"}, true
	got := d.ginnel("status", "--self=false")
	if got.out != "\n# Exit nodes with a location are not listed above.\n" {
		t.Errorf("got %q", got.out)
	}
}
