package control

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/ginnel/ginnel/wire/key"
)

// checkStable decodes data as a T and, if it is one, checks that what is written
// is read and written the same.
func checkStable[T any](t *testing.T, data []byte) {
	t.Helper()
	var first T
	if json.Unmarshal(data, &first) != nil {
		return
	}
	once, err := json.Marshal(&first)
	if err != nil {
		t.Fatalf("accepted %q but cannot write it: %v", data, err)
	}
	var second T
	if err := json.Unmarshal(once, &second); err != nil {
		t.Fatalf("cannot read own output %s: %v", once, err)
	}
	twice, err := json.Marshal(&second)
	if err != nil || string(twice) != string(once) {
		t.Fatalf("unstable, %v:\n%s\n%s", err, once, twice)
	}
}

// addSeeds adds an empty value, a zero one, and one for each field with everything
// in that set. Small seeds matter: a fuzzer that finds something new in a long one
// spends its time on shortening that.
func addSeeds[T any](f *testing.F) {
	var zero T
	f.Add([]byte(`{}`))
	f.Add([]byte(`null`))
	add := func(v T) {
		b, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	add(zero)
	for i := range reflect.TypeFor[T]().NumField() {
		var v T
		fill(new(testing.T), reflect.ValueOf(&v).Elem().Field(i))
		add(v)
	}
}

func FuzzRegisterRequest(f *testing.F) {
	addSeeds[RegisterRequest](f)
	f.Add([]byte(`{"SignatureType":"signature-unknown(3)","Timestamp":"2024-02-30T00:00:00+23:59"}`))
	f.Fuzz(func(t *testing.T, data []byte) { checkStable[RegisterRequest](t, data) })
}

func FuzzMapRequest(f *testing.F) {
	addSeeds[MapRequest](f)
	f.Add([]byte(`{"HardwareAttestationKey":"","Endpoints":["[fe80::1%eth0]:5",""]}`))
	f.Fuzz(func(t *testing.T, data []byte) { checkStable[MapRequest](t, data) })
}

func FuzzMapResponse(f *testing.F) {
	addSeeds[MapResponse](f)
	f.Add([]byte(`{"Peers":[null],"DERPMap":{"Regions":{"1":null}},"Node":{"CapMap":{"a":null,"b":[],"c":[null]}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		checkStable[MapResponse](t, data)
		var r MapResponse
		if json.Unmarshal(data, &r) != nil {
			return
		}
		r.DropNil()
		(*DERPMap)(nil).Merge(r.DERPMap).Merge(r.DERPMap)
		for _, p := range append(r.Peers, r.Node) {
			if c := p.Clone(); !reflect.DeepEqual(c, p) {
				t.Fatalf("clone differs: %+v and %+v", c, p)
			}
		}
	})
}

func FuzzProtoPortRange(f *testing.F) {
	for _, s := range []string{"", "*", "tcp:443", "6:1-2", "x:1", "0:0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParseProtoPortRange(text)
		if err != nil {
			return
		}
		if again, err := ParseProtoPortRange(p.String()); err != nil || again != p {
			t.Errorf("%q is %+v, written %q, read %+v, %v", text, p, p, again, err)
		}
	})
}

func FuzzNames(f *testing.F) {
	f.Add("Alice's Mac.local")
	f.Add("tag:a-b")
	f.Fuzz(func(t *testing.T, name string) {
		label := SanitizeHostname(name)
		if len(label) > 63 {
			t.Errorf("%q became a label of %d bytes", name, len(label))
		}
		for i, c := range []byte(label) {
			edge := i == 0 || i == len(label)-1
			if !isAlnum(c) && (c != '-' || edge) {
				t.Errorf("%q became %q", name, label)
			}
		}
		if again := SanitizeHostname(label); again != label {
			t.Errorf("%q became %q and then %q", name, label, again)
		}
		ValidTag(name)
	})
}

// FuzzRegisterResponse and the targets below it are what a node reads from a server.
func FuzzRegisterResponse(f *testing.F) {
	addSeeds[RegisterResponse](f)
	f.Fuzz(func(t *testing.T, data []byte) { checkStable[RegisterResponse](t, data) })
}

func FuzzKeyResponse(f *testing.F) {
	addSeeds[KeyResponse](f)
	f.Fuzz(func(t *testing.T, data []byte) { checkStable[KeyResponse](t, data) })
}

// FuzzSmallRequests reads any bytes as each of the smaller requests a node makes.
func FuzzSmallRequests(f *testing.F) {
	addSeeds[SetDNSRequest](f)
	f.Add([]byte(`{"Update":{"a":"text","b":1.5,"c":true,"d":null}}`))
	addSeeds[AuditLogRequest](f)
	addSeeds[SSHEventNotifyRequest](f)
	addSeeds[TKASyncOfferRequest](f)
	addSeeds[RelayVerifyRequest](f)
	f.Fuzz(func(t *testing.T, data []byte) {
		checkStable[SetDNSRequest](t, data)
		checkStable[SetDeviceAttributesRequest](t, data)
		checkStable[AuditLogRequest](t, data)
		checkStable[SSHEventNotifyRequest](t, data)
		checkStable[TKASyncOfferRequest](t, data)
		checkStable[RelayVerifyRequest](t, data)
	})
}

// TestFullShapesSurvive reads and writes every large type with all fields set.
func TestFullShapesSurvive(t *testing.T) {
	full := func(v any) []byte {
		fill(t, reflect.ValueOf(v).Elem())
		return []byte(mustJSON(t, v))
	}
	checkStable[RegisterResponse](t, full(new(RegisterResponse)))
	checkStable[SSHPolicy](t, full(new(SSHPolicy)))
	checkStable[PingRequest](t, full(new(PingRequest)))
	checkStable[SSHEventNotifyRequest](t, full(new(SSHEventNotifyRequest)))
	checkStable[ServiceDetails](t, full(new(ServiceDetails)))
	checkStable[C2NTLSCertInfo](t, full(new(C2NTLSCertInfo)))

	var r MapResponse
	b := full(&r)
	var back MapResponse
	if err := json.Unmarshal(b, &back); err != nil || !reflect.DeepEqual(r, back) {
		t.Errorf("a full map frame does not survive JSON: %v", err)
	}
	var zero key.HardwareAttestationPublic
	if !zero.IsZero() {
		t.Error("the zero attestation key is not zero")
	}
}

func FuzzFrame(f *testing.F) {
	f.Add([]byte(KeepAliveBody), uint16(18))
	f.Add([]byte{}, uint16(0))
	f.Fuzz(func(t *testing.T, body []byte, max uint16) {
		frame := AppendFrame(nil, body)
		n, err := ParseFrameLength([FrameHeaderLen]byte(frame), int(max))
		ok := len(body) > 0 && len(body) <= int(max)
		if (err == nil) != ok || ok && (n != len(body) || string(frame[FrameHeaderLen:]) != string(body)) {
			t.Errorf("a body of %d bytes under a limit of %d gave %d, %v", len(body), max, n, err)
		}
	})
}
