package netmap

import (
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

var t0 = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func nodeKey(i int) key.NodePublic {
	return key.NodePublicFromRaw32([32]byte{1, byte(i >> 8), byte(i)})
}

func discoKey(i int) key.DiscoPublic {
	return key.DiscoPublicFromRaw32([32]byte{2, byte(i >> 8), byte(i)})
}

func node(i int) *control.Node {
	addr := netip.AddrFrom4([4]byte{100, 64, byte(i >> 8), byte(i)})
	return &control.Node{
		ID: control.NodeID(i), StableID: control.StableNodeID("s" + string(rune('a'+i%26))),
		Name: "n" + itoa(i) + ".tail.example.", Key: nodeKey(i), DiscoKey: discoKey(i),
		Addresses: []netip.Prefix{netip.PrefixFrom(addr, 32)}, HomeDERP: 1, MachineAuthorized: true,
	}
}

func itoa(i int) string { b, _ := json.Marshal(i); return string(b) }

// started returns a builder that has had a first frame: self 1, peers 2 to n.
func started(t testing.TB, n int) *Builder {
	t.Helper()
	var b Builder
	resp := &control.MapResponse{Node: node(1), Domain: "example"}
	for i := 2; i <= n; i++ {
		resp.Peers = append(resp.Peers, node(i))
	}
	if _, _, err := b.Apply(resp, t0); err != nil {
		t.Fatal(err)
	}
	return &b
}

func apply(t testing.TB, b *Builder, frame string) (*Map, Changes) {
	t.Helper()
	var resp control.MapResponse
	if err := json.Unmarshal([]byte(frame), &resp); err != nil {
		t.Fatalf("%s: %v", frame, err)
	}
	m, ch, err := b.Apply(&resp, t0)
	if err != nil {
		t.Fatalf("%s: %v", frame, err)
	}
	return m, ch
}

func peerIDs(m *Map) []control.NodeID {
	ids := []control.NodeID{}
	for _, p := range m.Peers {
		ids = append(ids, p.ID)
	}
	return ids
}

func TestFirstFrameNeedsNode(t *testing.T) {
	var b Builder
	if _, _, err := b.Apply(&control.MapResponse{Domain: "x"}, t0); !errors.Is(err, ErrNoNode) {
		t.Fatalf("err = %v, want ErrNoNode", err)
	}
	if m, ch, err := b.Apply(&control.MapResponse{KeepAlive: true}, t0); m != nil || ch.Any() || err != nil {
		t.Fatalf("keepalive before the first frame: %v %v %v", m, ch, err)
	}
	if _, _, err := b.Apply(&control.MapResponse{Node: node(1)}, t0); err != nil {
		t.Fatal(err)
	}
}

// TestNullAndEmpty has one row for each row of the table of section 5.5 in which
// null and empty differ, or must not.
func TestNullAndEmpty(t *testing.T) {
	const first = `{"PacketFilter":[{"SrcIPs":["*"]}],"Health":["bad"],"DNSConfig":{"Proxied":true},
		"SSHPolicy":{"rules":[{"principals":[],"sshUsers":null,"action":null}]},"CollectServices":true,
		"DERPMap":{"Regions":{"1":{"RegionID":1,"RegionCode":"a","RegionName":"A","Nodes":[]},"2":null},
			"HomeParams":{"RegionScore":{"1":2}}},
		"DisplayMessages":{"a":{"Title":"A","Text":"","Severity":"low"}},"DomainDataPlaneAuditLogID":"log"}`
	ssh := func(m *Map) int { return len(m.SSHPolicy.Rules) }
	for name, c := range map[string]struct {
		frame string
		check func(m *Map) bool
	}{
		"node null":              {`{}`, func(m *Map) bool { return m.Self.ID == 1 }},
		"node value":             {`{"Node":{"ID":1,"StableID":"x","Name":"new.","Addresses":[]}}`, func(m *Map) bool { return m.Self.Name == "new." && m.Self.Key.IsZero() }},
		"peers null":             {`{"Peers":null}`, func(m *Map) bool { return len(m.Peers) == 2 }},
		"peers empty":            {`{"Peers":[]}`, func(m *Map) bool { return len(m.Peers) == 2 }},
		"dns null":               {`{"DNSConfig":null}`, func(m *Map) bool { return m.DNS.Proxied }},
		"dns empty":              {`{"DNSConfig":{}}`, func(m *Map) bool { return !m.DNS.Proxied }},
		"domain empty":           {`{"Domain":""}`, func(m *Map) bool { return m.Domain == "example" }},
		"collect unset":          {`{"CollectServices":null}`, func(m *Map) bool { return m.CollectServices }},
		"collect false":          {`{"CollectServices":false}`, func(m *Map) bool { return !m.CollectServices }},
		"filter null":            {`{"PacketFilter":null}`, func(m *Map) bool { return len(m.Filter) == 1 }},
		"filter empty":           {`{"PacketFilter":[]}`, func(m *Map) bool { return m.Filter != nil && len(m.Filter) == 0 }},
		"filters empty":          {`{"PacketFilters":{}}`, func(m *Map) bool { return len(m.Filter) == 1 }},
		"filters add":            {`{"PacketFilters":{"a":[{"SrcIPs":["1.1.1.1"]}]}}`, func(m *Map) bool { return len(m.Filter) == 2 && m.Filter[0].SrcIPs[0] == "1.1.1.1" }},
		"filters empty value":    {`{"PacketFilters":{"base":[]}}`, func(m *Map) bool { return len(m.Filter) == 0 }},
		"filters delete":         {`{"PacketFilters":{"base":null}}`, func(m *Map) bool { return len(m.Filter) == 0 }},
		"filters clear":          {`{"PacketFilters":{"*":null,"b":[{"SrcIPs":["2.2.2.2"]}]}}`, func(m *Map) bool { return len(m.Filter) == 1 && m.Filter[0].SrcIPs[0] == "2.2.2.2" }},
		"filters star value":     {`{"PacketFilters":{"*":[{"SrcIPs":["3.3.3.3"]}]}}`, func(m *Map) bool { return len(m.Filter) == 1 && m.Filter[0].SrcIPs[0] == "*" }},
		"filter then filters":    {`{"PacketFilter":[{"SrcIPs":["4.4.4.4"]}],"PacketFilters":{"*":null}}`, func(m *Map) bool { return len(m.Filter) == 0 }},
		"health null":            {`{"Health":null}`, func(m *Map) bool { return len(m.Health) == 1 }},
		"health empty":           {`{"Health":[]}`, func(m *Map) bool { return len(m.Health) == 0 }},
		"ssh null":               {`{"SSHPolicy":null}`, func(m *Map) bool { return ssh(m) == 1 }},
		"ssh empty":              {`{"SSHPolicy":{"rules":[]}}`, func(m *Map) bool { return ssh(m) == 0 }},
		"messages empty":         {`{"DisplayMessages":{}}`, func(m *Map) bool { return len(m.DisplayMessages) == 1 }},
		"messages delete":        {`{"DisplayMessages":{"a":null}}`, func(m *Map) bool { return len(m.DisplayMessages) == 0 }},
		"messages clear":         {`{"DisplayMessages":{"*":null,"b":{"Title":"B","Text":"","Severity":"low"}}}`, func(m *Map) bool { return len(m.DisplayMessages) == 1 && m.DisplayMessages["b"] != nil }},
		"audit empty":            {`{"DomainDataPlaneAuditLogID":""}`, func(m *Map) bool { return m.AuditLogID == "log" }},
		"derp null":              {`{"DERPMap":null}`, func(m *Map) bool { return len(m.DERPMap.Regions) == 1 }},
		"derp regions null":      {`{"DERPMap":{"Regions":null,"HomeParams":{"RegionScore":{}}}}`, func(m *Map) bool { return len(m.DERPMap.Regions) == 1 && len(m.DERPMap.HomeParams.RegionScore) == 0 }},
		"derp regions empty":     {`{"DERPMap":{"Regions":{}}}`, func(m *Map) bool { return len(m.DERPMap.Regions) == 0 && len(m.DERPMap.HomeParams.RegionScore) == 1 }},
		"keepalive ignores rest": {`{"KeepAlive":true,"Domain":"other","PeersRemoved":[2]}`, func(m *Map) bool { return m.Domain == "example" && len(m.Peers) == 2 }},
	} {
		t.Run(name, func(t *testing.T) {
			b := started(t, 3)
			apply(t, b, first)
			before, _ := json.Marshal(b.Map().Response())
			old := b.Map()
			m, _ := apply(t, b, c.frame)
			if !c.check(m) {
				got, _ := json.Marshal(m.Response())
				t.Errorf("after %s: %s", c.frame, got)
			}
			if after, _ := json.Marshal(old.Response()); string(after) != string(before) {
				t.Errorf("the map before was changed:\n%s\n%s", before, after)
			}
		})
	}
}

func TestPeerAlgebra(t *testing.T) {
	for name, c := range map[string]struct {
		frame            string
		peers            []control.NodeID
		changed, removed []control.NodeID
	}{
		"complete list":            {`{"Peers":[` + nodeJSON(9) + `,` + nodeJSON(3) + `]}`, ids(3, 9), ids(9), ids(2, 4)},
		"complete list wins":       {`{"Peers":[` + nodeJSON(3) + `],"PeersRemoved":[3],"OnlineChange":{"3":true},"PeersChangedPatch":[{"NodeID":3,"DERPRegion":7}]}`, ids(3), nil, ids(2, 4)},
		"remove":                   {`{"PeersRemoved":[3,77]}`, ids(2, 4), nil, ids(3)},
		"remove all":               {`{"PeersRemoved":[2,3,4]}`, ids(), nil, ids(2, 3, 4)},
		"remove then add":          {`{"PeersRemoved":[3],"PeersChanged":[` + nodeJSON(3) + `]}`, ids(2, 3, 4), ids(3), nil},
		"add out of order":         {`{"PeersChanged":[` + nodeJSON(9) + `,` + nodeJSON(5) + `]}`, ids(2, 3, 4, 5, 9), ids(5, 9), nil},
		"identical upsert dropped": {`{"PeersChanged":[` + nodeJSON(3) + `]}`, ids(2, 3, 4), nil, nil},
		"self is no peer":          {`{"PeersChanged":[` + nodeJSON(1) + `]}`, ids(2, 3, 4), nil, nil},
		"id zero ignored":          {`{"PeersChanged":[{"ID":0,"Name":"x."}]}`, ids(2, 3, 4), nil, nil},
		"null entries ignored":     {`{"PeersChanged":[null],"PeersChangedPatch":[null]}`, ids(2, 3, 4), nil, nil},
		"unknown patch ignored":    {`{"PeersChangedPatch":[{"NodeID":77,"DERPRegion":2}],"OnlineChange":{"78":true}}`, ids(2, 3, 4), nil, nil},
		"moved key refused":        {`{"PeersChanged":[` + withKey(nodeJSON(8), 3) + `]}`, ids(2, 3, 4), nil, nil},
		"moved key after removal":  {`{"PeersRemoved":[3],"PeersChanged":[` + withKey(nodeJSON(8), 3) + `]}`, ids(2, 4, 8), ids(8), ids(3)},
		"duplicate in list":        {`{"Peers":[` + nodeJSON(3) + `,` + nodeJSON(3) + `]}`, ids(3), nil, ids(2, 4)},
		"self becomes a peer's id": {`{"Node":` + nodeJSON(3) + `}`, ids(2, 4), nil, ids(3)},
	} {
		t.Run(name, func(t *testing.T) {
			b := started(t, 4)
			m, ch := apply(t, b, c.frame)
			if got := peerIDs(m); !slices.Equal(got, c.peers) {
				t.Errorf("peers = %v, want %v", got, c.peers)
			}
			if !slices.Equal(ch.Peers, c.changed) || !slices.Equal(ch.Removed, c.removed) {
				t.Errorf("changes = %v %v, want %v %v", ch.Peers, ch.Removed, c.changed, c.removed)
			}
		})
	}
}

func ids(list ...control.NodeID) []control.NodeID { return append([]control.NodeID{}, list...) }

func nodeJSON(i int) string { b, _ := json.Marshal(node(i)); return string(b) }

func withKey(nodeText string, i int) string {
	var n control.Node
	_ = json.Unmarshal([]byte(nodeText), &n)
	n.Key = nodeKey(i)
	b, _ := json.Marshal(n)
	return string(b)
}

func TestPatchFields(t *testing.T) {
	const seen = `"2026-05-01T12:00:00Z"`
	for name, c := range map[string]struct {
		patch string
		check func(n *control.Node) bool
	}{
		"region":             {`"DERPRegion":7`, func(n *control.Node) bool { return n.HomeDERP == 7 }},
		"region zero":        {`"DERPRegion":0,"Cap":5`, func(n *control.Node) bool { return n.HomeDERP == 1 && n.Cap == 5 }},
		"capmap":             {`"CapMap":{"x":null}`, func(n *control.Node) bool { return len(n.CapMap) == 1 }},
		"capmap cleared":     {`"CapMap":{}`, func(n *control.Node) bool { return len(n.CapMap) == 0 }},
		"endpoints":          {`"Endpoints":["1.2.3.4:5"]`, func(n *control.Node) bool { return len(n.Endpoints) == 1 }},
		"endpoints cleared":  {`"Endpoints":[]`, func(n *control.Node) bool { return len(n.Endpoints) == 0 }},
		"endpoints null":     {`"Endpoints":null,"Cap":5`, func(n *control.Node) bool { return len(n.Endpoints) == 2 }},
		"key":                {`"Key":"` + nodeKey(50).String() + `"`, func(n *control.Node) bool { return n.Key == nodeKey(50) }},
		"key of another":     {`"Key":"` + nodeKey(3).String() + `","Cap":5`, func(n *control.Node) bool { return n.Key == nodeKey(2) && n.Cap == 0 }},
		"signature":          {`"KeySignature":"AQI="`, func(n *control.Node) bool { return len(n.KeySignature) == 2 }},
		"disco":              {`"DiscoKey":"` + discoKey(50).String() + `"`, func(n *control.Node) bool { return n.DiscoKey == discoKey(50) }},
		"online":             {`"Online":false`, func(n *control.Node) bool { return n.Online != nil && !*n.Online }},
		"last seen":          {`"LastSeen":` + seen, func(n *control.Node) bool { return n.LastSeen.Equal(t0) }},
		"expiry":             {`"KeyExpiry":` + seen, func(n *control.Node) bool { return n.KeyExpiry.Equal(t0) }},
		"expiry never":       {`"KeyExpiry":"0001-01-01T00:00:00Z"`, func(n *control.Node) bool { return n.KeyExpiry.IsZero() }},
		"stale disco whole":  {`"DiscoKey":"` + discoKey(50).String() + `","Online":false,"LastSeen":"2026-04-30T00:00:00Z","Cap":5`, func(n *control.Node) bool { return n.DiscoKey == discoKey(2) && n.Cap == 0 && n.Online == nil }},
		"equal time discard": {`"DiscoKey":"` + discoKey(50).String() + `","Online":false,"LastSeen":"2026-04-30T06:00:00Z"`, func(n *control.Node) bool { return n.DiscoKey == discoKey(2) }},
		"newer disco taken":  {`"DiscoKey":"` + discoKey(50).String() + `","Online":false,"LastSeen":` + seen, func(n *control.Node) bool { return n.DiscoKey == discoKey(50) }},
		"online disco taken": {`"DiscoKey":"` + discoKey(50).String() + `","Online":true,"LastSeen":"2026-04-30T00:00:00Z"`, func(n *control.Node) bool { return n.DiscoKey == discoKey(50) }},
	} {
		t.Run(name, func(t *testing.T) {
			b := started(t, 4)
			apply(t, b, `{"PeersChangedPatch":[{"NodeID":2,"Endpoints":["9.9.9.9:1","9.9.9.9:2"],"KeyExpiry":"2027-01-01T00:00:00Z","LastSeen":"2026-04-30T06:00:00Z"}]}`)
			old := b.Map().Peer(2)
			before := peersText([]*control.Node{old})
			m, _ := apply(t, b, `{"PeersChangedPatch":[{"NodeID":2,`+c.patch+`}]}`)
			if !c.check(m.Peer(2)) {
				t.Errorf("peer = %+v", m.Peer(2))
			}
			if after := peersText([]*control.Node{old}); after != before {
				t.Errorf("the peer of the map before was changed:\n%s\n%s", before, after)
			}
		})
	}
}

func TestSeenAndOnline(t *testing.T) {
	b := started(t, 3)
	m, _ := apply(t, b, `{"PeerSeenChange":{"2":true},"OnlineChange":{"2":true,"3":false}}`)
	if p := m.Peer(2); p.LastSeen == nil || !p.LastSeen.Equal(t0) || !*p.Online {
		t.Errorf("peer 2 = %v %v", p.LastSeen, p.Online)
	}
	if p := m.Peer(3); *p.Online {
		t.Error("peer 3 is online")
	}
	m, ch := apply(t, b, `{"PeerSeenChange":{"2":false},"OnlineChange":{"3":false}}`)
	if m.Peer(2).LastSeen != nil {
		t.Error("LastSeen was not cleared")
	}
	if !slices.Equal(ch.Peers, ids(2)) {
		t.Errorf("changed = %v, want only 2", ch.Peers)
	}
}

func TestLegacyForms(t *testing.T) {
	b := started(t, 2)
	m, _ := apply(t, b, `{"Node":{"ID":1,"StableID":"x","Name":"a.b.","Addresses":[],"Capabilities":["https","funnel"],"CapMap":{"funnel":[1]}},
		"PeersChanged":[{"ID":2,"StableID":"y","Name":"c.b.","Addresses":[],"DERP":"127.3.3.40:12"},{"ID":3,"StableID":"z","Addresses":[],"DERP":"127.3.3.40:x"}]}`)
	if len(m.Self.CapMap) != 2 || len(m.Self.CapMap["funnel"]) != 1 {
		t.Errorf("CapMap = %v", m.Self.CapMap)
	}
	if m.Peer(2).HomeDERP != 12 || m.Peer(3).HomeDERP != 0 {
		t.Errorf("HomeDERP = %d, %d", m.Peer(2).HomeDERP, m.Peer(3).HomeDERP)
	}
}

func TestClockAndExpiry(t *testing.T) {
	b := started(t, 3)
	frame := func(controlTime time.Time, expiry time.Time) *Map {
		m, _, err := b.Apply(&control.MapResponse{
			ControlTime:       controlTime,
			PeersChangedPatch: []*control.PeerChange{{NodeID: 2, KeyExpiry: &expiry}},
		}, t0)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	expired := func(m *Map, now time.Time) bool { return m.Expired(m.Peer(2), now) }

	m := frame(t0.Add(30*time.Second), t0.Add(time.Hour))
	if m.Skew != 0 || expired(m, t0.Add(59*time.Minute)) || !expired(m, t0.Add(61*time.Minute)) {
		t.Errorf("clocks agree: skew %v", m.Skew)
	}
	if next, ok := m.NextExpiry(t0); !ok || !next.Equal(t0.Add(time.Hour)) {
		t.Errorf("next expiry = %v, %v", next, ok)
	}
	m = frame(t0.Add(2*time.Hour), t0.Add(time.Hour))
	if m.Skew != 2*time.Hour || !expired(m, t0) {
		t.Errorf("server two hours ahead: skew %v, expired %v", m.Skew, expired(m, t0))
	}
	m = frame(time.Date(2020, 8, 1, 0, 0, 0, 0, time.UTC), time.Date(2019, 1, 1, 0, 0, 0, 0, time.UTC))
	if m.ClockTrusted || expired(m, t0) {
		t.Error("a server with an unset clock expired a peer")
	}
	if _, ok := m.NextExpiry(t0); ok {
		t.Error("an expiry is due although the clock is not trusted")
	}
	m, _ = apply(t, b, `{"PeersChanged":[{"ID":3,"StableID":"y","Name":"c.b.","Addresses":[],"Expired":true}]}`)
	if !m.Expired(m.Peer(3), t0) {
		t.Error("explicit Expired was not honoured")
	}
}

func TestFirstFrameRoundTrip(t *testing.T) {
	b := started(t, 5)
	apply(t, b, `{"PacketFilters":{"base":[],"x":[{"SrcIPs":["*"],"DstPorts":[{"IP":"*","Ports":{"First":0,"Last":65535}}]}]},
		"UserProfiles":[{"ID":3,"LoginName":"c","DisplayName":""},{"ID":1,"LoginName":"a","DisplayName":""}],
		"DERPMap":{"Regions":{"1":{"RegionID":1,"RegionCode":"a","RegionName":"A","Nodes":[]}}},"OnlineChange":{"2":true}}`)
	want, err := json.Marshal(b.Map().Response())
	if err != nil {
		t.Fatal(err)
	}
	var resp control.MapResponse
	if err := json.Unmarshal(want, &resp); err != nil {
		t.Fatal(err)
	}
	var again Builder
	m, _, err := again.Apply(&resp, t0)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := json.Marshal(m.Response())
	if string(got) != string(want) {
		t.Errorf("round trip:\n got %s\nwant %s", got, want)
	}
}
