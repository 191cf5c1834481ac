package relay

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ginnel/ginnel/wire/key"
)

// testKey is a public key of 32 equal bytes.
func testKey(b byte) key.NodePublic {
	return key.NodePublicFromRaw32([32]byte(bytes.Repeat([]byte{b}, 32)))
}

func hexKey(b byte) string { return strings.Repeat(hex.EncodeToString([]byte{b}), 32) }

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVectors(t *testing.T) {
	k := testKey(0xab)
	ping := [PingLen]byte{1, 2, 3, 4, 5, 6, 7, 8}
	for name, c := range map[string]struct {
		got  []byte
		want string
	}{
		"KeepAlive":           {AppendKeepAlive(nil), "06 00 00 00 00"},
		"NotePreferred true":  {AppendNotePreferred(nil, true), "07 00 00 00 01 01"},
		"NotePreferred false": {AppendNotePreferred(nil, false), "07 00 00 00 01 00"},
		"WatchConns":          {AppendWatchConns(nil), "10 00 00 00 00"},
		"Ping":                {AppendPing(nil, ping), "12 00 00 00 08 01 02 03 04 05 06 07 08"},
		"Pong":                {AppendPong(nil, ping), "13 00 00 00 08 01 02 03 04 05 06 07 08"},
		"ServerKey":           {AppendServerKey(nil, k), "01 00 00 00 28 44 45 52 50 f0 9f 94 91" + hexKey(0xab)},
		"PeerGone not here":   {AppendPeerGone(nil, k, GoneNotHere), "08 00 00 00 21" + hexKey(0xab) + "01"},
		"PeerPresent": {PeerPresent{k, netip.MustParseAddrPort("203.0.113.7:41641"), PresentRegular}.Append(nil),
			"09 00 00 00 33" + hexKey(0xab) + "00000000000000000000 ff ff cb 00 71 07 a2 a9 01"},
		"Restarting":    {Restarting{0, 3 * time.Second}.Append(nil), "15 00 00 00 08 00 00 00 00 00 00 0b b8"},
		"SendPacket":    {AppendSendPacket(nil, k, []byte("hi")), "04 00 00 00 22" + hexKey(0xab) + "68 69"},
		"RecvPacket":    {AppendRecvPacket(nil, k, []byte("hi")), "05 00 00 00 22" + hexKey(0xab) + "68 69"},
		"ForwardPacket": {AppendForwardPacket(nil, k, testKey(0xcd), []byte("hi")), "0a 00 00 00 42" + hexKey(0xab) + hexKey(0xcd) + "68 69"},
		"ClosePeer":     {AppendClosePeer(nil, k), "11 00 00 00 20" + hexKey(0xab)},
		"Health":        {AppendHealth(nil, "ill"), "14 00 00 00 03 69 6c 6c"},
	} {
		if want := unhex(t, c.want); !bytes.Equal(c.got, want) {
			t.Errorf("%s: %x, want %x", name, c.got, want)
		}
	}
}

// payload strips the header of a frame, which must be of type want.
func payload(t *testing.T, frame []byte, want FrameType) []byte {
	t.Helper()
	typ, n, ok := ParseHeader(frame)
	if !ok || typ != want || int(n) != len(frame)-HeaderLen {
		t.Fatalf("frame %x: header %v, %d, %v; want %v", frame, typ, n, ok, want)
	}
	return frame[HeaderLen:]
}

func TestHandshake(t *testing.T) {
	server, client, mesh := key.NewNode(), key.NewNode(), key.NewMeshKey()
	frame, err := AppendClientInfo(nil, client, server.Public(), ClientInfo{Version: 2, CanAckPings: true})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(frame, []byte{2, 0, 0, 0, 0x68}) {
		t.Errorf("ClientInfo begins %x", frame[:5])
	}
	want := ClientInfo{Version: 2, CanAckPings: true, IsProber: true, AppName: "test", MeshKey: mesh}
	if frame, err = AppendClientInfo(nil, client, server.Public(), want); err != nil {
		t.Fatal(err)
	}
	k, got, err := ParseClientInfo(payload(t, frame, FrameClientInfo), server)
	if err != nil || k != client.Public() || !got.MeshKey.Equal(mesh) ||
		got.Version != 2 || !got.CanAckPings || !got.IsProber || got.AppName != "test" {
		t.Errorf("ClientInfo came back as %v %+v, %v", k, got, err)
	}
	if _, _, err := ParseClientInfo(payload(t, frame, FrameClientInfo), key.NewNode()); err == nil {
		t.Error("ClientInfo opened with another server's key")
	}
	frame, err = AppendServerInfo(nil, server, client.Public(), ServerInfo{Version: 2})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(frame, []byte{3, 0, 0, 0, 0x35}) {
		t.Errorf("ServerInfo begins %x", frame[:5])
	}
	info, err := ParseServerInfo(payload(t, frame, FrameServerInfo), client, server.Public())
	if err != nil || info != (ServerInfo{Version: 2}) {
		t.Errorf("ServerInfo came back as %+v, %v", info, err)
	}
	if _, err := ParseServerInfo(payload(t, frame, FrameServerInfo), client, client.Public()); err == nil {
		t.Error("ServerInfo opened as from another server")
	}
}

// clientInfo seals text as a ClientInfo payload.
func clientInfo(client key.NodePrivate, server key.NodePublic, text string) []byte {
	return append(client.Public().AppendTo(nil), client.SealTo(server, []byte(text))...)
}

func TestClientInfoText(t *testing.T) {
	server, client := key.NewNode(), key.NewNode()
	mesh := strings.Repeat("0a", 32)
	for text, ok := range map[string]bool{
		`{}`: true,
		`{"version":2,"unknown":[1,2,{"a":null}]}`:                               true,
		`{"Version":2,"MESHKEY":"` + mesh + `"}`:                                 true,
		`{"can_ack_pings":true,"is_prober":false,"mesh_key":"none","version":2}`: true,
		`{"meshKey":""}`:                                 true,
		`{"meshKey":null}`:                               true,
		`{"meshKey":"none"}`:                             false,
		`{"meshKey":"` + mesh[2:] + `"}`:                 false,
		`{"meshKey":"` + mesh + `00"}`:                   false,
		`{"meshKey":" ` + mesh[2:] + ` "}`:               false,
		`{"meshKey":"` + strings.Repeat("zz", 32) + `"}`: false,
		`{"version":"2"}`:                                false,
		`[]`:                                             false,
		``:                                               false,
		`{} {}`:                                          false,
	} {
		_, info, err := ParseClientInfo(clientInfo(client, server.Public(), text), server)
		if (err == nil) != ok {
			t.Errorf("%s: error %v, want accepted %v", text, err, ok)
		}
		if strings.Contains(text, "mesh_key") && (!info.MeshKey.IsZero() || info.CanAckPings) {
			t.Errorf("%s: other names were taken: %+v", text, info)
		}
	}
}

func TestLengths(t *testing.T) {
	server := key.NewNode()
	for name, c := range map[string]struct {
		parse func([]byte) error
		good  []int
		bad   []int
	}{
		"SendPacket":    {func(b []byte) error { _, _, err := ParseSendPacket(b); return err }, []int{32, 65568}, []int{0, 31, 65569}},
		"RecvPacket":    {func(b []byte) error { _, _, err := ParseRecvPacket(b); return err }, []int{32, 65569}, []int{0, 31}},
		"ForwardPacket": {func(b []byte) error { _, _, _, err := ParseForwardPacket(b); return err }, []int{64, 65600}, []int{63, 65601}},
		"NotePreferred": {func(b []byte) error { _, err := ParseNotePreferred(b); return err }, []int{1}, []int{0, 2}},
		"PeerGone":      {func(b []byte) error { _, _, err := ParsePeerGone(b); return err }, []int{32, 33, 40}, []int{31}},
		"PeerPresent":   {func(b []byte) error { _, err := ParsePeerPresent(b); return err }, []int{32, 40, 50, 51, 60}, []int{31}},
		"ClosePeer":     {func(b []byte) error { _, err := ParseClosePeer(b); return err }, []int{32}, []int{31, 33}},
		"Ping":          {func(b []byte) error { _, err := ParsePing(b); return err }, []int{8, 1000}, []int{0, 7}},
		"Restarting":    {func(b []byte) error { _, err := ParseRestarting(b); return err }, []int{8, 12}, []int{7}},
		"ClientInfo":    {func(b []byte) error { _, _, err := ParseClientInfo(b, server); return err }, nil, []int{0, 55, 56, 72, 262144, 262145}},
		"ServerInfo":    {func(b []byte) error { _, err := ParseServerInfo(b, server, server.Public()); return err }, nil, []int{0, 23, 24, 24 + 1<<20, 25 + 1<<20}},
	} {
		for _, n := range c.good {
			if err := c.parse(make([]byte, n)); err != nil {
				t.Errorf("%s of %d bytes: %v", name, n, err)
			}
		}
		for _, n := range c.bad {
			if err := c.parse(make([]byte, n)); err == nil {
				t.Errorf("%s of %d bytes was accepted", name, n)
			}
		}
	}
	good := AppendServerKey(nil, server.Public())[HeaderLen:]
	for n, ok := range map[int]bool{39: false, 40: true, 41: true, 1024: true, 1025: false} {
		b := append(good[:min(n, 40):min(n, 40)], make([]byte, max(0, n-40))...)
		if _, err := ParseServerKey(b); (err == nil) != ok {
			t.Errorf("ServerKey of %d bytes: %v", n, err)
		}
	}
	good[0] = 'd'
	if _, err := ParseServerKey(good); err == nil {
		t.Error("ServerKey with a wrong magic was accepted")
	}
}

func TestPeerPresentCut(t *testing.T) {
	want := PeerPresent{testKey(1), netip.MustParseAddrPort("[2001:db8::1]:443"), PresentMesh | PresentNotIdeal}
	b := payload(t, want.Append(nil), FramePeerPresent)
	for _, c := range []struct {
		n    int
		want PeerPresent
	}{
		{32, PeerPresent{Key: want.Key}},
		{49, PeerPresent{Key: want.Key}},
		{50, PeerPresent{Key: want.Key, Addr: want.Addr}},
		{51, want},
	} {
		if got, err := ParsePeerPresent(b[:c.n]); err != nil || got != c.want {
			t.Errorf("%d bytes: %+v, %v; want %+v", c.n, got, err, c.want)
		}
	}
	unknown := PeerPresent{Key: want.Key, Flags: PresentRegular}
	if got, err := ParsePeerPresent(payload(t, unknown.Append(nil), FramePeerPresent)); err != nil || got != unknown {
		t.Errorf("unknown address: %+v, %v", got, err)
	}
}

func TestLooksLikeDisco(t *testing.T) {
	msg := append([]byte("TS\xf0\x9f\x92\xac"), make([]byte, 56)...)
	if !LooksLikeDisco(msg) || LooksLikeDisco(msg[:61]) || LooksLikeDisco(make([]byte, 100)) {
		t.Error("disco is not told from data")
	}
}

func TestNames(t *testing.T) {
	k := testKey(0xab)
	if got, ok := ParseMetaCommonName(MetaCommonName(k)); !ok || got != k {
		t.Errorf("meta name came back as %v, %v", got, ok)
	}
	for _, cn := range []string{"", "derpkey", "derpkeyzz", "derpkey" + hexKey(0), "derpkey" + hexKey(1) + "00", hexKey(1)} {
		if _, ok := ParseMetaCommonName(cn); ok {
			t.Errorf("common name %q was taken", cn)
		}
	}
	sum := [32]byte{1, 2, 3}
	if got, isPin, err := ParsePin(FormatPin(sum)); !isPin || err != nil || got != sum {
		t.Errorf("pin came back as %x, %v, %v", got, isPin, err)
	}
	if _, isPin, err := ParsePin("relay.example"); isPin || err != nil {
		t.Errorf("a name is taken for a pin: %v", err)
	}
	if _, isPin, err := ParsePin("sha256-raw:12"); !isPin || err == nil {
		t.Error("a short pin was accepted")
	}
	if FrameType(0x77).String() != "frame 0x77" || FramePing.String() != "Ping" {
		t.Error("frame names")
	}
}

func TestAllocations(t *testing.T) {
	k, data := testKey(1), make([]byte, 1300)
	buf := make([]byte, 0, 4096)
	present := PeerPresent{Key: k, Addr: netip.MustParseAddrPort("203.0.113.7:1")}
	n := testing.AllocsPerRun(100, func() {
		b := AppendSendPacket(buf, k, data)
		ParseSendPacket(b[HeaderLen:])
		b = AppendForwardPacket(buf, k, k, data)
		ParseForwardPacket(b[HeaderLen:])
		b = AppendRecvPacket(buf, k, data)
		ParseRecvPacket(b[HeaderLen:])
		b = AppendPeerGone(present.Append(buf), k, GoneDisconnected)
		ParsePeerPresent(b[HeaderLen:])
		b = AppendPong(AppendPing(AppendKeepAlive(buf), [8]byte{}), [8]byte{})
		ParsePing(b[2*HeaderLen:])
	})
	if n != 0 {
		t.Errorf("%v allocations a round, want 0", n)
	}
}

func BenchmarkSendPacket(b *testing.B) {
	k, data := testKey(1), make([]byte, 1300)
	buf := make([]byte, 0, 4096)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		frame := AppendSendPacket(buf, k, data)
		if _, _, err := ParseSendPacket(frame[HeaderLen:]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRecvPacket(b *testing.B) {
	k, data := testKey(1), make([]byte, 1300)
	buf := make([]byte, 0, 4096)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		frame := AppendRecvPacket(buf, k, data)
		if _, n, ok := ParseHeader(frame); !ok || n != uint32(len(frame)-HeaderLen) {
			b.Fatal("header")
		}
		if _, _, err := ParseRecvPacket(frame[HeaderLen:]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkForwardPacket(b *testing.B) {
	k, data := testKey(1), make([]byte, 1300)
	buf := make([]byte, 0, 4096)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		frame := AppendForwardPacket(buf, k, k, data)
		if _, _, _, err := ParseForwardPacket(frame[HeaderLen:]); err != nil {
			b.Fatal(err)
		}
	}
}
