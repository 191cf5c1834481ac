package disco

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ginnel/ginnel/wire/key"
)

// fixedKey returns a public key of 32 equal bytes.
func fixedKey(b byte) key.DiscoPublic {
	return key.DiscoPublicFromRaw32([32]byte(bytes.Repeat([]byte{b}, 32)))
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var (
	addr4   = netip.MustParseAddrPort("203.0.113.7:41641")
	addr6   = netip.MustParseAddrPort("[2001:db8::1]:443")
	txID    = TxID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	nodeKey = key.NodePublicFromRaw32([32]byte(bytes.Repeat([]byte{0xaa}, 32)))

	hex4 = "00000000000000000000ffff cb007107 a2a9"
	hex6 = "20010db8000000000000000000000001 01bb"
	hexT = "0102030405060708090a0b0c"
)

func rep(b string, n int) string { return strings.Repeat(b, n) }

// vectors are inner messages next to their bytes, laid out by hand from the tables of
// wire document paths, section 3.
func vectors() []struct {
	name, hex string
	append    func([]byte) []byte
	parse     func(ver byte, body []byte) (any, error)
	want      any
} {
	relay := RelayEndpoint{
		Server: fixedKey(1), Clients: [2]key.DiscoPublic{fixedKey(2), fixedKey(3)}, LamportID: 0x0102030405060708,
		VNI: 0xabcdef, BindLifetime: 30 * time.Second, SteadyLifetime: 5 * time.Minute,
		Addrs: []netip.AddrPort{addr4, addr6},
	}
	relayHex := rep("01", 32) + rep("02", 32) + rep("03", 32) + "0102030405060708" + "00abcdef" +
		"00000006fc23ac00" + "00000045d964b800" + hex4 + hex6
	ping := &Ping{TxID: txID, Node: nodeKey, Padding: 3}
	bare := &Ping{TxID: txID}
	pong := &Pong{TxID: txID, Src: addr4}
	call := &CallMeMaybe{Endpoints: []netip.AddrPort{addr4, addr6}}
	bind := &Bind{VNI: 0x010203, Generation: 7, Remote: fixedKey(9), Challenge: [32]byte(bytes.Repeat([]byte{5}, 32))}
	via := &CallMeMaybeVia{Endpoint: relay}
	request := &AllocateRequest{Clients: relay.Clients, Generation: 0x11223344}
	response := &AllocateResponse{Generation: 0x11223344, Endpoint: relay}
	parsePing := func(_ byte, b []byte) (any, error) { m := new(Ping); return m, m.Parse(b) }
	parseBind := func(_ byte, b []byte) (any, error) { m := new(Bind); return m, m.Parse(b) }
	bindHex := "00010203 00000007" + rep("09", 32) + rep("05", 32)
	return []struct {
		name, hex string
		append    func([]byte) []byte
		parse     func(ver byte, body []byte) (any, error)
		want      any
	}{
		{"ping", "0100" + hexT + rep("aa", 32) + "000000", ping.Append, parsePing, ping},
		{"bare ping", "0100" + hexT, bare.Append, parsePing, bare},
		{"pong", "0200" + hexT + hex4, pong.Append,
			func(_ byte, b []byte) (any, error) { m := new(Pong); return m, m.Parse(b) }, pong},
		{"call-me-maybe", "0300" + hex4 + hex6, call.Append,
			func(v byte, b []byte) (any, error) { m := new(CallMeMaybe); m.Parse(v, b); return m, nil }, call},
		{"bind", "0400" + bindHex, func(b []byte) []byte { return bind.Append(b, TypeBind) }, parseBind, bind},
		{"challenge", "0500" + bindHex, func(b []byte) []byte { return bind.Append(b, TypeChallenge) }, parseBind, bind},
		{"answer", "0600" + bindHex, func(b []byte) []byte { return bind.Append(b, TypeAnswer) }, parseBind, bind},
		{"call-me-maybe-via", "0700" + relayHex, via.Append,
			func(v byte, b []byte) (any, error) { m := new(CallMeMaybeVia); return m, m.Parse(v, b) }, via},
		{"allocate-request", "0800" + rep("02", 32) + rep("03", 32) + "11223344", request.Append,
			func(v byte, b []byte) (any, error) { m := new(AllocateRequest); return m, m.Parse(v, b) }, request},
		{"allocate-response", "0900" + "11223344" + relayHex, response.Append,
			func(v byte, b []byte) (any, error) { m := new(AllocateResponse); return m, m.Parse(v, b) }, response},
	}
}

func TestMessages(t *testing.T) {
	for _, v := range vectors() {
		t.Run(v.name, func(t *testing.T) {
			want := unhex(t, v.hex)
			if got := v.append(nil); !bytes.Equal(got, want) {
				t.Fatalf("append:\n got %x\nwant %x", got, want)
			}
			typ, ver, body, err := Split(want)
			if err != nil || ver != 0 || !strings.HasPrefix(v.name, typ.String()) && v.name != "bare ping" {
				t.Fatalf("Split: type %v version %d error %v", typ, ver, err)
			}
			got, err := v.parse(ver, body)
			if err != nil || !reflect.DeepEqual(got, v.want) {
				t.Fatalf("parse: %+v, %v, want %+v", got, err, v.want)
			}
		})
	}
}

// TestLengths cuts and grows each body by the rules of section 3.1.
func TestLengths(t *testing.T) {
	least := map[Type]int{TypePing: 12, TypePong: 30, TypeBind: 72, TypeChallenge: 72, TypeAnswer: 72,
		TypeCallMeMaybeVia: 142, TypeAllocateRequest: 68, TypeAllocateResponse: 146}
	for _, v := range vectors() {
		typ, _, body, _ := Split(unhex(t, v.hex))
		min, ok := least[typ]
		if !ok {
			continue
		}
		for n := range len(body) + 1 {
			_, err := v.parse(0, body[:n])
			ok := n >= min
			switch typ {
			case TypeCallMeMaybeVia:
				ok = ok && (n-124)%18 == 0
			case TypeAllocateResponse:
				ok = ok && (n-128)%18 == 0
			}
			if (err == nil) != ok {
				t.Errorf("%s cut to %d bytes: error %v", v.name, n, err)
			}
		}
	}
}

func TestPingBodies(t *testing.T) {
	for _, c := range []struct {
		extra, padding int
		node           bool
	}{{0, 0, false}, {31, 31, false}, {32, 0, true}, {33, 1, true}, {1200, 1168, true}} {
		body := append(append([]byte(nil), txID[:]...), bytes.Repeat([]byte{0xaa}, c.extra)...)
		var m Ping
		if err := m.Parse(body); err != nil || m.Padding != c.padding || m.Node.IsZero() == c.node {
			t.Errorf("%d bytes after the ID: %+v, %v", c.extra, m, err)
		}
	}
	if _, _, _, err := Split([]byte{1}); err == nil {
		t.Error("a message of one byte was split")
	}
}

func TestCallMeMaybeBodies(t *testing.T) {
	one := unhex(t, hex4)
	var m CallMeMaybe
	for _, n := range []int{0, 1, 90, 3636} {
		m.Parse(0, bytes.Repeat(one, n))
		if len(m.Endpoints) != n || n > 0 && m.Endpoints[n-1] != addr4 {
			t.Errorf("%d endpoints gave %d", n, len(m.Endpoints))
		}
		if got := m.Append(nil); !bytes.Equal(got[2:], bytes.Repeat(one, n)) {
			t.Errorf("%d endpoints do not append as they were parsed", n)
		}
	}
	for name, f := range map[string]func(){
		"19 bytes":  func() { m.Parse(0, make([]byte, 19)) },
		"version 1": func() { m.Parse(1, one) },
	} {
		m.Parse(0, one)
		if f(); len(m.Endpoints) != 0 {
			t.Errorf("%s: endpoints %v, want none", name, m.Endpoints)
		}
	}
}

// TestOtherVersions has the messages that become empty for an unknown version.
func TestOtherVersions(t *testing.T) {
	for _, v := range vectors() {
		typ, _, body, _ := Split(unhex(t, v.hex))
		got, err := v.parse(1, body)
		if err != nil {
			t.Errorf("%s of version 1: %v", v.name, err)
		}
		switch m := got.(type) {
		case *CallMeMaybeVia:
			if !m.Endpoint.IsZero() {
				t.Errorf("%v of version 1 is not empty", typ)
			}
		case *AllocateRequest:
			if *m != (AllocateRequest{}) {
				t.Errorf("%v of version 1 is not empty", typ)
			}
		case *AllocateResponse:
			if m.Generation != 0 || !m.Endpoint.IsZero() {
				t.Errorf("%v of version 1 is not empty", typ)
			}
		case *CallMeMaybe:
		default:
			if !reflect.DeepEqual(got, v.want) {
				t.Errorf("%v: the version mattered", typ)
			}
		}
	}
}

func TestEnvelope(t *testing.T) {
	alice, bob, eve := key.NewDisco(), key.NewDisco(), key.NewDisco()
	inner := (&Ping{TxID: txID, Node: nodeKey}).Append(nil)
	nonce := Nonce{1, 2, 3}
	packet := AppendSeal([]byte("x"), alice.Public(), alice.Shared(bob.Public()), nonce, inner)[1:]
	if len(packet) != PingLen || PingLen != 124 {
		t.Fatalf("sealed ping of %d bytes, want 124", len(packet))
	}
	if from, ok := Sender(packet); !ok || from != alice.Public() {
		t.Fatalf("sender %v, %v", from, ok)
	}
	got, err := Open(nil, packet, bob.Shared(alice.Public()))
	if err != nil || !bytes.Equal(got, inner) {
		t.Fatalf("open: %x, %v", got, err)
	}
	if _, err := Open(nil, packet, eve.Shared(alice.Public())); err == nil {
		t.Error("somebody else opened the packet")
	}
	for n := range len(packet) {
		if _, err := Open(nil, packet[:n], bob.Shared(alice.Public())); err == nil {
			t.Fatalf("opened after cutting to %d bytes", n)
		}
	}
	packet[len(packet)-1] ^= 1
	if _, err := Open(nil, packet, bob.Shared(alice.Public())); err == nil {
		t.Error("a changed packet opened")
	}
	if _, ok := Sender(packet[:37]); ok {
		t.Error("37 bytes have a sender")
	}
}

// TestPacketSizes holds the sizes of section 3 of sealed packets, in bytes of UDP
// payload.
func TestPacketSizes(t *testing.T) {
	alice, bob := key.NewDisco(), key.NewDisco()
	shared := alice.Shared(bob.Public())
	addrs := []netip.AddrPort{addr4, addr6, addr4}
	n := len(addrs)
	endpoint := RelayEndpoint{Addrs: addrs}
	for name, c := range map[string]struct {
		inner []byte
		want  int
	}{
		"ping":              {(&Ping{Node: nodeKey}).Append(nil), 124},
		"padded ping":       {(&Ping{Node: nodeKey, Padding: 1252 - PingLen}).Append(nil), 1252},
		"pong":              {(&Pong{Src: addr6}).Append(nil), 110},
		"call-me-maybe":     {(&CallMeMaybe{Endpoints: addrs}).Append(nil), 80 + 18*n},
		"bind":              {(&Bind{}).Append(nil, TypeBind), 152},
		"call-me-maybe-via": {(&CallMeMaybeVia{Endpoint: endpoint}).Append(nil), 204 + 18*n},
		"allocate request":  {(&AllocateRequest{}).Append(nil), 148},
		"allocate response": {(&AllocateResponse{Endpoint: endpoint}).Append(nil), 208 + 18*n},
	} {
		if got := len(AppendSeal(nil, alice.Public(), shared, Nonce{}, c.inner)); got != c.want {
			t.Errorf("%s of %d bytes, want %d", name, got, c.want)
		}
	}
	if GeneveLen != len(Geneve{}.Append(nil)) || GeneveLen != 8 {
		t.Errorf("Geneve header of %d bytes, want 8", GeneveLen)
	}
}

func TestGeneve(t *testing.T) {
	for _, c := range []struct {
		g   Geneve
		hex string
	}{
		{Geneve{Protocol: ProtocolWireGuard, VNI: 0x000102}, "0000 7a12 000102 00"},
		{Geneve{Protocol: ProtocolDisco, VNI: 0xffffff}, "0000 7a11 ffffff 00"},
		{Geneve{Control: true, Protocol: ProtocolDisco, VNI: 1}, "0080 7a11 000001 00"},
	} {
		b := unhex(t, c.hex)
		if got := c.g.Append(nil); !bytes.Equal(got, b) {
			t.Errorf("%+v appends %x, want %x", c.g, got, b)
		}
		if got, ok := ParseGeneve(append(b, 9)); !ok || got != c.g {
			t.Errorf("%x parses as %+v, %v", b, got, ok)
		}
	}
	for _, bad := range []string{"", "00007a12000102", "40007a1200010200", "00017a1200010200", "00007a1300010200", "00007a1200010201"} {
		if g, ok := ParseGeneve(unhex(t, bad)); ok {
			t.Errorf("%q parses as %+v", bad, g)
		}
	}
}

func TestClassify(t *testing.T) {
	disco := "5453f09f92ac" + rep("11", 32)
	for _, c := range []struct {
		name, hex string
		want      Kind
	}{
		{"stun response", "0101000c2112a442" + rep("01", 12), KindSTUN},
		{"stun error response", "0101000c2112a442" + rep("01", 12) + "00", KindSTUN},
		{"stun request", "0001000c2112a442" + rep("01", 12), KindSTUN},
		{"stun with another cookie", "0101000c2112a443" + rep("01", 12), KindWireGuard},
		{"short stun", "0101000c2112a442" + rep("01", 11), KindWireGuard},
		{"geneve disco", "00007a1100010200" + disco, KindGeneveDisco},
		{"geneve control disco", "00807a1100010200" + disco, KindGeneveDisco},
		{"geneve disco, short payload", "00007a1100010200" + disco[:74], KindWireGuard},
		{"geneve disco, no magic", "00007a1100010200" + rep("11", 40), KindWireGuard},
		{"geneve wireguard", "00007a1200010200", KindGeneveWireGuard},
		{"geneve, byte 7 set", "00007a1200010201", KindWireGuard},
		{"geneve, reserved bit", "00017a1200010200", KindWireGuard},
		{"geneve, version 1", "40007a1200010200", KindWireGuard},
		{"disco", disco, KindDisco},
		{"short disco", disco[:74], KindWireGuard},
		{"initiation", "01000000" + rep("22", 144), KindWireGuard},
		{"response", "02000000" + rep("22", 88), KindWireGuard},
		{"cookie", "03000000" + rep("22", 60), KindWireGuard},
		{"data", "04000000" + rep("22", 28), KindWireGuard},
		{"empty", "", KindWireGuard},
		{"garbage", rep("ff", 60), KindWireGuard},
	} {
		if got := Classify(unhex(t, c.hex)); got != c.want {
			t.Errorf("%s: kind %d, want %d", c.name, got, c.want)
		}
	}
}
