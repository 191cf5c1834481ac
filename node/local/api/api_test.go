package api

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// mustJSON returns v's JSON.
func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("marshal %T: %v", v, err)
	}
	return string(b)
}

func TestState(t *testing.T) {
	for i, name := range []string{"NoState", "InUseOtherUser", "NeedsLogin", "NeedsMachineAuth", "Stopped", "Starting", "Running"} {
		if got := State(i).String(); got != name {
			t.Errorf("state %d is %q, want %q", i, got, name)
		}
		if got, err := ParseState(name); err != nil || got != State(i) {
			t.Errorf("%q is state %v, %v", name, got, err)
		}
	}
	if got := State(9).String(); got != "State(9)" {
		t.Errorf("state 9 is %q", got)
	}
	if _, err := ParseState("running"); err == nil {
		t.Error("an unknown name was accepted")
	}
}

// TestPrefsShape is the example of the wire document cli, section 6.1, for the
// preferences it shows.
func TestPrefsShape(t *testing.T) {
	p := NewPrefs()
	p.LoggedOut = false
	p.WantRunning = true
	p.ControlURL = "https://control.example"
	want := `{"ControlURL":"https://control.example","RouteAll":false,"ExitNodeID":"","ExitNodeIP":"",` +
		`"InternalExitNodePrior":"","ExitNodeAllowLANAccess":false,"CorpDNS":true,"RunSSH":false,` +
		`"RunWebClient":false,"WantRunning":true,"LoggedOut":false,"ShieldsUp":false,"AdvertiseTags":null,` +
		`"Hostname":"","NotepadURLs":false,"AdvertiseRoutes":null,"AdvertiseServices":null,"Sync":null,` +
		`"NoSNAT":false,"NoStatefulFiltering":true,"NetfilterMode":2,` +
		`"AutoUpdate":{"Check":true,"Apply":null},"AppConnector":{"Advertise":false},"PostureChecking":false,` +
		`"NetfilterKind":"","RemoteConfig":false,"DriveShares":null}`
	if got := mustJSON(t, p); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	var back Prefs
	if err := json.Unmarshal([]byte(want), &back); err != nil || !back.Equal(p) {
		t.Errorf("read back %+v, %v", back, err)
	}
}

func TestPrefsPublicHasNoSecrets(t *testing.T) {
	node, lock := key.NewNode(), key.NewLock()
	p := NewPrefs()
	p.Config = &Persist{PrivateNodeKey: node, NetworkLockKey: lock, NodeID: "n1", AttestationKey: control.RawMessage(`"secret"`),
		UserProfile: control.UserProfile{LoginName: "a@b"}}
	stored := mustJSON(t, p)
	for _, secret := range []string{"privkey:", "nlpriv:", "secret"} {
		if !strings.Contains(stored, secret) {
			t.Errorf("the stored form lacks %s", secret)
		}
		if strings.Contains(mustJSON(t, p.Public()), secret) {
			t.Errorf("the public form holds %s", secret)
		}
	}
	if pub := p.Public(); pub.Config.NodeID != "n1" || pub.Config.UserProfile.LoginName != "a@b" {
		t.Errorf("the public form lost the identity: %+v", pub.Config)
	}
	if p.Config.PrivateNodeKey.IsZero() {
		t.Error("Public changed the original")
	}
	var back Prefs
	if err := json.Unmarshal([]byte(stored), &back); err != nil || !back.Config.PrivateNodeKey.Equal(node) || !back.Config.NetworkLockKey.Equal(lock) {
		t.Errorf("the stored form does not read back: %v", err)
	}
	if !p.Equal(p.Clone()) {
		t.Error("a clone differs")
	}
	if (*Prefs)(nil).Public() != nil || (*Persist)(nil).Public() != nil {
		t.Error("nil is not nil any more")
	}
}

func TestPrefsCloneSharesNothing(t *testing.T) {
	port := uint16(1)
	p := &Prefs{AdvertiseTags: []string{"tag:a"}, RelayServerPort: &port, Config: &Persist{}}
	c := p.Clone()
	c.AdvertiseTags[0] = "tag:b"
	*c.RelayServerPort = 2
	c.Config.NodeID = "x"
	if p.AdvertiseTags[0] != "tag:a" || *p.RelayServerPort != 1 || p.Config.NodeID != "" {
		t.Errorf("the original changed: %+v", p)
	}
}

func TestPrefsQuestions(t *testing.T) {
	p := &Prefs{AdvertiseRoutes: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}
	if p.AdvertisesExitNode() {
		t.Error("one default route makes an exit node")
	}
	p.AdvertiseRoutes = append(p.AdvertiseRoutes, netip.MustParsePrefix("::/0"))
	if !p.AdvertisesExitNode() {
		t.Error("both default routes make no exit node")
	}
	if !p.SyncEnabled() || (&Prefs{Sync: control.False}).SyncEnabled() {
		t.Error("Sync is read wrong")
	}
	for m, want := range map[NetfilterMode]string{0: "off", 1: "nodivert", 2: "on", 3: "unknown"} {
		if m.String() != want {
			t.Errorf("netfilter mode %d is %q", int(m), m)
		}
	}
}

// TestEveryPreferenceHasAFlag fails for a preference added without one.
func TestEveryPreferenceHasAFlag(t *testing.T) {
	prefs, masked := reflect.TypeFor[Prefs](), reflect.TypeFor[MaskedPrefs]()
	for f := range prefs.Fields() {
		_, ok := masked.FieldByName(f.Name + "Set")
		if ok == (f.Name == "Config") {
			t.Errorf("preference %s: flag %v", f.Name, ok)
		}
	}
	if masked.NumField() != prefs.NumField() { // Config has no flag, the Prefs are one field
		t.Errorf("%d preferences and %d masked fields", prefs.NumField(), masked.NumField())
	}
}

func TestMaskedPrefs(t *testing.T) {
	tests := []struct {
		name, edit string
		before     Prefs
		want       Prefs
		fields     []string
		written    string
	}{
		{"without a flag", `{"Hostname":"x","ShieldsUp":true}`, Prefs{Hostname: "old"}, Prefs{Hostname: "old"}, nil, `{}`},
		{"with flags", `{"Hostname":"x","HostnameSet":true,"ShieldsUp":true}`, Prefs{Hostname: "old"}, Prefs{Hostname: "x"},
			[]string{"Hostname"}, `{"Hostname":"x","HostnameSet":true}`},
		{"flag without value", `{"HostnameSet":true,"AdvertiseTagsSet":true}`, Prefs{Hostname: "old", AdvertiseTags: []string{"tag:a"}}, Prefs{},
			[]string{"AdvertiseTags", "Hostname"}, `{"AdvertiseTags":null,"AdvertiseTagsSet":true,"Hostname":"","HostnameSet":true}`},
		{"part of auto update", `{"AutoUpdate":{"Apply":true},"AutoUpdateSet":{"ApplySet":true}}`,
			Prefs{AutoUpdate: AutoUpdatePrefs{Check: true}}, Prefs{AutoUpdate: AutoUpdatePrefs{Check: true, Apply: control.True}},
			[]string{"AutoUpdate"}, `{"AutoUpdate":{"Check":false,"Apply":true},"AutoUpdateSet":{"ApplySet":true}}`},
		{"empty auto update mask", `{"AutoUpdate":{"Apply":true},"AutoUpdateSet":{}}`, Prefs{}, Prefs{}, nil, `{}`},
		{"exit node ends auto", `{"ExitNodeID":"n1","ExitNodeIDSet":true}`, Prefs{AutoExitNode: "any"}, Prefs{ExitNodeID: "n1"},
			[]string{"ExitNodeID"}, `{"ExitNodeID":"n1","ExitNodeIDSet":true}`},
		{"exit node with auto", `{"ExitNodeID":"n1","ExitNodeIDSet":true,"AutoExitNode":"any","AutoExitNodeSet":true}`, Prefs{},
			Prefs{ExitNodeID: "n1", AutoExitNode: "any"}, []string{"ExitNodeID", "AutoExitNode"},
			`{"ExitNodeID":"n1","ExitNodeIDSet":true,"AutoExitNode":"any","AutoExitNodeSet":true}`},
		{"unknown members", `{"Nonsense":1,"NonsenseSet":true,"WantRunning":true,"WantRunningSet":true}`, Prefs{}, Prefs{WantRunning: true},
			[]string{"WantRunning"}, `{"WantRunning":true,"WantRunningSet":true}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var m MaskedPrefs
			if err := json.Unmarshal([]byte(tt.edit), &m); err != nil {
				t.Fatal(err)
			}
			got := tt.before
			fields := m.ApplyTo(&got)
			if !got.Equal(&tt.want) || !slices.Equal(fields, tt.fields) {
				t.Errorf("set %v, now %+v", fields, got)
			}
			if m.IsEmpty() != (len(tt.fields) == 0) || m.TouchesInternal() {
				t.Errorf("IsEmpty = %v, TouchesInternal = %v", m.IsEmpty(), m.TouchesInternal())
			}
			if w := mustJSON(t, m); w != tt.written {
				t.Errorf("written %s, want %s", w, tt.written)
			}
		})
	}
	if m := (&MaskedPrefs{InternalExitNodePriorSet: true}); !m.TouchesInternal() {
		t.Error("an internal field is not seen")
	}
}

func TestMaskedPrefsSharesNothing(t *testing.T) {
	m := MaskedPrefs{Prefs: Prefs{AdvertiseTags: []string{"tag:a"}}, AdvertiseTagsSet: true}
	var p Prefs
	m.ApplyTo(&p)
	p.AdvertiseTags[0] = "tag:b"
	if m.AdvertiseTags[0] != "tag:a" {
		t.Error("the edit shares its list with the preferences")
	}
}

func TestNotifyMask(t *testing.T) {
	bits := map[NotifyMask]uint64{
		NotifyEngineUpdates: 1, NotifyInitialState: 2, NotifyInitialPrefs: 4, NotifyInitialNetMap: 8, NotifyNoPrivateKeys: 16,
		NotifyInitialDriveShares: 32, NotifyInitialOutgoingFiles: 64, NotifyInitialHealthState: 128, NotifyRateLimit: 256,
		NotifyHealthActions: 512, NotifyInitialSuggestedExitNode: 1024, NotifyInitialClientVersion: 2048, NotifyPeerChanges: 4096,
		NotifyNoNetMap: 8192, NotifyInitialStatus: 16384, NotifyPeerPatches: 32768, NotifyInProcess: 65536,
		NotifySysPolicyChanges: 131072, NotifyPeerWireGuardState: 262144,
	}
	for bit, want := range bits {
		if uint64(bit) != want {
			t.Errorf("bit %d should be %d", bit, want)
		}
	}
	for text, ok := range map[string]bool{"": true, "0": true, "16518": true, "257": true, "x": false, "-1": false, "65536": false,
		"4352": false, "8448": false, "16640": false, "33024": false} {
		if _, err := ParseNotifyMask(text); (err == nil) != ok {
			t.Errorf("mask %q: %v", text, err)
		}
	}
	if m, _ := ParseNotifyMask("16518"); !m.Has(NotifyInitialStatus|NotifyInitialState) || m.Has(NotifyEngineUpdates) {
		t.Errorf("mask 16518 is %b", m)
	}
}

func TestNotifyShape(t *testing.T) {
	state, url := Running, "https://x"
	n := Notify{Version: "v", SessionID: "s", State: &state, BrowseToURL: &url, LoginFinished: &Empty{},
		Health: &HealthState{Warnings: map[WarnableCode]UnhealthyState{}}, PeerState: map[control.StableNodeID]PeerState{"n1": PeerStateEstablished}}
	want := `{"Version":"v","SessionID":"s","LoginFinished":{},"State":6,"PeerState":{"n1":"established"},"BrowseToURL":"https://x","Health":{"Warnings":{}}}`
	if got := mustJSON(t, n); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	if got := mustJSON(t, Notify{}); got != `{}` {
		t.Errorf("nothing changed is %s", got)
	}
}

// TestStatusShape holds the presence and order of the wire document cli, section
// 3.2.
func TestStatusShape(t *testing.T) {
	want := `{"Version":"","TUN":false,"BackendState":"","AuthURL":"","TailscaleIPs":null,"Self":null,"Health":null,` +
		`"MagicDNSSuffix":"","CurrentTailnet":null,"CertDomains":null,"Peer":null,"User":null,"ClientVersion":null}`
	if got := mustJSON(t, Status{}); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	zero := `"0001-01-01T00:00:00Z"`
	want = `{"ID":"","NodeID":0,"PublicKey":"nodekey:` + strings.Repeat("0", 64) + `","HostName":"","DNSName":"","OS":"","UserID":0,` +
		`"TailscaleIPs":null,"Addrs":null,"CurAddr":"","Relay":"","PeerRelay":"","RxBytes":0,"TxBytes":0,"Created":` + zero +
		`,"LastWrite":` + zero + `,"LastSeen":` + zero + `,"LastHandshake":` + zero + `,"Online":false,"ExitNode":false,` +
		`"ExitNodeOption":false,"Active":false,"PeerAPIURL":null,"TaildropTarget":0,"NoFileSharingReason":"",` +
		`"InNetworkMap":false,"InMagicSock":false,"InEngine":false}`
	if got := mustJSON(t, PeerStatus{}); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func TestStatusMaps(t *testing.T) {
	a, b := key.NodePublicFromRaw32([32]byte{1}), key.NodePublicFromRaw32([32]byte{2})
	s := Status{Peer: map[key.NodePublic]*PeerStatus{b: {}, a: {}}, User: map[control.UserID]control.UserProfile{12: {ID: 12}}}
	if got := s.Peers(); !slices.Equal(got, []key.NodePublic{a, b}) {
		t.Errorf("peers = %v", got)
	}
	got := mustJSON(t, s)
	for _, part := range []string{`"Peer":{"` + a.String() + `":`, `"User":{"12":{"ID":12`} {
		if !strings.Contains(got, part) {
			t.Errorf("%s lacks %s", got, part)
		}
	}
	var back Status
	if err := json.Unmarshal([]byte(got), &back); err != nil || len(back.Peer) != 2 || back.User[12].ID != 12 {
		t.Errorf("read back %+v, %v", back, err)
	}
}

func TestPingShapes(t *testing.T) {
	want := `{"IP":"","NodeIP":"","NodeName":"","Err":"","LatencySeconds":0,"Endpoint":"","PeerRelay":"","DERPRegionID":0,"DERPRegionCode":""}`
	if got := mustJSON(t, PingResult{}); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	r := PingResult{IP: "100.64.0.1", NodeIP: "100.64.0.2", NodeName: "n", Err: "e", LatencySeconds: 1, Endpoint: "1.2.3.4:5",
		PeerRelay: "p", DERPRegionID: 2, DERPRegionCode: "r", PeerAPIPort: 3, PeerAPIURL: "u", IsLocalIP: true}
	wantResp := &control.PingResponse{Type: "TSMP", IP: "100.64.0.1", NodeIP: "100.64.0.2", NodeName: "n", Err: "e", LatencySeconds: 1,
		Endpoint: "1.2.3.4:5", PeerRelay: "p", DERPRegionID: 2, DERPRegionCode: "r", PeerAPIPort: 3, IsLocalIP: true}
	if got := r.ToPingResponse(PingTSMP); *got != *wantResp {
		t.Errorf("got %+v", got)
	}
	for text, ok := range map[string]bool{"disco": true, "TSMP": true, "ICMP": true, "peerapi": true, "tsmp": false, "": false} {
		if got, err := ParsePingType(text); (err == nil) != ok || ok && string(got) != text {
			t.Errorf("ping type %q: %v, %v", text, got, err)
		}
	}
}

func TestNetcheckShape(t *testing.T) {
	r := NetcheckReport{Now: time.Unix(0, 0).UTC(), UDP: true, MappingVariesByDestIP: control.False, PreferredDERP: 1,
		RegionLatency:    map[int]time.Duration{1: 10 * time.Millisecond},
		GlobalV4Counters: map[netip.AddrPort]int{netip.MustParseAddrPort("203.0.113.5:1"): 2}, GlobalV4: netip.MustParseAddrPort("203.0.113.5:1")}
	want := `{"Now":"1970-01-01T00:00:00Z","UDP":true,"IPv6":false,"IPv4":false,"IPv6CanSend":false,"IPv4CanSend":false,"OSHasIPv6":false,` +
		`"ICMPv4":false,"MappingVariesByDestIP":false,"UPnP":null,"PMP":null,"PCP":null,"PreferredDERP":1,"RegionLatency":{"1":10000000},` +
		`"RegionV4Latency":null,"RegionV6Latency":null,"GlobalV4Counters":{"203.0.113.5:1":2},"GlobalV6Counters":null,` +
		`"GlobalV4":"203.0.113.5:1","GlobalV6":"","CaptivePortal":null}`
	if got := mustJSON(t, r); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func TestStartOptionsHideKey(t *testing.T) {
	o := StartOptions{AuthKey: "very-secret"}
	if strings.Contains(o.String(), "secret") || strings.Contains(o.GoString(), "secret") || o.String() == (StartOptions{}).String() {
		t.Errorf("prints %q", o)
	}
	if got := mustJSON(t, o); got != `{"AuthKey":"very-secret"}` {
		t.Errorf("JSON is %s", got)
	}
}

// FuzzMaskedPrefs checks that an edit does the same after being written and read.
func FuzzMaskedPrefs(f *testing.F) {
	f.Add([]byte(`{"Hostname":"x","HostnameSet":true}`))
	f.Add([]byte(`{"AutoUpdate":{"Apply":null},"AutoUpdateSet":{"CheckSet":true},"RelayServerPort":0,"RelayServerPortSet":true}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var m, again MaskedPrefs
		if json.Unmarshal(data, &m) != nil {
			return
		}
		written, err := json.Marshal(m)
		if err != nil {
			t.Fatalf("accepted %q but cannot write it: %v", data, err)
		}
		if err := json.Unmarshal(written, &again); err != nil {
			t.Fatalf("cannot read own output %s: %v", written, err)
		}
		var p, q Prefs
		m.ApplyTo(&p)
		again.ApplyTo(&q)
		if !p.Equal(&q) {
			t.Errorf("%q sets %+v, after writing %+v", data, p, q)
		}
	})
}

func FuzzNotifyMask(f *testing.F) {
	f.Add("16518")
	f.Add("65536")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := ParseNotifyMask(text)
		if err == nil && (m.Has(NotifyInProcess) || m.Check() != nil) {
			t.Errorf("%q was accepted as %b", text, m)
		}
	})
}
