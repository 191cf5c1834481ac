package interop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"tailscale.com/tailcfg"
	"tailscale.com/tka"
	tskey "tailscale.com/types/key"
	"tailscale.com/types/opt"

	"github.com/ginnel/ginnel/wire/control"
)

// wireTypes are messages next to each other: the published type and ours. Types
// inside them are found by walking both.
var wireTypes = []struct{ theirs, ours any }{
	{tailcfg.OverTLSPublicKeyResponse{}, control.KeyResponse{}},
	{tailcfg.EarlyNoise{}, control.EarlyNoise{}},
	{tailcfg.RegisterRequest{}, control.RegisterRequest{}},
	{tailcfg.RegisterResponse{}, control.RegisterResponse{}},
	{tailcfg.MapRequest{}, control.MapRequest{}},
	{tailcfg.MapResponse{}, control.MapResponse{}},
	{tailcfg.PingResponse{}, control.PingResponse{}},
	{tailcfg.SetDNSRequest{}, control.SetDNSRequest{}},
	{tailcfg.SetDNSResponse{}, control.SetDNSResponse{}},
	{tailcfg.TokenRequest{}, control.TokenRequest{}},
	{tailcfg.TokenResponse{}, control.TokenResponse{}},
	{tailcfg.QueryFeatureRequest{}, control.QueryFeatureRequest{}},
	{tailcfg.QueryFeatureResponse{}, control.QueryFeatureResponse{}},
	{tailcfg.SetDeviceAttributesRequest{}, control.SetDeviceAttributesRequest{}},
	{tailcfg.AuditLogRequest{}, control.AuditLogRequest{}},
	{tailcfg.HealthChangeRequest{}, control.HealthChangeRequest{}},
	{tailcfg.WebClientAuthResponse{}, control.WebClientAuthResponse{}},
	{tailcfg.SSHEventNotifyRequest{}, control.SSHEventNotifyRequest{}},
	{tailcfg.DERPAdmitClientRequest{}, control.RelayVerifyRequest{}},
	{tailcfg.DERPAdmitClientResponse{}, control.RelayVerifyResponse{}},
	{tailcfg.ServiceDetails{}, control.ServiceDetails{}},
	{tailcfg.VIPService{}, control.VIPService{}},
	{tailcfg.TKAInitBeginRequest{}, control.TKAInitBeginRequest{}},
	{tailcfg.TKAInitBeginResponse{}, control.TKAInitBeginResponse{}},
	{tailcfg.TKAInitFinishRequest{}, control.TKAInitFinishRequest{}},
	{tailcfg.TKABootstrapRequest{}, control.TKABootstrapRequest{}},
	{tailcfg.TKABootstrapResponse{}, control.TKABootstrapResponse{}},
	{tailcfg.TKASyncOfferRequest{}, control.TKASyncOfferRequest{}},
	{tailcfg.TKASyncOfferResponse{}, control.TKASyncOfferResponse{}},
	{tailcfg.TKASyncSendRequest{}, control.TKASyncSendRequest{}},
	{tailcfg.TKASyncSendResponse{}, control.TKASyncSendResponse{}},
	{tailcfg.TKADisableRequest{}, control.TKADisableRequest{}},
	{tailcfg.TKASubmitSignatureRequest{}, control.TKASignRequest{}},
	{tailcfg.TKASignaturesUsingKeyRequest{}, control.TKAAffectedSigsRequest{}},
	{tailcfg.TKASignaturesUsingKeyResponse{}, control.TKAAffectedSigsResponse{}},
	{tailcfg.C2NUpdateResponse{}, control.C2NUpdateResponse{}},
	{tailcfg.C2NPostureIdentityResponse{}, control.C2NPostureIdentityResponse{}},
	{tailcfg.C2NSSHUsernamesRequest{}, control.C2NSSHUsernamesRequest{}},
	{tailcfg.C2NSSHUsernamesResponse{}, control.C2NSSHUsernamesResponse{}},
	{tailcfg.C2NTLSCertInfo{}, control.C2NTLSCertInfo{}},
	{tailcfg.C2NDebugNetmapRequest{}, control.C2NDebugNetmapRequest{}},
	{tailcfg.C2NDebugNetmapResponse{}, control.C2NDebugNetmapResponse{}},
	{tailcfg.C2NVIPServicesResponse{}, control.C2NVIPServicesResponse{}},
	{tailcfg.C2NAppConnectorDomainRoutesResponse{}, control.C2NAppConnectorRoutesResponse{}},
}

// unusedJSON are members that the published types still name and nobody reads.
var unusedJSON = map[string]bool{
	"SSHPrincipal.pubKeys": true,
}

// zeroPointers are members that are pointers to them and values to us, since a
// pointer to a zero time or address says no more than none.
var zeroPointers = map[string]bool{
	"RegisterRequest.Timestamp":          true,
	"MapResponse.ControlTime":            true,
	"Node.SelfNodeV4MasqAddrForThisPeer": true,
	"Node.SelfNodeV6MasqAddrForThisPeer": true,
	"SSHRule.ruleExpires":                true,
}

// fieldValues makes values of members whose type says less than their meaning.
var fieldValues = map[string]func(r *rand.Rand) any{
	"C2NTLSCertInfo.NotBefore": randomTimeText,
	"C2NTLSCertInfo.NotAfter":  randomTimeText,
}

func randomTimeText(r *rand.Rand) any {
	return time.Unix(r.Int64N(4e9), 0).UTC().Format(time.RFC3339)
}

// jsonFields returns the exported fields of a struct type by their JSON names.
func jsonFields(t reflect.Type) map[string]reflect.StructField {
	fields := map[string]reflect.StructField{}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" || f.Anonymous {
			continue
		}
		if name == "" {
			name = f.Name
		}
		fields[name] = f
	}
	return fields
}

// walkTypes calls visit with every pair of structs that the pair reaches.
func walkTypes(theirs, ours reflect.Type, seen map[reflect.Type]bool, visit func(theirs, ours reflect.Type)) {
	for theirs.Kind() == reflect.Pointer {
		theirs = theirs.Elem()
	}
	for ours.Kind() == reflect.Pointer {
		ours = ours.Elem()
	}
	if wireValues[theirs] != nil || theirs.Kind() != ours.Kind() {
		return
	}
	switch theirs.Kind() {
	case reflect.Slice, reflect.Array, reflect.Map:
		walkTypes(theirs.Elem(), ours.Elem(), seen, visit)
	case reflect.Struct:
		if seen[theirs] {
			return
		}
		seen[theirs] = true
		visit(theirs, ours)
		ourFields := jsonFields(ours)
		for name, f := range jsonFields(theirs) {
			if g, ok := ourFields[name]; ok {
				walkTypes(f.Type, g.Type, seen, visit)
			}
		}
	}
}

// allPairs returns every pair of struct types that crosses the wire.
func allPairs() [][2]reflect.Type {
	var pairs [][2]reflect.Type
	seen := map[reflect.Type]bool{}
	for _, m := range wireTypes {
		walkTypes(reflect.TypeOf(m.theirs), reflect.TypeOf(m.ours), seen,
			func(theirs, ours reflect.Type) { pairs = append(pairs, [2]reflect.Type{theirs, ours}) })
	}
	return pairs
}

// TestWireFieldNames compares the JSON names of every struct, however deep: none
// is missing on our side and none is of our own making.
func TestWireFieldNames(t *testing.T) {
	pairs := allPairs()
	if len(pairs) < 70 {
		t.Fatalf("only %d pairs of types were found", len(pairs))
	}
	for _, p := range pairs {
		theirs, ours := jsonFields(p[0]), jsonFields(p[1])
		for name := range theirs {
			if _, ok := ours[name]; !ok && !unusedJSON[p[0].Name()+"."+name] {
				t.Errorf("%v lacks %q of %v", p[1], name, p[0])
			}
		}
		for name := range ours {
			if _, ok := theirs[name]; !ok {
				t.Errorf("%v has %q, which %v lacks", p[1], name, p[0])
			}
		}
	}
}

// wireValues makes values of the types whose JSON is not that of their fields.
var wireValues = map[reflect.Type]func(r *rand.Rand) any{
	reflect.TypeFor[tskey.NodePublic]():      func(*rand.Rand) any { return tskey.NewNode().Public() },
	reflect.TypeFor[tskey.MachinePublic]():   func(*rand.Rand) any { return tskey.NewMachine().Public() },
	reflect.TypeFor[tskey.DiscoPublic]():     func(*rand.Rand) any { return tskey.NewDisco().Public() },
	reflect.TypeFor[tskey.ChallengePublic](): func(*rand.Rand) any { return tskey.NewChallenge().Public() },
	reflect.TypeFor[tskey.NLPublic]():        func(*rand.Rand) any { return tskey.NewNLPrivate().Public() },
	reflect.TypeFor[tskey.HardwareAttestationPublic](): func(*rand.Rand) any {
		return newHardwareKey()
	},
	reflect.TypeFor[netip.Addr]():     func(r *rand.Rand) any { return randomAddr(r) },
	reflect.TypeFor[netip.AddrPort](): func(r *rand.Rand) any { return netip.AddrPortFrom(randomAddr(r), uint16(r.Uint32())) },
	reflect.TypeFor[netip.Prefix](): func(r *rand.Rand) any {
		a := randomAddr(r)
		return netip.PrefixFrom(a, r.IntN(a.BitLen()+1)).Masked()
	},
	reflect.TypeFor[time.Time](): func(r *rand.Rand) any {
		zone := time.FixedZone("", (r.IntN(27)-12)*3600)
		return time.Unix(r.Int64N(4e9), r.Int64N(3)*123456789).In(zone)
	},
	reflect.TypeFor[opt.Bool]():           func(r *rand.Rand) any { return opt.NewBool(r.IntN(2) == 0) },
	reflect.TypeFor[json.RawMessage]():    func(r *rand.Rand) any { return json.RawMessage(rawJSON(r)) },
	reflect.TypeFor[tailcfg.RawMessage](): func(r *rand.Rand) any { return tailcfg.RawMessage(rawJSON(r)) },
	reflect.TypeFor[tka.AUMHash]():        func(r *rand.Rand) any { var h tka.AUMHash; h[r.IntN(32)] = 7; return h },
	reflect.TypeFor[tailcfg.PortRange](): func(r *rand.Rand) any {
		a, b := uint16(r.Uint32()), uint16(r.Uint32())
		return tailcfg.PortRange{First: min(a, b), Last: max(a, b)}
	},
	reflect.TypeFor[tailcfg.ProtoPortRange](): func(r *rand.Rand) any {
		port := uint16(1 + r.IntN(65000))
		return tailcfg.ProtoPortRange{
			Proto: []int{0, 1, 6, 17, 58, 132, 200}[r.IntN(7)],
			Ports: []tailcfg.PortRange{{First: port, Last: port}, {First: port, Last: port + 9}, tailcfg.PortRangeAny}[r.IntN(3)],
		}
	},
	reflect.TypeFor[tailcfg.SignatureType](): func(r *rand.Rand) any {
		return []tailcfg.SignatureType{tailcfg.SignatureV1, tailcfg.SignatureV2}[r.IntN(2)]
	},
	reflect.TypeFor[tailcfg.HostinfoView](): func(r *rand.Rand) any {
		h := &tailcfg.Hostinfo{OS: randomText(r), Hostname: randomText(r), NetInfo: &tailcfg.NetInfo{PreferredDERP: 1 + r.IntN(9)}}
		return h.View()
	},
	reflect.TypeFor[any](): func(r *rand.Rand) any { return []any{"text", 1.5, true, nil}[r.IntN(4)] },
	reflect.TypeFor[tailcfg.AttrUpdate](): func(r *rand.Rand) any {
		return tailcfg.AttrUpdate{"a": "text", "b": float64(r.IntN(9)), "c": true, "d": nil}
	},
}

func newHardwareKey() (k tskey.HardwareAttestationPublic) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		panic(err)
	}
	point, err := private.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	if err := k.UnmarshalText([]byte("hwattestpub:" + hex.EncodeToString(point))); err != nil {
		panic(err)
	}
	return k
}

func randomAddr(r *rand.Rand) netip.Addr {
	if r.IntN(2) == 0 {
		return netip.AddrFrom4([4]byte{100, 64, byte(r.Uint32()), byte(r.Uint32())})
	}
	a := [16]byte{0xfd, 0x7a}
	for i := 2; i < len(a); i++ {
		a[i] = byte(r.Uint32())
	}
	return netip.AddrFrom16(a)
}

func rawJSON(r *rand.Rand) string {
	return []string{`{"any":[1,"x"]}`, `"text"`, `12.5`, `true`, `[]`, `{"a":{"b":null}}`}[r.IntN(6)]
}

// randomText has what JSON writers treat in several ways.
func randomText(r *rand.Rand) string {
	texts := []string{"alpha", "x<y>&z", "tab\tquote\"slash\\", "grüße 漢字", "line\u2028end", "svc:web", "*"}
	return fmt.Sprintf("%s%d", texts[r.IntN(len(texts))], r.IntN(1000))
}

// wireFiller sets values at random. Each field is set with the given chance, so
// that presence rules meet in many combinations.
type wireFiller struct {
	r      *rand.Rand
	chance float64
	// empties makes some lists and maps empty but not nil.
	empties bool
}

// maxWireDepth ends recursive types.
const maxWireDepth = 14

func (w wireFiller) fill(v reflect.Value, depth int) {
	if depth > maxWireDepth {
		return
	}
	if f := wireValues[v.Type()]; f != nil {
		if x := f(w.r); x != nil {
			v.Set(reflect.ValueOf(x))
		}
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(1 + w.r.Int64N(5))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1 + w.r.Uint64N(200))
	case reflect.Float64:
		v.SetFloat(0.125 * float64(1+w.r.IntN(1000)))
	case reflect.String:
		v.SetString(randomText(w.r))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		if wireValues[v.Type().Elem()] != nil || w.r.Float64() < w.chance { // else a pointer to zero
			w.fill(v.Elem(), depth+1)
		}
	case reflect.Slice:
		n := 1 + w.r.IntN(2)
		if w.empties && w.r.IntN(3) == 0 {
			n = 0
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			w.fill(v.Index(i), depth+1)
		}
	case reflect.Array:
		for i := range v.Len() {
			w.fill(v.Index(i), depth+1)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		if w.empties && w.r.IntN(3) == 0 {
			return
		}
		k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		w.fill(k, depth+1)
		w.fill(e, depth+1)
		v.SetMapIndex(k, e)
	case reflect.Struct:
		fields := jsonFields(v.Type())
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			if w.r.Float64() < w.chance {
				w.fillField(v, name, fields[name], depth)
			}
		}
	default:
		panic("no value for " + v.Type().String())
	}
}

// fillField sets one member of the struct v.
func (w wireFiller) fillField(v reflect.Value, name string, f reflect.StructField, depth int) {
	full := v.Type().Name() + "." + name
	switch field := v.FieldByIndex(f.Index); {
	case unusedJSON[full]:
	case fieldValues[full] != nil:
		field.Set(reflect.ValueOf(fieldValues[full](w.r)))
	default:
		w.fill(field, depth+1)
	}
}

// setEmpty sets v to what is empty but not nil, if there is such a thing.
func setEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return false // empty bytes mean no bytes
		}
		v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	default:
		return false
	}
	return true
}

// tree returns the JSON of v as what it means.
func tree(t *testing.T, data []byte) (v any) {
	t.Helper()
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// translate reads data as a new value of the type and writes that again.
func translate(t *testing.T, data []byte, as reflect.Type) []byte {
	t.Helper()
	v := reflect.New(as)
	if err := json.Unmarshal(data, v.Interface()); err != nil {
		t.Fatalf("%v cannot read %s: %v", as, data, err)
	}
	out, err := json.Marshal(v.Interface())
	if err != nil {
		t.Fatalf("%v read from %s cannot be written: %v", as, data, err)
	}
	return out
}

// checkBothWays writes a value of theirs, and expects it to stay the same through
// ours, and through ours and theirs again.
func checkBothWays(t *testing.T, value reflect.Value, ours reflect.Type) {
	t.Helper()
	want, err := json.Marshal(value.Addr().Interface())
	if err != nil {
		t.Fatal(err)
	}
	got := translate(t, want, ours)
	if diff := cmp.Diff(tree(t, want), tree(t, got)); diff != "" {
		t.Errorf("%v and %v differ (-theirs +ours):\n%s", value.Type(), ours, diff)
		return
	}
	back := translate(t, got, value.Type())
	if diff := cmp.Diff(tree(t, got), tree(t, back)); diff != "" {
		t.Errorf("%v from our JSON differs (-ours +theirs):\n%s", value.Type(), diff)
	}
}

// TestWireEachField sets one field at a time, in every struct that crosses the
// wire: filled, empty but not nil, and a pointer to nothing. What stands beside it
// in the JSON is what is always written.
func TestWireEachField(t *testing.T) {
	for _, p := range allPairs() {
		zero := reflect.New(p[0]).Elem()
		checkBothWays(t, zero, p[1])
		for name, f := range jsonFields(p[0]) {
			v := reflect.New(p[0]).Elem()
			if !zeroPointers[p[0].Name()+"."+name] && setEmpty(v.FieldByIndex(f.Index)) {
				checkBothWays(t, v, p[1])
			}
			for seed := range uint64(5) {
				v := reflect.New(p[0]).Elem()
				wireFiller{r: rand.New(rand.NewPCG(seed, 1)), chance: 1}.fillField(v, name, f, 0)
				checkBothWays(t, v, p[1])
			}
		}
	}
}

// TestWireRandom sends many random messages both ways.
func TestWireRandom(t *testing.T) {
	seed := rand.Uint64()
	for _, m := range wireTypes {
		theirs, ours := reflect.TypeOf(m.theirs), reflect.TypeOf(m.ours)
		t.Run(theirs.Name(), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 2))
			for i := range 60 {
				v := reflect.New(theirs).Elem()
				wireFiller{r: r, chance: []float64{0.2, 0.6, 1}[i%3], empties: i%2 == 0}.fill(v, 0)
				if checkBothWays(t, v, ours); t.Failed() {
					t.Fatalf("seed %d", seed)
				}
			}
		})
	}
}

// TestOurEmptiesReachThem sends the explicit empty values that the published types
// cannot write but do tell from absent ones.
func TestOurEmptiesReachThem(t *testing.T) {
	frame, err := json.Marshal(control.MapResponse{
		Node:              &control.Node{AllowedIPs: []netip.Prefix{}},
		PacketFilter:      []control.FilterRule{},
		PacketFilters:     map[string][]control.FilterRule{"x": {}, "*": nil},
		Health:            []string{},
		PeersChangedPatch: []*control.PeerChange{{NodeID: 3, CapMap: control.NodeCapMap{}, Endpoints: []netip.AddrPort{}, KeyExpiry: new(time.Time)}},
		DERPMap:           &control.DERPMap{Regions: map[int]*control.DERPRegion{}, HomeParams: &control.DERPHomeParams{RegionScore: map[int]float64{}}},
		DNSConfig:         &control.DNSConfig{Routes: control.DNSRoutes{"corp.example": nil}},
		SSHPolicy:         &control.SSHPolicy{Rules: []control.SSHRule{}},
		TKAInfo:           &control.TKAInfo{},
		DisplayMessages:   map[control.DisplayMessageID]*control.DisplayMessage{"m": nil},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got tailcfg.MapResponse
	if err := json.Unmarshal(frame, &got); err != nil {
		t.Fatal(err)
	}
	filters := got.PacketFilters
	patch := got.PeersChangedPatch[0]
	gone, hasMessage := got.DisplayMessages["m"]
	for what, ok := range map[string]bool{
		"AllowedIPs":      got.Node.AllowedIPs != nil && len(got.Node.AllowedIPs) == 0,
		"PacketFilter":    got.PacketFilter != nil && len(got.PacketFilter) == 0,
		"PacketFilters":   len(filters) == 2 && filters["x"] != nil && filters["*"] == nil,
		"Health":          got.Health != nil && len(got.Health) == 0,
		"CapMap":          patch.CapMap != nil,
		"Endpoints":       patch.Endpoints != nil,
		"KeyExpiry":       patch.KeyExpiry != nil && patch.KeyExpiry.IsZero(),
		"Regions":         got.DERPMap.Regions != nil,
		"RegionScore":     got.DERPMap.HomeParams.RegionScore != nil,
		"Routes":          got.DNSConfig.Routes["corp.example"] != nil,
		"Rules":           got.SSHPolicy.Rules != nil,
		"TKAInfo":         got.TKAInfo != nil,
		"DisplayMessages": hasMessage && gone == nil,
	} {
		if !ok {
			t.Errorf("%s of %s arrives as something else than an explicit empty value", what, frame)
		}
	}
}

// TestKeepAliveBytes holds the frame that nodes compare byte for byte.
func TestKeepAliveBytes(t *testing.T) {
	want, err := json.Marshal(tailcfg.MapResponse{KeepAlive: true})
	if err != nil || string(want) != control.KeepAliveBody {
		t.Errorf("theirs is %s (%v), ours %s", want, err, control.KeepAliveBody)
	}
}

// TestCapabilityNames finds every capability named in our source among those named
// in theirs.
func TestCapabilityNames(t *testing.T) {
	dir, err := exec.Command("go", "list", "-f", "{{.Dir}}", "tailscale.com/tailcfg").Output()
	if err != nil {
		t.Fatalf("find the published source: %v", err)
	}
	theirs := stringConstants(t, strings.TrimSpace(string(dir)))
	known := map[string]bool{}
	for _, value := range theirs {
		known[value] = true
	}
	ownNames := map[string]bool{
		"AttrDisableIPv4":    true, // read by servers only
		"AttrServicesPrefix": true, // starts names
		"AttrAppConnectors":  true, // named where it is used
	}
	ours := 0
	for name, value := range stringConstants(t, "../wire/control") {
		if !strings.HasPrefix(name, "Cap") && !strings.HasPrefix(name, "Attr") && !strings.HasPrefix(name, "PeerCap") {
			continue
		}
		ours++
		if !known[value] && !ownNames[name] {
			t.Errorf("%s is %q, which no published constant is", name, value)
		}
	}
	if ours < 60 {
		t.Errorf("only %d capability names were compared", ours)
	}
}

// stringConstants returns the exported string constants of a package by name, as
// far as they are literals, other constants and sums of them.
func stringConstants(t *testing.T, dir string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no source in %s: %v", dir, err)
	}
	exprs := map[string]ast.Expr{}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok {
				for i, id := range spec.Names {
					if i < len(spec.Values) {
						exprs[id.Name] = spec.Values[i]
					}
				}
			}
			return true
		})
	}
	values := map[string]string{}
	for name, expr := range exprs {
		if value, ok := stringValue(expr, exprs); ok && ast.IsExported(name) {
			values[name] = value
		}
	}
	return values
}

func stringValue(e ast.Expr, consts map[string]ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(e.Value)
		return s, err == nil && e.Kind == token.STRING
	case *ast.Ident:
		if c, ok := consts[e.Name]; ok {
			return stringValue(c, consts)
		}
	case *ast.BinaryExpr:
		x, okX := stringValue(e.X, consts)
		y, okY := stringValue(e.Y, consts)
		return x + y, okX && okY
	}
	return "", false
}
