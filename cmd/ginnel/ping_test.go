package main

import (
	"strings"
	"testing"

	"github.com/ginnel/ginnel/node/local/api"
)

func TestPing(t *testing.T) {
	relayed := api.PingResult{IP: "100.64.0.2", NodeIP: "100.64.0.2", NodeName: "apple.", LatencySeconds: 0.012345, DERPRegionID: 1, DERPRegionCode: "fra"}
	direct := api.PingResult{IP: "100.64.0.2", NodeIP: "100.64.0.2", NodeName: "apple", LatencySeconds: 0.0012345, Endpoint: "192.0.2.1:41641"}
	viaPeer := api.PingResult{NodeIP: "100.64.0.2", NodeName: "apple", LatencySeconds: 1.5, PeerRelay: "192.0.2.1:7:vni:1", PeerAPIPort: 80}
	numbered := api.PingResult{NodeIP: "100.64.0.2", NodeName: "apple", DERPRegionID: 9}
	const relayLine = "pong from apple (100.64.0.2) via DERP(fra) in 12ms\n"
	const directLine = "pong from apple (100.64.0.2) via 192.0.2.1:41641 in 1.23ms\n"
	tests := []struct {
		args     string
		answers  []api.PingResult
		code     int
		out, err string
		pauses   int
	}{
		{"apple", []api.PingResult{relayed, relayed, direct, direct}, 0, relayLine + relayLine + directLine, "", 2},
		{"100.64.0.2", []api.PingResult{direct}, 0, directLine, "", 0},
		{"apple.net.example", []api.PingResult{direct}, 0, directLine, "", 0},
		{"APPLE --verbose", []api.PingResult{direct}, 0, "lookup \"APPLE\" => \"100.64.0.2\"\n" + directLine, "", 0},
		{"-c 2 apple", []api.PingResult{relayed, relayed, relayed}, 1, relayLine + relayLine, "direct connection not established\n", 1},
		{"-c 2 --until-direct=false apple", []api.PingResult{relayed, direct, direct}, 0, relayLine + directLine, "", 1},
		{"-c 1 apple", []api.PingResult{viaPeer}, 1, "pong from apple (100.64.0.2, 80) via peer-relay(192.0.2.1:7:vni:1) in 1.5s\n", "direct connection not established\n", 0},
		{"-c 1 apple", []api.PingResult{numbered}, 1, "pong from apple (100.64.0.2) via DERP(9) in 0s\n", "direct connection not established\n", 0},
		{"-c 2 --timeout 20ms apple", nil, 1, strings.Repeat("ping \"100.64.0.2\" timed out\n", 2), "no reply\n", 1},
		{"--tsmp apple", []api.PingResult{direct, direct}, 0, strings.Replace(directLine, "192.0.2.1:41641", "TSMP", 1), "", 0},
		{"--icmp -c 3 apple", []api.PingResult{direct, direct}, 0, strings.Replace(directLine, "192.0.2.1:41641", "ICMP", 1), "", 0},
		{"apple", []api.PingResult{{Err: "no peer has it"}}, 1, "", "no peer has it\n", 0},
		{"apple", []api.PingResult{{IsLocalIP: true, Err: "is local"}}, 0, "is local\n", "", 0},
		{"fig", nil, 0, "100.64.0.1 is local Ginnel IP\n", "", 0},
		{"aple", nil, 1, "", "no node in the network is called \"aple\"\nDid you mean \"apple\"?\n", 3},
		{"--timeout 400ms 100.64.0.77", nil, 1, "", "no node in the network has the IP 100.64.0.77\n", 2},
		{"", nil, 1, "", "missing argument: the hostname or IP of a peer", 0},
		{"--icmp --tsmp apple", nil, 1, "", "--icmp and --tsmp cannot be used together", 0},
		{"--icmp --size 10 apple", nil, 1, "", "--size is for disco pings only", 0},
		{"-c=-1 apple", nil, 1, "", "-c=-1 is negative", 0},
	}
	for _, tt := range tests {
		d := newFake(t).running()
		d.pings = tt.answers
		if tt.err != "" && !strings.HasSuffix(tt.err, "\n") { // of the command line
			tt.err = "ginnel ping: " + tt.err + "\nSee 'ginnel ping --help'.\n"
		}
		got := d.ginnel(append([]string{"ping"}, strings.Fields(tt.args)...)...)
		if got.code != tt.code || got.out != tt.out || got.err != tt.err || len(got.pauses) != tt.pauses {
			t.Errorf("ping %s: %+v\nwant %+v", tt.args, got, tt)
		}
	}
}

func TestPingAsksFor(t *testing.T) {
	d := newFake(t).running()
	d.pings = []api.PingResult{{Endpoint: "x"}, {Endpoint: "x"}, {}}
	d.ginnel("ping", "apple")
	d.ginnel("ping", "--size=1000", "apple")
	d.ginnel("ping", "--tsmp", "fd7a:115c:a1e0::2")
	for _, call := range []string{"POST ping?ip=100.64.0.2&type=disco", "POST ping?ip=100.64.0.2&size=1000&type=disco", "POST ping?ip=fd7a%3A115c%3Aa1e0%3A%3A2&type=TSMP"} {
		if !d.called(call) {
			t.Errorf("no %q among %q", call, d.calls)
		}
	}
}

// TestPingAwaitsPeer has the peer join when it is already being looked for: for long
// where the daemon is not connected to the server, and cannot know it yet.
func TestPingAwaitsPeer(t *testing.T) {
	for _, connected := range []bool{true, false} {
		for _, name := range []string{"apple", "100.64.0.2"} {
			d := newFake(t).running()
			d.status.Self.Online = connected
			d.pings = []api.PingResult{{NodeIP: "100.64.0.2", NodeName: "apple", Endpoint: "192.0.2.1:1"}}
			apple := d.status.Peer[nodeKey(2)]
			delete(d.status.Peer, nodeKey(2))
			looks := 2
			if !connected {
				looks = 20
			}
			left := looks
			d.onPause = func() {
				if left--; left == 0 {
					d.status.Peer[nodeKey(2)] = apple
				}
			}
			if got := d.ginnel("ping", name); got.code != 0 || !strings.HasPrefix(got.out, "pong from apple") || len(got.pauses) != looks {
				t.Errorf("connected %v, ping %s: %+v", connected, name, got)
			}
		}
	}
}

func TestPingSaysThatTheMapMayBeOld(t *testing.T) {
	d := newFake(t).running()
	d.status.Self.Online = false
	if got := d.ginnel("ping", "plum"); got.code != 1 || !strings.Contains(got.err, "no connection to the server") || len(got.pauses) != 25 {
		t.Errorf("got %+v", got)
	}
}
