package control

import (
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ginnel/ginnel/wire/key"
)

func TestOptBool(t *testing.T) {
	for text, want := range map[string]OptBool{"true": True, "false": False, "null": Unset} {
		got := OptBool(9)
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s read as %v, %v", text, got, err)
		}
		if b, err := json.Marshal(want); err != nil || string(b) != text {
			t.Errorf("%v written as %s, %v", want, b, err)
		}
	}
	for _, bad := range []string{`"true"`, `1`, `{}`} {
		if err := json.Unmarshal([]byte(bad), new(OptBool)); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
	if !Unset.OrElse(true) || False.OrElse(true) || !True.OrElse(false) || OptBoolOf(true) != True || OptBoolOf(false) != False {
		t.Error("OrElse or OptBoolOf is wrong")
	}
}

func TestSignatureTypeText(t *testing.T) {
	tests := map[string]SignatureType{
		"signature-none": SignatureNone, "signature-v1": SignatureV1, "signature-v2": SignatureV2,
		"signature-unknown": SignatureUnknown, "signature-unknown(7)": SignatureUnknown, "odd": SignatureUnknown,
	}
	for text, want := range tests {
		var got SignatureType
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q read as %v, %v", text, got, err)
		}
	}
	if got := SignatureType(7).String(); got != "signature-unknown(7)" {
		t.Errorf("unknown type is %q", got)
	}
	if got := mustJSON(t, RegisterRequest{SignatureType: SignatureV2}); !strings.Contains(got, `"SignatureType":"signature-v2"`) {
		t.Errorf("JSON is %s", got)
	}
}

func TestFrame(t *testing.T) {
	frame := AppendFrame([]byte("x"), []byte(KeepAliveBody))
	if want := "x\x12\x00\x00\x00" + KeepAliveBody; string(frame) != want {
		t.Fatalf("frame = %q, want %q", frame, want)
	}
	if n, err := ParseFrameLength([4]byte(frame[1:5]), 18); n != 18 || err != nil {
		t.Errorf("length = %d, %v", n, err)
	}
	if _, err := ParseFrameLength([4]byte{}, 18); !errors.Is(err, ErrEmptyFrame) {
		t.Errorf("zero length: %v", err)
	}
	var tooLarge *FrameTooLargeError
	if _, err := ParseFrameLength([4]byte{19}, 18); !errors.As(err, &tooLarge) || tooLarge.Length != 19 || tooLarge.Max != 18 {
		t.Errorf("over the limit: %v", err)
	}
	if _, err := ParseFrameLength([4]byte{0xff, 0xff, 0xff, 0xff}, 1<<20); !errors.As(err, &tooLarge) || tooLarge.Length != 1<<32-1 {
		t.Errorf("all ones: %v", err)
	}
}

func TestVersionSupported(t *testing.T) {
	for v, want := range map[CapabilityVersion]bool{0: false, 112: false, 113: true, CurrentCapabilityVersion: true, 65535: true, 65536: false} {
		if got := v.Supported(); got != want {
			t.Errorf("version %d supported: %v", v, got)
		}
	}
}

func TestProtoPortRange(t *testing.T) {
	tests := []struct {
		text, written string
		want          ProtoPortRange
	}{
		{"", "", ProtoPortRange{}},
		{"*", "*", ProtoPortRange{0, AllPorts}},
		{"443", "443", ProtoPortRange{0, PortRange{443, 443}}},
		{"80-90", "80-90", ProtoPortRange{0, PortRange{80, 90}}},
		{"tcp:*", "tcp:*", ProtoPortRange{6, AllPorts}},
		{"TCP:22", "tcp:22", ProtoPortRange{6, PortRange{22, 22}}},
		{"17:53-54", "udp:53-54", ProtoPortRange{17, PortRange{53, 54}}},
		{"icmpv6:*", "ipv6-icmp:*", ProtoPortRange{58, AllPorts}},
		{"200:1", "200:1", ProtoPortRange{200, PortRange{1, 1}}},
		{"0-65535", "*", ProtoPortRange{0, AllPorts}},
	}
	for _, tt := range tests {
		got, err := ParseProtoPortRange(tt.text)
		if err != nil || got != tt.want || got.String() != tt.written {
			t.Errorf("%q read as %+v (%q), %v", tt.text, got, got, err)
		}
	}
	for _, bad := range []string{":", "tcp:", "bogus:1", "256:1", "tcp:1-", "tcp:-1", "2-1", "65536", "1-2-3", "tcp:udp:1", "+1", " 1"} {
		if got, err := ParseProtoPortRange(bad); err == nil {
			t.Errorf("%q read as %+v", bad, got)
		}
	}
}

func TestPortRangeContains(t *testing.T) {
	r := PortRange{10, 20}
	for port, want := range map[uint16]bool{9: false, 10: true, 20: true, 21: false} {
		if r.Contains(port) != want {
			t.Errorf("contains %d: %v", port, !want)
		}
	}
}

func TestSanitizeHostname(t *testing.T) {
	tests := map[string]string{
		"laptop":                       "laptop",
		"Alice's MacBook.local":        "alices-macbook",
		"box.localdomain":              "box",
		"box.lan":                      "box",
		"box.lan.localdomain.local":    "box",
		"box.local.lan":                "box-local",
		"a.b@c_d e":                    "a-b-c-d-e",
		"--x--":                        "x",
		"._-":                          "",
		"":                             "",
		"Büro":                         "bro",
		"日本":                           "",
		strings.Repeat("a", 80):        strings.Repeat("a", 63),
		strings.Repeat("a", 62) + ".b": strings.Repeat("a", 62),
	}
	for in, want := range tests {
		if got := SanitizeHostname(in); got != want {
			t.Errorf("SanitizeHostname(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestValidNames(t *testing.T) {
	for tag, want := range map[string]bool{"tag:a": true, "tag:A-1": true, "tag:": false, "a": false, "tag:1a": false, "tag:-": false, "tag:a_b": false, "Tag:a": false, "tag:é": false} {
		if ValidTag(tag) != want {
			t.Errorf("ValidTag(%q) = %v", tag, !want)
		}
	}
	for name, want := range map[string]bool{"svc:web": true, "svc:a-1": true, "svc:": false, "web": false, "svc:A": false, "svc:a.b": false, "svc:-a": false, "svc:" + strings.Repeat("a", 64): false} {
		if ValidServiceName(name) != want {
			t.Errorf("ValidServiceName(%q) = %v", name, !want)
		}
	}
}

func TestNodeNames(t *testing.T) {
	n := &Node{Name: "box.tail.example."}
	if got := n.DisplayName("tail.example"); got != "box" {
		t.Errorf("in the tailnet: %q", got)
	}
	if got := n.DisplayName("other.example."); got != "box.tail.example" {
		t.Errorf("shared in: %q", got)
	}
	if got := n.MagicDNSSuffix(); got != "tail.example" {
		t.Errorf("suffix: %q", got)
	}
	n = &Node{Hostinfo: &Hostinfo{Hostname: "raw host"}}
	if got := n.DisplayName("tail.example"); got != "raw host" {
		t.Errorf("without name: %q", got)
	}
	n = &Node{Key: key.NodePublicFromRaw32([32]byte{1})}
	if got := n.DisplayName(""); got != n.Key.ShortString() {
		t.Errorf("without anything: %q", got)
	}
}

func TestCapabilities(t *testing.T) {
	n := &Node{Capabilities: []NodeCapability{CapSSH}, CapMap: NodeCapMap{CapFunnel: nil, AttrMaxKeyDuration: {RawMessage("3600")}, "bad": {RawMessage(`"x"`)}}}
	for c, want := range map[NodeCapability]bool{CapSSH: true, CapFunnel: true, AttrMaxKeyDuration: true, CapHTTPS: false} {
		if n.HasCap(c) != want {
			t.Errorf("HasCap(%s) = %v", c, !want)
		}
	}
	if got, err := CapValues[int](n.CapMap, AttrMaxKeyDuration); err != nil || len(got) != 1 || got[0] != 3600 {
		t.Errorf("values = %v, %v", got, err)
	}
	if got, err := CapValues[int](n.CapMap, CapFunnel); err != nil || got != nil {
		t.Errorf("no values = %v, %v", got, err)
	}
	if _, err := CapValues[int](n.CapMap, "bad"); err == nil {
		t.Error("a value of the wrong type was accepted")
	}
	peer := PeerCapMap{PeerCapIngress: nil}
	if !peer.Has(PeerCapIngress) || peer.Has(PeerCapDebug) || !peer.Clone().Has(PeerCapIngress) || PeerCapMap(nil).Clone() != nil {
		t.Error("peer capability map is wrong")
	}
}

func TestNetInfoEqualButLatency(t *testing.T) {
	a := &NetInfo{PreferredDERP: 1, DERPLatency: map[string]float64{"1-v4": 0.1}}
	b := a.Clone()
	b.DERPLatency["1-v4"] = 0.2
	if !a.EqualButLatency(b) || a.DERPLatency["1-v4"] != 0.1 {
		t.Error("latency alone makes a difference, or was changed")
	}
	b.PreferredDERP = 2
	if a.EqualButLatency(b) || a.EqualButLatency(nil) || !(*NetInfo)(nil).EqualButLatency(nil) {
		t.Error("a real difference is missed")
	}
	h := &Hostinfo{NetInfo: a}
	if !h.Equal(h.Clone()) || h.Equal(&Hostinfo{}) || h.Equal(nil) {
		t.Error("Hostinfo.Equal is wrong")
	}
}

func region(id int, host string) *DERPRegion {
	return &DERPRegion{RegionID: id, RegionCode: "r", Nodes: []*DERPNode{nil, {Name: "a", RegionID: id, HostName: host}}}
}

func TestDERPMapMerge(t *testing.T) {
	prev := &DERPMap{
		HomeParams:         &DERPHomeParams{RegionScore: map[int]float64{1: 0.5}},
		Regions:            map[int]*DERPRegion{1: region(1, "one"), 2: nil},
		OmitDefaultRegions: true,
	}
	tests := []struct {
		name        string
		prev, delta *DERPMap
		regions     []int
		omit        bool
		scores      map[int]float64
	}{
		{"nothing", prev, nil, []int{1}, true, map[int]float64{1: 0.5}},
		{"null regions keep all", prev, &DERPMap{}, []int{1}, true, map[int]float64{1: 0.5}},
		{"null scores keep", prev, &DERPMap{HomeParams: &DERPHomeParams{}}, []int{1}, true, map[int]float64{1: 0.5}},
		{"scores reset", prev, &DERPMap{HomeParams: &DERPHomeParams{RegionScore: map[int]float64{}}}, []int{1}, true, map[int]float64{}},
		{"regions replace", prev, &DERPMap{Regions: map[int]*DERPRegion{3: region(3, "x"), 4: nil}}, []int{3}, false, map[int]float64{1: 0.5}},
		{"no relays", prev, &DERPMap{Regions: map[int]*DERPRegion{}}, []int{}, false, map[int]float64{1: 0.5}},
		{"first", nil, &DERPMap{Regions: map[int]*DERPRegion{3: region(3, "x")}}, []int{3}, false, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.prev.Merge(tt.delta)
			if len(got.Regions) != len(tt.regions) || got.OmitDefaultRegions != tt.omit {
				t.Fatalf("got %+v", got)
			}
			for _, id := range tt.regions {
				if r := got.Regions[id]; r == nil || len(r.Nodes) != 1 || r.Nodes[0].RegionID != id {
					t.Errorf("region %d = %+v", id, r)
				} else {
					r.Nodes[0].HostName = "changed"
				}
			}
			var scores map[int]float64
			if got.HomeParams != nil {
				scores = got.HomeParams.RegionScore
			}
			if !reflect.DeepEqual(scores, tt.scores) {
				t.Errorf("scores = %v, want %v", scores, tt.scores)
			}
			if prev.Regions[1].Nodes[1].HostName != "one" || len(prev.Regions) != 2 {
				t.Error("the previous map was changed")
			}
		})
	}
	if got := (*DERPMap)(nil).Merge(nil); got != nil {
		t.Errorf("nil and nil make %+v", got)
	}
}

// fill sets everything reachable from v to something other than zero.
func fill(t *testing.T, v reflect.Value) {
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		*x = time.Unix(1700000000, 0).UTC()
		return
	case *netip.Addr:
		*x = netip.MustParseAddr("100.64.0.1")
		return
	case *netip.Prefix:
		*x = netip.MustParsePrefix("100.64.0.0/10")
		return
	case *netip.AddrPort:
		*x = netip.MustParseAddrPort("1.2.3.4:5")
		return
	case *RawMessage:
		*x = RawMessage(`{"x":1}`)
		return
	case *key.NodePublic:
		*x = key.NewNode().Public()
		return
	case *key.MachinePublic:
		*x = key.NewMachine().Public()
		return
	case *key.DiscoPublic:
		*x = key.NewDisco().Public()
		return
	case *key.LockPublic:
		*x = key.NewLock().Public()
		return
	case *key.HardwareAttestationPublic:
		return // optional, and a point must be on its curve
	case *SignatureType:
		*x = SignatureV2
		return
	case *OptBool:
		*x = True
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 4))
		for i := range 2 {
			fill(t, v.Index(i))
		}
	case reflect.Map:
		k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(t, k)
		fill(t, e)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(k, e)
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint8, reflect.Uint16, reflect.Uint64:
		v.SetUint(7)
	case reflect.Float64:
		v.SetFloat(1.5)
	default:
		t.Fatalf("cannot fill %s", v.Type())
	}
}

// sharing reports the paths at which two equal values share memory.
func sharing(path string, a, b reflect.Value) (paths []string) {
	switch a.Interface().(type) {
	case key.NodePublic, key.MachinePublic, key.DiscoPublic, time.Time, netip.Addr, netip.Prefix, netip.AddrPort:
		return nil
	}
	switch a.Kind() {
	case reflect.Struct:
		for i := range a.NumField() {
			if a.Type().Field(i).IsExported() {
				paths = append(paths, sharing(path+"."+a.Type().Field(i).Name, a.Field(i), b.Field(i))...)
			}
		}
	case reflect.Pointer:
		if a.Pointer() == b.Pointer() && !a.IsNil() {
			return []string{path}
		}
		return sharing(path, a.Elem(), b.Elem())
	case reflect.Slice:
		if a.Pointer() == b.Pointer() && a.Cap() > 0 {
			return []string{path}
		}
		for i := range a.Len() {
			paths = append(paths, sharing(path+"[]", a.Index(i), b.Index(i))...)
		}
	case reflect.Map:
		if a.Pointer() == b.Pointer() && !a.IsNil() {
			return []string{path}
		}
		for _, k := range a.MapKeys() {
			paths = append(paths, sharing(path+"{}", a.MapIndex(k), b.MapIndex(k))...)
		}
	}
	return paths
}

// TestCloneIsDeep fills every field of every cloneable type, so a field added
// later and forgotten in Clone shows.
func TestCloneIsDeep(t *testing.T) {
	check := func(v, clone any) {
		t.Helper()
		if !reflect.DeepEqual(v, clone) {
			t.Errorf("clone of %T differs", v)
		}
		if paths := sharing("", reflect.ValueOf(v), reflect.ValueOf(clone)); len(paths) > 0 {
			t.Errorf("clone of %T shares %v", v, paths)
		}
	}
	node, info, net, dns, relays := new(Node), new(Hostinfo), new(NetInfo), new(DNSConfig), new(DERPMap)
	for _, v := range []any{node, info, net, dns, relays} {
		fill(t, reflect.ValueOf(v).Elem())
	}
	check(node, node.Clone())
	check(info, info.Clone())
	check(net, net.Clone())
	check(dns, dns.Clone())
	check(relays, relays.Clone())
	check(node.CapMap, node.CapMap.Clone())

	if (*Node)(nil).Clone() != nil || (*Hostinfo)(nil).Clone() != nil || (*DNSConfig)(nil).Clone() != nil ||
		(*DERPMap)(nil).Clone() != nil || (*DERPRegion)(nil).Clone() != nil || (*NetInfo)(nil).Clone() != nil {
		t.Error("a clone of nil is not nil")
	}
	if c := (&Node{AllowedIPs: []netip.Prefix{}}).Clone(); c.AllowedIPs == nil {
		t.Error("an empty list was cloned to nil")
	}
	full := mustJSON(t, node)
	var back Node
	if err := json.Unmarshal([]byte(full), &back); err != nil || mustJSON(t, back) != full {
		t.Errorf("a full node does not survive JSON: %v", err)
	}
}
