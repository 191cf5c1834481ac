package netmap

import (
	"net/netip"
	"testing"

	"github.com/ginnel/ginnel/wire/control"
)

func TestLookups(t *testing.T) {
	b := started(t, 4)
	m, _ := apply(t, b, `{"PeersChanged":[{"ID":9,"StableID":"r","Name":"Router.tail.example.","Key":"`+nodeKey(9).String()+`",
		"Addresses":["100.64.9.9/32","fd7a:115c:a1e0::9/128"],"AllowedIPs":["100.64.9.9/32","10.0.0.0/8","0.0.0.0/0"]},
		{"ID":10,"StableID":"r2","Name":"r2.tail.example.","Key":"`+nodeKey(10).String()+`","Addresses":["100.64.9.10/32"],"AllowedIPs":["10.1.0.0/16"]}]}`)
	ip := netip.MustParseAddr
	for name, c := range map[string]struct {
		got  *control.Node
		want control.NodeID // 0 for none
	}{
		"key":               {m.PeerByKey(nodeKey(3)), 3},
		"key of self":       {m.PeerByKey(nodeKey(1)), 0},
		"node key of self":  {m.NodeByKey(nodeKey(1)), 1},
		"key unknown":       {m.PeerByKey(nodeKey(77)), 0},
		"ip":                {m.NodeByIP(ip("100.64.0.3")), 3},
		"ip of self":        {m.NodeByIP(ip("100.64.0.1")), 1},
		"ip6":               {m.NodeByIP(ip("fd7a:115c:a1e0::9")), 9},
		"ip4 in 6":          {m.NodeByIP(ip("::ffff:100.64.0.3")), 3},
		"route is no own":   {m.NodeByIP(ip("10.2.3.4")), 0},
		"route":             {m.PeerForIP(ip("10.2.3.4")), 9},
		"longest route":     {m.PeerForIP(ip("10.1.3.4")), 10},
		"own before route":  {m.PeerForIP(ip("100.64.9.10")), 10},
		"default route":     {m.PeerForIP(ip("8.8.8.8")), 9},
		"no route":          {m.PeerForIP(ip("2001:db8::1")), 0},
		"full name":         {m.NodeByName("n3.tail.example."), 3},
		"without dot":       {m.NodeByName("N3.tail.example"), 3},
		"first label":       {m.NodeByName("router"), 9},
		"self by label":     {m.NodeByName("n1"), 1},
		"other suffix":      {m.NodeByName("n3.other.example"), 0},
		"empty name":        {m.NodeByName("."), 0},
		"unknown name":      {m.NodeByName("nobody"), 0},
		"by id":             {m.Peer(4), 4},
		"self is no peer":   {m.Peer(1), 0},
		"id past the end":   {m.Peer(1000), 0},
		"id before the all": {m.Peer(-1), 0},
	} {
		var id control.NodeID
		if c.got != nil {
			id = c.got.ID
		}
		if id != c.want {
			t.Errorf("%s: node %d, want %d", name, id, c.want)
		}
	}
}

func TestLookupFollowsChanges(t *testing.T) {
	b := started(t, 4)
	old := b.Map()
	if old.PeerByKey(nodeKey(3)) == nil {
		t.Fatal("peer 3 not found")
	}
	m, _ := apply(t, b, `{"PeersChangedPatch":[{"NodeID":3,"Key":"`+nodeKey(33).String()+`"}],"PeersRemoved":[4]}`)
	if m.PeerByKey(nodeKey(3)) != nil || m.PeerByKey(nodeKey(33)) == nil || m.PeerByKey(nodeKey(4)) != nil {
		t.Error("index did not follow a key change and a removal")
	}
	if old.PeerByKey(nodeKey(3)) == nil || old.PeerByKey(nodeKey(33)) != nil || old.PeerByKey(nodeKey(4)) == nil {
		t.Error("index of the map before was changed")
	}
}

// TestDeltaIsCheap holds a patch to one peer among many to copying the list of
// pointers and the one peer.
func TestDeltaIsCheap(t *testing.T) {
	const n = 2000
	b := started(t, n)
	b.Map().PeerByKey(nodeKey(5))
	before := b.Map()
	online := false
	allocs := testing.AllocsPerRun(50, func() {
		online = !online
		value := online
		_, _, err := b.Apply(&control.MapResponse{PeersChangedPatch: []*control.PeerChange{
			{NodeID: 1000, Online: &value, DERPRegion: 3},
		}}, t0)
		if err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 25 {
		t.Errorf("a patch made %.0f allocations", allocs)
	}
	after := b.Map()
	if after.lookup != before.lookup {
		t.Error("a patch that moves no address rebuilt the index")
	}
	same := 0
	for i := range after.Peers {
		if after.Peers[i] == before.Peers[i] {
			same++
		}
	}
	if want := n - 2; same != want { // all peers but the patched one
		t.Errorf("%d peers are shared, want %d", same, want)
	}
}

func BenchmarkPatch(b *testing.B) {
	builder := started(b, 2000)
	b.ReportAllocs()
	for i := range b.N {
		online := i%2 == 0
		if _, _, err := builder.Apply(&control.MapResponse{OnlineChange: map[control.NodeID]bool{1000: online}}, t0); err != nil {
			b.Fatal(err)
		}
	}
}
