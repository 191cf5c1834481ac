package node

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/node/netmap"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// TestOnlyPaths changes a map in one way at a time.
func TestOnlyPaths(t *testing.T) {
	now := time.Now()
	k, prefs := key.NewNode(), api.NewPrefs()
	extra := &control.Node{ID: 9, Key: key.NewNode().Public(), HomeDERP: 1, Addresses: prefixes("100.64.0.9/32")}
	region, offline, other, past := 2, false, key.NewNode().Public(), now.Add(-time.Hour)
	disco := key.NewDisco().Public()
	patch := func(c control.PeerChange) *control.MapResponse {
		c.NodeID = 2
		return &control.MapResponse{PeersChangedPatch: []*control.PeerChange{&c}}
	}
	routed := peer(2)
	routed.AllowedIPs = prefixes("100.64.0.2/32", "10.0.0.0/8")
	jailed, unsigned := *peer(2), *peer(2)
	jailed.IsJailed, unsigned.UnsignedPeerAPIOnly = true, true
	for name, c := range map[string]struct {
		change *control.MapResponse
		want   bool
	}{
		"endpoints":  {patch(control.PeerChange{Endpoints: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.7:7")}}), true},
		"home":       {patch(control.PeerChange{DERPRegion: region}), true},
		"disco key":  {patch(control.PeerChange{DiscoKey: &disco}), true},
		"offline":    {patch(control.PeerChange{Online: &offline}), true},
		"relays":     {&control.MapResponse{DERPMap: &control.DERPMap{}}, true},
		"node key":   {patch(control.PeerChange{Key: &other}), false},
		"expiry":     {patch(control.PeerChange{KeyExpiry: &past}), false},
		"capability": {patch(control.PeerChange{CapMap: control.NodeCapMap{"x": nil}}), false},
		"routes":     {&control.MapResponse{PeersChanged: []*control.Node{routed}}, false},
		"jailed":     {&control.MapResponse{PeersChanged: []*control.Node{&jailed}}, false},
		"unsigned":   {&control.MapResponse{PeersChanged: []*control.Node{&unsigned}}, false},
		"new peer":   {&control.MapResponse{PeersChanged: []*control.Node{extra}}, false},
		"no peer":    {&control.MapResponse{PeersRemoved: []control.NodeID{2}}, false},
		"filter":     {&control.MapResponse{PacketFilter: []control.FilterRule{{SrcIPs: []string{"*"}}}}, false},
		"self":       {&control.MapResponse{Node: self(k.Public())}, false},
	} {
		var b netmap.Builder
		third := &control.Node{ID: 3, Key: key.NewNode().Public(), Addresses: prefixes("100.64.0.3/32"), Expired: true}
		fourth := &control.Node{ID: 4, Key: key.NewNode().Public(), Addresses: prefixes("100.64.0.4/32"), HomeDERP: 1}
		m, _, err := b.Apply(&control.MapResponse{Node: self(k.Public()), Peers: []*control.Node{peer(2), third, fourth}}, now)
		if err != nil {
			t.Fatal(err)
		}
		next, changes, err := b.Apply(c.change, now)
		if err != nil || !changes.Any() {
			t.Fatalf("%s: %+v, %v", name, changes, err)
		}
		before, after := planeConfig{Key: k, Map: m, Prefs: prefs, Now: now}, planeConfig{Key: k, Map: next, Prefs: prefs, Now: now}
		if got := onlyPaths(&before, &after); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		if !c.want {
			continue
		}
		want, got := pathConfig(after), nextPathConfig(pathConfig(before), &before, &after)
		if moved := name != "relays" && name != "offline"; moved && !slices.Equal(got.Changed, []int{0}) || got.Changed == nil {
			t.Errorf("%s: changed are %v", name, got.Changed)
		}
		if diff := cmp.Diff(want.Peers, got.Peers, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }), cmp.Comparer(func(a, b key.NodePublic) bool { return a == b }), cmp.Comparer(func(a, b key.DiscoPublic) bool { return a == b })); diff != "" || got.DERPMap != want.DERPMap {
			t.Errorf("%s: paths differ from those made anew:\n%s", name, diff)
		}
	}
	same := planeConfig{Key: k, Prefs: prefs, Now: now}
	if onlyPaths(&same, &same) {
		t.Error("without a map there are no paths")
	}
}
