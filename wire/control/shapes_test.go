package control

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

const (
	zeros    = "0000000000000000000000000000000000000000000000000000000000000000"
	zeroNode = `"nodekey:` + zeros + `"`
	zeroTime = `"0001-01-01T00:00:00Z"`
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

// TestZeroShapes holds the presence column of every table: what a zero value
// writes is exactly the fields that are always written.
func TestZeroShapes(t *testing.T) {
	tests := []struct {
		value any
		want  string
	}{
		{KeyResponse{}, `{"legacyPublicKey":"mkey:` + zeros + `","publicKey":"mkey:` + zeros + `"}`},
		{EarlyNoise{}, `{"nodeKeyChallenge":"chalpub:` + zeros + `"}`},
		{RegisterRequest{}, `{"Version":0,"NodeKey":` + zeroNode + `,"OldNodeKey":` + zeroNode + `,"NLKey":"nlpub:` + zeros +
			`","Expiry":` + zeroTime + `,"Followup":"","Hostinfo":null,"NodeKeySignature":null}`},
		{RegisterAuth{}, `{}`},
		{Oauth2Token{}, `{"access_token":""}`},
		{RegisterResponse{}, `{"User":{"ID":0,"DisplayName":""},"Login":{"ID":0,"Provider":"","LoginName":"","DisplayName":""},` +
			`"NodeKeyExpired":false,"MachineAuthorized":false,"AuthURL":"","NodeKeySignature":null,"Error":""}`},
		{MapRequest{}, `{"Version":0,"NodeKey":` + zeroNode + `,"DiscoKey":"discokey:` + zeros + `","Hostinfo":null}`},
		{MapResponse{}, `{}`},
		{PeerChange{}, `{"NodeID":0}`},
		{Debug{}, `{}`},
		{DisplayMessage{}, `{"Title":"","Text":"","Severity":""}`},
		{DisplayMessageAction{}, `{"URL":"","Label":""}`},
		{ControlDialPlan{}, `{"Candidates":null}`},
		{ControlIPCandidate{}, `{}`},
		{ClientVersion{}, `{}`},
		{UserProfile{}, `{"ID":0,"LoginName":"","DisplayName":""}`},
		{Node{}, `{"ID":0,"StableID":"","Name":"","User":0,"Key":` + zeroNode + `,"Addresses":null}`},
		{Hostinfo{}, `{}`},
		{NetInfo{}, `{}`},
		{Location{}, `{}`},
		{TPMInfo{}, `{}`},
		{Service{}, `{"Proto":"","Port":0}`},
		{DNSConfig{}, `{}`},
		{Resolver{}, `{}`},
		{DNSRecord{}, `{"Name":"","Value":""}`},
		{FilterRule{}, `{"SrcIPs":null}`},
		{NetPortRange{}, `{"IP":"","Ports":{"First":0,"Last":0}}`},
		{CapGrant{}, `{"Dsts":null}`},
		{DERPMap{}, `{"Regions":null}`},
		{DERPHomeParams{}, `{}`},
		{DERPRegion{}, `{"RegionID":0,"RegionCode":"","RegionName":"","Nodes":null}`},
		{DERPNode{}, `{"Name":"","RegionID":0,"HostName":""}`},
		{SSHPolicy{}, `{"rules":null}`},
		{SSHRule{}, `{"principals":null,"sshUsers":null,"action":null}`},
		{SSHPrincipal{}, `{}`},
		{SSHAction{}, `{}`},
		{SSHRecorderFailureAction{}, `{}`},
		{SSHEventNotifyRequest{}, `{"EventType":0,"ConnectionID":"","CapVersion":0,"NodeKey":` + zeroNode +
			`,"SrcNode":0,"SSHUser":"","LocalUser":"","RecordingAttempts":null}`},
		{PingRequest{}, `{"URL":""}`},
		{PingResponse{}, `{"Type":""}`},
		{TKAInfo{}, `{}`},
		{TKAInitBeginRequest{}, `{"Version":0,"NodeKey":` + zeroNode + `,"GenesisAUM":null}`},
		{TKAInitBeginResponse{NeedSignatures: []TKASignInfo{{}}}, `{"NeedSignatures":[{"NodeID":0,"NodePublic":` + zeroNode + `,"RotationPubkey":null}]}`},
		{TKAInitFinishRequest{}, `{"Version":0,"NodeKey":` + zeroNode + `,"Signatures":null}`},
		{TKABootstrapRequest{}, `{"Version":0,"NodeKey":` + zeroNode + `,"Head":""}`},
		{TKABootstrapResponse{}, `{}`},
		{TKASyncOfferRequest{}, `{"Version":0,"NodeKey":` + zeroNode + `,"Head":"","Ancestors":null}`},
		{TKASyncOfferResponse{}, `{"Head":"","Ancestors":null,"MissingAUMs":null}`},
		{TKASyncSendRequest{}, `{"Version":0,"NodeKey":` + zeroNode + `,"Head":"","MissingAUMs":null,"Interactive":false}`},
		{TKASyncSendResponse{}, `{"Head":""}`},
		{TKADisableRequest{}, `{"Version":0,"NodeKey":` + zeroNode + `,"Head":"","DisablementSecret":null}`},
		{TKASignRequest{}, `{"Version":0,"NodeKey":` + zeroNode + `,"Signature":null}`},
		{TKAAffectedSigsRequest{}, `{"Version":0,"NodeKey":` + zeroNode + `,"KeyID":null}`},
		{TKAAffectedSigsResponse{}, `{"Signatures":null}`},
		{SetDNSRequest{}, `{"Version":0,"NodeKey":` + zeroNode + `,"Name":"","Type":"","Value":""}`},
		{SetDNSResponse{}, `{}`},
		{TokenRequest{}, `{"CapVersion":0,"NodeKey":` + zeroNode + `,"Audience":""}`},
		{TokenResponse{}, `{"id_token":""}`},
		{QueryFeatureRequest{}, `{}`},
		{QueryFeatureResponse{}, `{}`},
		{SetDeviceAttributesRequest{}, `{"Version":0,"NodeKey":` + zeroNode + `,"Update":null}`},
		{AuditLogRequest{}, `{}`},
		{HealthChangeRequest{}, `{"Subsys":"","Error":"","NodeKey":` + zeroNode + `}`},
		{WebClientAuthResponse{}, `{}`},
		{RelayVerifyRequest{}, `{"NodePublic":` + zeroNode + `,"Source":""}`},
		{RelayVerifyResponse{}, `{"Allow":false}`},
		{C2NUpdateResponse{}, `{"Enabled":false,"Supported":false,"Started":false}`},
		{C2NPostureIdentityResponse{}, `{}`},
		{C2NSSHUsernamesRequest{}, `{}`},
		{C2NTLSCertInfo{}, `{}`},
		{C2NDebugNetmapRequest{}, `{}`},
		{C2NDebugNetmapResponse{}, `{"current":null}`},
		{C2NVIPServicesResponse{}, `{"ServicesHash":""}`},
		{VIPService{}, `{"Name":"","Ports":null,"Active":false}`},
		{ServiceDetails{}, `{"Name":""}`},
		{ServiceAction{}, `{"Type":"","Port":0}`},
		{AppConnectorAttr{}, `{}`},
	}
	for _, tt := range tests {
		if got := mustJSON(t, tt.value); got != tt.want {
			t.Errorf("%T:\n got %s\nwant %s", tt.value, got, tt.want)
		}
	}
}

// TestVectors holds the JSON shapes of section 14 that are not zero values, and
// the explicit empties of sections 5.5 to 5.7.
func TestVectors(t *testing.T) {
	never := time.Time{}
	tests := []struct {
		name  string
		value any
		want  string
	}{
		{"allow all", []FilterRule{{SrcIPs: []string{"*"}, DstPorts: []NetPortRange{{IP: "*", Ports: AllPorts}}}},
			`[{"SrcIPs":["*"],"DstPorts":[{"IP":"*","Ports":{"First":0,"Last":65535}}]}]`},
		{"cap values", NodeCapMap{"flag": nil, "flag2": {}, "data": {RawMessage(`{"x":1}`)}},
			`{"data":[{"x":1}],"flag":null,"flag2":[]}`},
		{"online change", MapResponse{OnlineChange: map[NodeID]bool{12: true}}, `{"OnlineChange":{"12":true}}`},
		{"keepalive", MapResponse{KeepAlive: true}, KeepAliveBody},
		{"filter blocks all", MapResponse{PacketFilter: []FilterRule{}}, `{"PacketFilter":[]}`},
		{"filters no change", MapResponse{PacketFilters: map[string][]FilterRule{}}, `{"PacketFilters":{}}`},
		{"filters edit", MapResponse{PacketFilters: map[string][]FilterRule{ClearAll: nil, BaseFilter: {}}},
			`{"PacketFilters":{"*":null,"base":[]}}`},
		{"healthy", MapResponse{Health: []string{}}, `{"Health":[]}`},
		{"no peers is no change", MapResponse{Peers: []*Node{}}, `{}`},
		{"dns off", MapResponse{DNSConfig: &DNSConfig{}}, `{"DNSConfig":{}}`},
		{"deny ssh", MapResponse{SSHPolicy: &SSHPolicy{Rules: []SSHRule{}}}, `{"SSHPolicy":{"rules":[]}}`},
		{"lock on", MapResponse{TKAInfo: &TKAInfo{}}, `{"TKAInfo":{}}`},
		{"dial by dns", MapResponse{ControlDialPlan: &ControlDialPlan{Candidates: []ControlIPCandidate{}}},
			`{"ControlDialPlan":{"Candidates":[]}}`},
		{"collect services", MapResponse{CollectServices: False}, `{"CollectServices":false}`},
		{"message gone", MapResponse{DisplayMessages: map[DisplayMessageID]*DisplayMessage{"m": nil}}, `{"DisplayMessages":{"m":null}}`},
		{"patch clears", PeerChange{NodeID: 3, CapMap: NodeCapMap{}, Endpoints: []netip.AddrPort{}, KeyExpiry: &never},
			`{"NodeID":3,"CapMap":{},"Endpoints":[],"KeyExpiry":` + zeroTime + `}`},
		{"patch offline", PeerChange{NodeID: 3, Online: new(bool)}, `{"NodeID":3,"Online":false}`},
		{"routes to the node itself", DNSConfig{Routes: DNSRoutes{"a.example": nil, "b.example": {}, "c.example": {{Addr: "9.9.9.9"}}}},
			`{"Routes":{"a.example":[],"b.example":[],"c.example":[{"Addr":"9.9.9.9"}]}}`},
		{"no relays", DERPMap{Regions: map[int]*DERPRegion{}}, `{"Regions":{}}`},
		{"scores reset", DERPHomeParams{RegionScore: map[int]float64{}}, `{"RegionScore":{}}`},
		{"ssh host keys", Hostinfo{SSHHostKeys: []string{"k"}, NetInfo: &NetInfo{WorkingUDP: True, DERPLatency: map[string]float64{"1-v4": 0.5}}},
			`{"NetInfo":{"WorkingUDP":true,"DERPLatency":{"1-v4":0.5}},"sshHostKeys":["k"]}`},
		{"services", C2NVIPServicesResponse{VIPServices: []VIPService{{Name: "svc:x", Ports: []ProtoPortRange{{Proto: 6, Ports: PortRange{443, 443}}}}}},
			`{"VIPServices":[{"Name":"svc:x","Ports":["tcp:443"],"Active":false}],"ServicesHash":""}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := mustJSON(t, tt.value)
			if got != tt.want {
				t.Fatalf("\n got %s\nwant %s", got, tt.want)
			}
			back := reflect.New(reflect.TypeOf(tt.value))
			if err := json.Unmarshal([]byte(got), back.Interface()); err != nil {
				t.Fatal(err)
			}
			if again := mustJSON(t, back.Elem().Interface()); again != got {
				t.Errorf("read and written again: %s", again)
			}
		})
	}
}

func TestAllowedIPsNullAndEmpty(t *testing.T) {
	self := netip.MustParsePrefix("100.64.0.1/32")
	null := Node{Addresses: []netip.Prefix{self}}
	empty := Node{Addresses: []netip.Prefix{self}, AllowedIPs: []netip.Prefix{}}
	if got := mustJSON(t, null); strings.Contains(got, "AllowedIPs") {
		t.Errorf("nil is written: %s", got)
	}
	if got := mustJSON(t, empty); !strings.Contains(got, `"AllowedIPs":[]`) {
		t.Errorf("empty is not written: %s", got)
	}
	if got := null.RoutablePrefixes(); len(got) != 1 || got[0] != self {
		t.Errorf("nil allows %v, want the addresses", got)
	}
	if got := empty.RoutablePrefixes(); len(got) != 0 {
		t.Errorf("empty allows %v, want nothing", got)
	}
	var back Node
	if err := json.Unmarshal([]byte(`{"AllowedIPs":[]}`), &back); err != nil || back.AllowedIPs == nil {
		t.Errorf("an empty list is read as nil: %v", err)
	}
}

func TestDecodingIsLenientAndStrictWhereItMust(t *testing.T) {
	var r MapRequest
	if err := json.Unmarshal([]byte(`{"version":113,"STREAM":true,"Unknown":{"x":[1]}}`), &r); err != nil || r.Version != 113 || !r.Stream {
		t.Errorf("got %+v, %v", r, err)
	}
	for _, bad := range []string{`{"NodeKey":"nodekey:12"}`, `{"Endpoints":["1.2.3.4"]}`, `{"HardwareAttestationKeySignatureTimestamp":"yesterday"}`} {
		if err := json.Unmarshal([]byte(bad), new(MapRequest)); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
	var resp MapResponse
	err := json.Unmarshal([]byte(`{"Peers":[null,{"ID":4}],"PeersChanged":[null],"PeersChangedPatch":[null,{"NodeID":2}]}`), &resp)
	if err != nil {
		t.Fatal(err)
	}
	resp.DropNil()
	if len(resp.Peers) != 1 || resp.Peers[0].ID != 4 || len(resp.PeersChanged) != 0 || len(resp.PeersChangedPatch) != 1 {
		t.Errorf("after DropNil: %+v", resp)
	}
}

func TestMapRequestKind(t *testing.T) {
	tests := []struct {
		stream, omit, readOnly bool
		want                   MapRequestKind
	}{
		{true, false, false, MapStream},
		{false, true, false, MapLiteUpdate},
		{false, false, false, MapOneShot},
		{false, false, true, MapRead},
		{false, true, true, MapRead},
		{true, false, true, MapRead},
	}
	for _, tt := range tests {
		r := MapRequest{Stream: tt.stream, OmitPeers: tt.omit, ReadOnly: tt.readOnly}
		if got := r.Kind(); got != tt.want {
			t.Errorf("%+v is kind %v, want %v", tt, got, tt.want)
		}
	}
}
