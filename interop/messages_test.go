package interop

import (
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"tailscale.com/tailcfg"
	"tailscale.com/tka"
	tskey "tailscale.com/types/key"
	"tailscale.com/types/opt"
	"tailscale.com/types/structs"

	"github.com/ginnel/ginnel/wire/control"
)

// fillDepth bounds how deep messages are filled: enough for everything that is
// not recursive.
const fillDepth = 12

// special makes values of types that random bytes do not fit.
var special = map[reflect.Type]func() any{
	reflect.TypeFor[tskey.NodePublic]():       func() any { return tskey.NewNode().Public() },
	reflect.TypeFor[tskey.MachinePublic]():    func() any { return tskey.NewMachine().Public() },
	reflect.TypeFor[tskey.DiscoPublic]():      func() any { return tskey.NewDisco().Public() },
	reflect.TypeFor[tskey.ChallengePublic]():  func() any { return tskey.NewChallenge().Public() },
	reflect.TypeFor[tskey.NLPublic]():         func() any { return tskey.NewNLPrivate().Public() },
	reflect.TypeFor[netip.Addr]():             func() any { return netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + rand.IntN(250))}) },
	reflect.TypeFor[netip.AddrPort]():         func() any { return netip.MustParseAddrPort("192.0.2.9:41641") },
	reflect.TypeFor[netip.Prefix]():           func() any { return netip.MustParsePrefix("100.64.0.7/32") },
	reflect.TypeFor[time.Time]():              func() any { return time.Unix(1700000000+rand.Int64N(1e8), 0).UTC() },
	reflect.TypeFor[opt.Bool]():               func() any { return opt.NewBool(rand.IntN(2) == 0) },
	reflect.TypeFor[json.RawMessage]():        func() any { return json.RawMessage(`{"any":[1,"x"]}`) },
	reflect.TypeFor[tailcfg.RawMessage]():     func() any { return tailcfg.RawMessage(`{"any":[1,"x"]}`) },
	reflect.TypeFor[tka.AUMHash]():            func() any { var h tka.AUMHash; h[0] = 7; return h },
	reflect.TypeFor[tailcfg.PortRange]():      func() any { return tailcfg.PortRange{First: 22, Last: 443} },
	reflect.TypeFor[tailcfg.ProtoPortRange](): func() any { return tailcfg.ProtoPortRange{Proto: 6, Ports: tailcfg.PortRange{First: 1, Last: 9}} },
	reflect.TypeFor[tailcfg.EndpointType]():   func() any { return tailcfg.EndpointSTUN },
	reflect.TypeFor[tailcfg.SignatureType]():  func() any { return tailcfg.SignatureV2 },
	reflect.TypeFor[tailcfg.ServiceProto]():   func() any { return tailcfg.TCP },
	reflect.TypeFor[structs.Incomparable]():   func() any { return structs.Incomparable{} },
}

// fill sets everything that v reaches to values that are not zero, but for
// fields whose name says that nobody uses them.
func fill(v reflect.Value, depth int) {
	if depth == 0 {
		return
	}
	if make := special[v.Type()]; make != nil {
		v.Set(reflect.ValueOf(make()))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(1 + rand.Int64N(100))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1 + rand.Uint64N(100))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(0.125 * float64(1+rand.IntN(100)))
	case reflect.String:
		v.SetString([]string{"alpha", "beta", "gamma-7"}[rand.IntN(3)])
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), depth-1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), depth-1)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), depth-1)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(k, depth-1)
		fill(e, depth-1)
		v.SetMapIndex(k, e)
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if f.IsExported() && !strings.HasPrefix(f.Name, "Unused") {
				fill(v.Field(i), depth-1)
			}
		}
	}
}

// messages are pairs of their type and ours.
var messages = []struct{ theirs, ours any }{
	{tailcfg.OverTLSPublicKeyResponse{}, control.KeyResponse{}},
	{tailcfg.EarlyNoise{}, control.EarlyNoise{}},
	{tailcfg.RegisterRequest{}, control.RegisterRequest{}},
	{tailcfg.RegisterResponse{}, control.RegisterResponse{}},
	{tailcfg.MapRequest{}, control.MapRequest{}},
	{tailcfg.MapResponse{}, control.MapResponse{}},
	{tailcfg.Node{}, control.Node{}},
	{tailcfg.PeerChange{}, control.PeerChange{}},
	{tailcfg.Hostinfo{}, control.Hostinfo{}},
	{tailcfg.NetInfo{}, control.NetInfo{}},
	{tailcfg.DERPMap{}, control.DERPMap{}},
	{tailcfg.DNSConfig{}, control.DNSConfig{}},
	{tailcfg.FilterRule{}, control.FilterRule{}},
	{tailcfg.SSHPolicy{}, control.SSHPolicy{}},
	{tailcfg.PingRequest{}, control.PingRequest{}},
	{tailcfg.PingResponse{}, control.PingResponse{}},
	{tailcfg.ControlDialPlan{}, control.ControlDialPlan{}},
	{tailcfg.ClientVersion{}, control.ClientVersion{}},
	{tailcfg.DisplayMessage{}, control.DisplayMessage{}},
	{tailcfg.SetDNSRequest{}, control.SetDNSRequest{}},
	{tailcfg.DERPAdmitClientRequest{}, control.RelayVerifyRequest{}},
	{tailcfg.DERPAdmitClientResponse{}, control.RelayVerifyResponse{}},
	{tailcfg.HealthChangeRequest{}, control.HealthChangeRequest{}},
	{tailcfg.AuditLogRequest{}, control.AuditLogRequest{}},
	{tailcfg.VIPService{}, control.VIPService{}},
	{tailcfg.TokenRequest{}, control.TokenRequest{}},
	{tailcfg.TokenResponse{}, control.TokenResponse{}},
	{tailcfg.QueryFeatureRequest{}, control.QueryFeatureRequest{}},
	{tailcfg.QueryFeatureResponse{}, control.QueryFeatureResponse{}},
	{tailcfg.SetDeviceAttributesRequest{}, control.SetDeviceAttributesRequest{}},
}

// TestMessages writes each message with every field set on their side, reads
// and writes it on ours, and expects the same JSON; then the same with nothing
// set, so that what is left out when empty agrees too.
func TestMessages(t *testing.T) {
	for _, m := range messages {
		t.Run(reflect.TypeOf(m.theirs).Name(), func(t *testing.T) {
			full := reflect.New(reflect.TypeOf(m.theirs))
			fill(full.Elem(), fillDepth)
			sameJSON(t, "full", full.Interface(), m.ours)
			sameJSON(t, "empty", reflect.New(reflect.TypeOf(m.theirs)).Interface(), m.ours)
		})
	}
}

func sameJSON(t *testing.T, what string, theirs, oursType any) {
	t.Helper()
	want, err := json.Marshal(theirs)
	if err != nil {
		t.Fatal(err)
	}
	ours := reflect.New(reflect.TypeOf(oursType)).Interface()
	if err := json.Unmarshal(want, ours); err != nil {
		t.Fatalf("%s: we cannot read %s: %v", what, want, err)
	}
	got, err := json.Marshal(ours)
	if err != nil {
		t.Fatal(err)
	}
	var wantTree, gotTree any
	if err := json.Unmarshal(want, &wantTree); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(got, &gotTree); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wantTree, gotTree); diff != "" {
		t.Errorf("%s: JSON differs (-theirs +ours):\n%s", what, diff)
	}
}
