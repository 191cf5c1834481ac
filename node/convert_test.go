package node

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/node/netmap"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

func mapOf(t *testing.T, peers ...*control.Node) *netmap.Map {
	t.Helper()
	me := self(key.NewNode().Public())
	me.Addresses = append(me.Addresses, netip.MustParsePrefix("fd7a:115c:a1e0::1/128"))
	var b netmap.Builder
	m, _, err := b.Apply(&control.MapResponse{Node: me, Peers: peers}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func prefixes(list ...string) []netip.Prefix {
	out := []netip.Prefix{}
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func texts(list []netip.Prefix) string {
	text, _ := json.Marshal(list)
	return string(text)
}

func TestAllowedIPs(t *testing.T) {
	p := peer(2)
	p.AllowedIPs = prefixes("100.64.0.2/32", "100.64.0.77/32", "10.0.0.0/8", "192.168.7.9/32", "0.0.0.0/0", "::/0", "100.64.0.1/32", "100.100.100.100/32")
	me := self(key.NodePublic{})
	for _, c := range []struct {
		accept bool
		want   []netip.Prefix
	}{
		{false, prefixes("100.64.0.2/32", "100.64.0.77/32")},
		{true, prefixes("100.64.0.2/32", "100.64.0.77/32", "10.0.0.0/8", "192.168.7.9/32")},
	} {
		got := allowedIPs(p, me, &api.Prefs{RouteAll: c.accept})
		if texts(got) != texts(c.want) {
			t.Errorf("accept routes %v: %v, want %v", c.accept, got, c.want)
		}
	}
	p.AllowedIPs = nil
	if got := allowedIPs(p, me, &api.Prefs{}); texts(got) != texts(p.Addresses) {
		t.Errorf("null AllowedIPs: %v", got)
	}
	p.AllowedIPs = prefixes()
	if got := allowedIPs(p, me, &api.Prefs{}); len(got) != 0 {
		t.Errorf("empty AllowedIPs: %v", got)
	}
}

func TestRouteConfig(t *testing.T) {
	lost := peer(3)
	lost.Key, lost.HomeDERP, lost.DiscoKey = key.NewNode().Public(), 0, key.DiscoPublic{}
	lost.Addresses = prefixes("100.64.0.3/32")
	lost.AllowedIPs = prefixes("100.64.0.3/32", "192.168.3.0/24")
	expired := peer(4)
	expired.Key, expired.Expired, expired.Addresses = key.NewNode().Public(), true, prefixes("100.64.0.4/32")
	found := peer(2)
	found.AllowedIPs = prefixes("100.64.0.2/32", "192.168.2.0/24")
	c := planeConfig{Map: mapOf(t, found, lost, expired), Prefs: &api.Prefs{RouteAll: true}, Now: time.Now()}
	got := routeConfig(c, "ginnel0")
	if got.Device != "ginnel0" || got.MTU != 1280 || texts(got.Addrs) != texts(prefixes("100.64.0.1/32", "fd7a:115c:a1e0::1/128")) {
		t.Errorf("config = %+v", got)
	}
	// A peer that cannot be reached yet has its own address routed, but nothing else.
	want := prefixes("100.64.0.2/32", "100.64.0.3/32", "100.100.100.100/32", "192.168.2.0/24", "fd7a:115c:a1e0::53/128")
	if texts(got.Routes) != texts(want) {
		t.Errorf("routes = %v, want %v", got.Routes, want)
	}
	if none := routeConfig(planeConfig{Prefs: &api.Prefs{}}, "ginnel0"); len(none.Addrs)+len(none.Routes) != 0 {
		t.Errorf("without a map: %+v", none)
	}
	peers := pathConfig(c).Peers
	if len(peers) != 2 || peers[1].ID != 3 {
		t.Errorf("paths know %+v, want the peers 2 and 3", peers)
	}
	if tc := tunnelConfig(c); len(tc.Peers) != 2 {
		t.Errorf("tunnel knows %+v", tc.Peers)
	}
}

func TestFilterConfig(t *testing.T) {
	special := peer(2)
	special.CapMap = control.NodeCapMap{"special": nil}
	m := mapOf(t, special)
	got := filterConfig(planeConfig{Map: m, Prefs: &api.Prefs{ShieldsUp: true}})
	if !got.ShieldsUp || len(got.Self) != 2 || texts(got.Local) != texts(m.Self.Addresses) || got.Rules != nil {
		t.Errorf("config = %+v", got)
	}
	if list := got.SourcesWithCap("special"); texts(list) != texts(special.Addresses) {
		t.Errorf("sources = %v", list)
	}
	if list := got.SourcesWithCap("other"); len(list) != 0 {
		t.Errorf("sources of an unknown capability = %v", list)
	}
}

func TestHostinfo(t *testing.T) {
	machine := key.NewMachine().Public()
	f := learnHost(machine)
	h := f.hostinfo("1.2", &api.Prefs{AdvertiseTags: []string{"tag:b", "tag:a", "tag:b"}}, nil, true)
	if h.OS == "" || h.Hostname == "" || h.IPNVersion != "1.2" || len(h.BackendLogID) != 64 || !h.Userspace.OrElse(false) {
		t.Errorf("hostinfo = %+v", h)
	}
	if diff := cmp.Diff([]string{"tag:a", "tag:b"}, h.RequestTags); diff != "" {
		t.Error(diff)
	}
	if again := learnHost(machine); again.logID != f.logID {
		t.Error("the log id changes from start to start")
	}
	if other := learnHost(key.NewMachine().Public()); other.logID == f.logID {
		t.Error("two machines have one log id")
	}
	if h := f.hostinfo("", &api.Prefs{Hostname: "mine"}, nil, false); h.Hostname != "mine" {
		t.Errorf("hostname = %q", h.Hostname)
	}
	got := parseOSRelease("# x\nID=debian\nVERSION_ID=\"12\"\nbroken\n")
	if got["ID"] != "debian" || got["VERSION_ID"] != "12" {
		t.Errorf("os-release = %v", got)
	}
}

func TestMetricsText(t *testing.T) {
	var out stringWriter
	err := writeMetrics(&out, []metric{
		{"b_total", "B.", "counter", map[string]string{"path": "x"}, 2},
		{"a", "A.", "gauge", nil, 1.5},
		{"b_total", "B.", "counter", map[string]string{"path": "y"}, 1e12},
	})
	want := "# HELP a A.\n# TYPE a gauge\na 1.5\n# HELP b_total B.\n# TYPE b_total counter\nb_total{path=\"x\"} 2\nb_total{path=\"y\"} 1e+12\n"
	if err != nil || string(out) != want {
		t.Errorf("metrics = %q, %v", out, err)
	}
}

type stringWriter string

func (s *stringWriter) Write(p []byte) (int, error) {
	*s += stringWriter(p)
	return len(p), nil
}
