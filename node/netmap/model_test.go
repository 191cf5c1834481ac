package netmap

import (
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ginnel/ginnel/wire/control"
)

// model is the peer algebra done the slow and plain way.
type model map[control.NodeID]*control.Node

func (m model) apply(r *control.MapResponse, now time.Time) {
	if len(r.Peers) > 0 {
		clear(m)
		for _, n := range r.Peers {
			if _, dup := m[n.ID]; !dup {
				m[n.ID] = n.Clone()
			}
		}
		return
	}
	for _, id := range r.PeersRemoved {
		delete(m, id)
	}
	for _, n := range r.PeersChanged {
		m[n.ID] = n.Clone()
	}
	for id, seen := range r.PeerSeenChange {
		if n := m[id]; n != nil {
			n.LastSeen = nil
			if seen {
				n.LastSeen = &now
			}
		}
	}
	for id, online := range r.OnlineChange {
		if n := m[id]; n != nil {
			n.Online = &online
		}
	}
	for _, p := range r.PeersChangedPatch {
		m.patch(p)
	}
}

func (m model) patch(p *control.PeerChange) {
	n := m[p.NodeID]
	if n == nil {
		return
	}
	if p.DiscoKey != nil && p.Online != nil && !*p.Online && p.LastSeen != nil && n.LastSeen != nil && !p.LastSeen.After(*n.LastSeen) {
		return
	}
	if p.DERPRegion != 0 {
		n.HomeDERP = p.DERPRegion
	}
	if p.Endpoints != nil {
		n.Endpoints = p.Endpoints
	}
	if p.DiscoKey != nil {
		n.DiscoKey = *p.DiscoKey
	}
	if p.Online != nil {
		n.Online = p.Online
	}
	if p.LastSeen != nil {
		n.LastSeen = p.LastSeen
	}
}

func drawPatch(t *rapid.T) *control.PeerChange {
	p := &control.PeerChange{NodeID: control.NodeID(rapid.IntRange(2, 9).Draw(t, "id"))}
	p.DERPRegion = rapid.IntRange(0, 3).Draw(t, "region")
	if rapid.Bool().Draw(t, "withDisco") {
		d := discoKey(rapid.IntRange(100, 103).Draw(t, "disco"))
		p.DiscoKey = &d
	}
	if rapid.Bool().Draw(t, "withOnline") {
		v := rapid.Bool().Draw(t, "online")
		p.Online = &v
	}
	if rapid.Bool().Draw(t, "withSeen") {
		v := t0.Add(time.Duration(rapid.IntRange(-3, 3).Draw(t, "seen")) * time.Minute)
		p.LastSeen = &v
	}
	switch rapid.IntRange(0, 2).Draw(t, "endpoints") {
	case 1:
		p.Endpoints = []netip.AddrPort{}
	case 2:
		p.Endpoints = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:1")}
	}
	return p
}

func drawFrame(t *rapid.T) *control.MapResponse {
	id := rapid.Custom(func(t *rapid.T) control.NodeID { return control.NodeID(rapid.IntRange(2, 9).Draw(t, "n")) })
	nodes := func(label string) []*control.Node {
		var list []*control.Node
		for _, i := range rapid.SliceOfN(id, 0, 3).Draw(t, label) {
			n := node(int(i))
			n.HomeDERP = rapid.IntRange(1, 4).Draw(t, "home")
			list = append(list, n)
		}
		return list
	}
	flags := rapid.MapOfN(id, rapid.Bool(), 0, 2)
	r := &control.MapResponse{
		PeersChanged:   nodes("changed"),
		PeersRemoved:   rapid.SliceOfN(id, 0, 2).Draw(t, "removed"),
		OnlineChange:   flags.Draw(t, "onlineChange"),
		PeerSeenChange: flags.Draw(t, "seenChange"),
	}
	for range rapid.IntRange(0, 2).Draw(t, "patches") {
		r.PeersChangedPatch = append(r.PeersChangedPatch, drawPatch(t))
	}
	if rapid.IntRange(0, 5).Draw(t, "complete") == 0 {
		r.Peers = nodes("complete list")
	}
	return r
}

// TestDeltasEqualModel applies random sequences of frames to a Builder and to the
// model, and checks that no published Map changes afterwards.
func TestDeltasEqualModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b Builder
		if _, _, err := b.Apply(&control.MapResponse{Node: node(1)}, t0); err != nil {
			t.Fatal(err)
		}
		want := model{}
		var published []*Map
		var texts []string
		for step := range rapid.IntRange(1, 8).Draw(t, "frames") {
			frame := drawFrame(t)
			now := t0.Add(time.Duration(step) * time.Second)
			want.apply(frame, now)
			m, ch, err := b.Apply(frame, now)
			if err != nil {
				t.Fatal(err)
			}
			wantText := peersText(slices.Collect(maps.Values(want)))
			if got := peersText(m.Peers); got != wantText {
				t.Fatalf("frame %d:\n got %s\nwant %s", step, got, wantText)
			}
			if len(published) > 0 && !ch.Any() && texts[len(texts)-1] != wantText {
				t.Fatalf("frame %d changed peers but reported nothing", step)
			}
			for _, p := range m.Peers {
				if m.PeerByKey(p.Key) != p {
					t.Fatalf("frame %d: peer %d is not found by its key", step, p.ID)
				}
			}
			published = append(published, m)
			texts = append(texts, wantText)
		}
		for i, m := range published {
			if peersText(m.Peers) != texts[i] {
				t.Fatalf("map %d was changed after it was published", i)
			}
		}
	})
}

func peersText(peers []*control.Node) string {
	sorted := slices.SortedFunc(slices.Values(peers), func(a, b *control.Node) int { return int(a.ID - b.ID) })
	text, err := json.Marshal(sorted)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
