package main

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/wire/control"
)

// setPref applies one flag's text to preferences.
func setPref(t *testing.T, p *api.Prefs, st *api.Status, name, text string) error {
	t.Helper()
	table := prefFlags()
	f, err := findPref(table, name)
	if err != nil {
		t.Fatal(err)
	}
	return f.set(p, text, &flagEnv{status: func() (*api.Status, error) { return st, nil }})
}

func TestPrefFlags(t *testing.T) {
	prefixes := func(texts ...string) []netip.Prefix {
		var out []netip.Prefix
		for _, text := range texts {
			out = append(out, netip.MustParsePrefix(text))
		}
		return out
	}
	both := prefixes("0.0.0.0/0", "::/0")
	tests := []struct {
		name, text string
		before     api.Prefs
		want       api.Prefs
		err        string
		shown      string // by get, if not the text
	}{
		{"advertise-routes", "10.0.0.0/8, fd00::/64,10.0.0.0/8", api.Prefs{}, api.Prefs{AdvertiseRoutes: prefixes("10.0.0.0/8", "fd00::/64")}, "", "10.0.0.0/8,fd00::/64"},
		{"advertise-routes", "", api.Prefs{AdvertiseRoutes: append(prefixes("10.0.0.0/8"), both...)}, api.Prefs{AdvertiseRoutes: both}, "", ""},
		{"advertise-routes", "10.1.0.0/8", api.Prefs{}, api.Prefs{}, "10.1.0.0/8 has non-address bits set; expected 10.0.0.0/8", ""},
		{"advertise-routes", "10.0.0.0", api.Prefs{}, api.Prefs{}, `"10.0.0.0" is not a valid IP address or CIDR prefix`, ""},
		{"advertise-routes", "0.0.0.0/0", api.Prefs{}, api.Prefs{}, "did you mean --advertise-exit-node?", ""},
		{"advertise-routes", "fd7a:115c:a1e0:b1a::/64", api.Prefs{}, api.Prefs{}, "at least a /96", ""},
		{"advertise-routes", "fd7a:115c:a1e0:b1a:1:7:a00:0/104", api.Prefs{}, api.Prefs{}, "site number over 65535", ""},
		{"advertise-routes", "fd7a:115c:a1e0:b1a:0:7:a00:0/104", api.Prefs{}, api.Prefs{AdvertiseRoutes: prefixes("fd7a:115c:a1e0:b1a:0:7:a00:0/104")}, "", ""},
		{"advertise-exit-node", "true", api.Prefs{AdvertiseRoutes: prefixes("10.0.0.0/8")}, api.Prefs{AdvertiseRoutes: append(prefixes("10.0.0.0/8"), both...)}, "", ""},
		{"advertise-exit-node", "false", api.Prefs{AdvertiseRoutes: append(prefixes("10.0.0.0/8"), both...)}, api.Prefs{AdvertiseRoutes: prefixes("10.0.0.0/8")}, "", ""},
		{"advertise-tags", "eng,tag:b-2", api.Prefs{}, api.Prefs{AdvertiseTags: []string{"tag:eng", "tag:b-2"}}, "", "tag:eng,tag:b-2"},
		{"advertise-tags", "", api.Prefs{AdvertiseTags: []string{"tag:x"}}, api.Prefs{}, "", ""},
		{"advertise-tags", "2x", api.Prefs{}, api.Prefs{}, "tag names start with a letter", ""},
		{"advertise-tags", "tag:", api.Prefs{}, api.Prefs{}, "tag names start with a letter", ""},
		{"netfilter-mode", "nodivert", api.Prefs{}, api.Prefs{NetfilterMode: api.NetfilterNoDivert}, "", ""},
		{"netfilter-mode", "maybe", api.Prefs{}, api.Prefs{}, "must be on, nodivert or off", ""},
		{"snat-subnet-routes", "false", api.Prefs{}, api.Prefs{NoSNAT: true}, "", ""},
		{"stateful-filtering", "true", api.Prefs{}, api.Prefs{NoStatefulFiltering: control.False}, "", ""},
		{"accept-dns", "true", api.Prefs{}, api.Prefs{CorpDNS: true}, "", ""},
		{"exit-node", "", api.Prefs{ExitNodeID: "n", ExitNodeIP: netip.MustParseAddr("1.2.3.4"), AutoExitNode: "any"}, api.Prefs{}, "", ""},
		{"exit-node", "auto:best", api.Prefs{}, api.Prefs{AutoExitNode: "any"}, "", "auto:any"},
	}
	for _, tt := range tests {
		p := tt.before
		err := setPref(t, &p, nil, tt.name, tt.text)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("--%s=%s: %v, want %q", tt.name, tt.text, err, tt.err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(p, tt.want) {
			t.Errorf("--%s=%s: %v, %+v, want %+v", tt.name, tt.text, err, p, tt.want)
		}
		shown := tt.shown
		if shown == "" {
			shown = tt.text
		}
		f, _ := findPref(prefFlags(), tt.name)
		if got := f.get(&p); got != shown {
			t.Errorf("--%s=%s is shown as %q, want %q", tt.name, tt.text, got, shown)
		}
	}
}

func TestExitNode(t *testing.T) {
	st := newFake(t).running().status
	st.Peer[nodeKey(4)] = &api.PeerStatus{ID: "nother", PublicKey: nodeKey(4), DNSName: "apple.other.example.", TailscaleIPs: addrs("100.64.0.4"), ExitNodeOption: true}
	for _, tt := range []struct{ state, text, id, ip, err string }{
		{"Running", "apple", "napple", "", ""},
		{"Running", "APPLE.net.example.", "napple", "", ""},
		{"Running", "100.64.0.2", "napple", "", ""},
		{"Running", "napple", "napple", "", ""},
		{"Running", "birch", "", "", "node birch is not advertising an exit node"},
		{"Running", "100.64.0.77", "", "", "no node found in netmap with IP 100.64.0.77"},
		{"Running", "plum", "", "", `invalid value "plum" for --exit-node; must be IP or peer hostname`},
		{"Running", "100.64.0.1", "", "", "cannot use 100.64.0.1 as an exit node as it is a local IP address to this machine"},
		{"Stopped", "100.64.0.9", "", "100.64.0.9", ""},
		{"Stopped", "apple", "", "", `cannot look up exit node "apple" while not running; use its IP address`},
	} {
		st.BackendState = tt.state
		var p api.Prefs
		err := setPref(t, &p, st, "exit-node", tt.text)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if text != tt.err || string(p.ExitNodeID) != tt.id || tt.ip != "" && p.ExitNodeIP.String() != tt.ip {
			t.Errorf("%+v: %v, %+v", tt, err, p)
		}
	}
	st.BackendState, st.MagicDNSSuffix, st.CurrentTailnet = "Running", "", nil
	st.Peer[nodeKey(4)].DNSName = "apple.net.example."
	if err := setPref(t, &api.Prefs{}, st, "exit-node", "apple.net.example"); err == nil || err.Error() != `ambiguous exit node name "apple.net.example"` {
		t.Errorf("ambiguous: %v", err)
	}
}

// TestTableFields fails for a flag whose fields are no preferences.
func TestTableFields(t *testing.T) {
	for _, f := range prefFlags() {
		p := api.NewPrefs()
		m := mask(p, []prefFlag{f})
		if got := len(m.SetFields()); got != len(f.fields) {
			t.Errorf("--%s flags %d fields, not %q", f.name, got, f.fields)
		}
		if f.get(p) != f.get(p.Clone()) || f.usage == "" {
			t.Errorf("--%s has no usage", f.name)
		}
	}
}

func TestIdleFlagsWarn(t *testing.T) {
	d := newFake(t).running()
	got := d.ginnel("set", "--accept-dns", "--snat-subnet-routes=false", "--netfilter-mode=on", "--stateful-filtering=false", "--accept-routes")
	want := "Warning: --accept-dns=true is saved, but this version does not change the host's DNS yet.\n" +
		"Warning: --netfilter-mode=on is saved, but this version leaves the host's firewall alone.\n" +
		"Warning: --snat-subnet-routes=false is saved, but this version does not route for others yet.\n"
	if got.code != 0 || got.err != want {
		t.Errorf("got %+v", got)
	}
}
