package interop

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"go4.org/mem"
	tsderp "tailscale.com/derp"
	tsdisco "tailscale.com/disco"
	tspacket "tailscale.com/net/packet"
	tsstun "tailscale.com/net/stun"
	"tailscale.com/types/ipproto"
	tskey "tailscale.com/types/key"

	"github.com/ginnel/ginnel/internal/packet"
	"github.com/ginnel/ginnel/wire/disco"
	"github.com/ginnel/ginnel/wire/key"
	"github.com/ginnel/ginnel/wire/relay"
	"github.com/ginnel/ginnel/wire/stun"
)

// byteRounds is how many random values of each kind go both ways.
const byteRounds = 300

// randomSource returns a source whose seed is printed when the test fails.
func randomSource(t *testing.T) *mrand.Rand {
	seed := mrand.Uint64()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
	return mrand.New(mrand.NewPCG(seed, 0))
}

func randomBytes(r *mrand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func randomAddrPort(r *mrand.Rand) netip.AddrPort {
	return netip.AddrPortFrom(randomAddr(r), uint16(r.Uint32()))
}

// mutate changes some bytes of b or its length.
func mutate(r *mrand.Rand, b []byte) []byte {
	b = bytes.Clone(b)
	switch r.IntN(4) {
	case 0:
		return b[:r.IntN(len(b)+1)]
	case 1:
		return append(b, randomBytes(r, 1+r.IntN(40))...)
	}
	for range 1 + r.IntN(3) {
		if len(b) > 0 {
			b[r.IntN(len(b))] = byte(r.Uint32())
		}
	}
	return b
}

// sameText writes from, and expects to to read it and write it again.
func sameText(t *testing.T, from encoding.TextMarshaler, to encoding.TextUnmarshaler) {
	t.Helper()
	text, err := from.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	if err := to.UnmarshalText(text); err != nil {
		t.Fatalf("%T cannot read what %T wrote: %v", to, from, err)
	}
	if back, err := to.(encoding.TextMarshaler).MarshalText(); err != nil || !bytes.Equal(back, text) {
		t.Fatalf("%T read what %T wrote and wrote something else (%v)", to, from, err)
	}
}

// TestWireKeyForms compares every form in which a key is written.
func TestWireKeyForms(t *testing.T) {
	for range 20 {
		node, machine, disco, challenge, lock := key.NewNode(), key.NewMachine(), key.NewDisco(), key.NewChallenge(), key.NewLock()
		sameText(t, node, new(tskey.NodePrivate))
		sameText(t, machine, new(tskey.MachinePrivate))
		sameText(t, lock, new(tskey.NLPrivate))
		sameText(t, node.Public(), new(tskey.NodePublic))
		sameText(t, machine.Public(), new(tskey.MachinePublic))
		sameText(t, disco.Public(), new(tskey.DiscoPublic))
		sameText(t, challenge.Public(), new(tskey.ChallengePublic))
		sameText(t, lock.Public(), new(tskey.NLPublic))

		theirNodeKey, theirLock := tskey.NewNode(), tskey.NewNLPrivate()
		sameText(t, theirNodeKey, new(key.NodePrivate))
		sameText(t, tskey.NewMachine(), new(key.MachinePrivate))
		sameText(t, theirLock, new(key.LockPrivate))
		sameText(t, theirNodeKey.Public(), new(key.NodePublic))
		sameText(t, tskey.NewMachine().Public(), new(key.MachinePublic))
		sameText(t, tskey.NewDisco().Public(), new(key.DiscoPublic))
		sameText(t, tskey.NewChallenge().Public(), new(key.ChallengePublic))
		sameText(t, theirLock.Public(), new(key.LockPublic))
		sameText(t, newHardwareKey(), new(key.HardwareAttestationPublic))

		their := theirNode(node.Public())
		theirDiscoKey, theirMachineKey := theirDisco(disco.Public()), theirMachine(machine.Public())
		var theirLockPublic tskey.NLPublic
		if err := theirLockPublic.UnmarshalText([]byte(lock.Public().CLIString())); err != nil {
			t.Fatal(err)
		}
		for name, pair := range map[string][2]string{
			"node short":      {node.Public().ShortString(), their.ShortString()},
			"node untyped":    {node.Public().UntypedHex(), their.UntypedHexString()},
			"node String":     {node.Public().String(), their.String()},
			"machine short":   {machine.Public().ShortString(), theirMachineKey.ShortString()},
			"machine untyped": {machine.Public().UntypedHex(), theirMachineKey.UntypedHexString()},
			"machine String":  {machine.Public().String(), theirMachineKey.String()},
			"disco short":     {disco.Public().ShortString(), theirDiscoKey.ShortString()},
			"disco String":    {disco.Public().String(), theirDiscoKey.String()},
			"lock CLI":        {lock.Public().CLIString(), theirLockPublic.CLIString()},
			"node public":     {node.Public().String(), theirNodePrivate(node).Public().String()},
			"disco public":    {disco.Public().String(), theirDiscoPrivate(disco).Public().String()},
		} {
			if pair[0] != pair[1] {
				t.Errorf("%s: ours %q, theirs %q", name, pair[0], pair[1])
			}
		}
		ours, err1 := node.Public().MarshalBinary()
		theirs, err2 := their.MarshalBinary()
		if err1 != nil || err2 != nil || !bytes.Equal(ours, theirs) {
			t.Errorf("binary forms %x (%v) and %x (%v)", ours, err1, theirs, err2)
		}
		mesh := key.NewMeshKey()
		if k, err := tskey.ParseDERPMesh(mesh.SecretText()); err != nil || k.String() != mesh.SecretText() {
			t.Errorf("they cannot read our mesh key: %v", err)
		}
	}
}

// TestWireKeyTextsRefused has both sides read damaged texts: what one refuses, the
// other must refuse too.
func TestWireKeyTextsRefused(t *testing.T) {
	r := randomSource(t)
	for range byteRounds * 4 {
		text, _ := tskey.NewNode().Public().MarshalText()
		text = mutate(r, text)
		theirs, ours := new(tskey.NodePublic).UnmarshalText(text), new(key.NodePublic).UnmarshalText(text)
		if (theirs == nil) != (ours == nil) {
			t.Errorf("%q: theirs %v, ours %v", text, theirs, ours)
		}
	}
}

// randomDisco returns one random message of each kind, in both forms.
func randomDisco(r *mrand.Rand) map[tsdisco.Message][]byte {
	node, server := key.NewNode().Public(), key.NewDisco().Public()
	clients := [2]key.DiscoPublic{key.NewDisco().Public(), key.NewDisco().Public()}
	theirClients := [2]tskey.DiscoPublic{theirDisco(clients[0]), theirDisco(clients[1])}
	tx := [12]byte(randomBytes(r, 12))
	var addrs []netip.AddrPort
	for range 1 + r.IntN(5) {
		addrs = append(addrs, randomAddrPort(r))
	}
	vni, generation, padding := r.Uint32N(1<<24), r.Uint32(), r.IntN(1300)
	challenge := [32]byte(randomBytes(r, 32))
	bindLife, steadyLife, lamport := time.Duration(r.Int64()), time.Duration(r.Int64()), r.Uint64()
	endpoint := disco.RelayEndpoint{Server: server, Clients: clients, LamportID: lamport, VNI: vni,
		BindLifetime: bindLife, SteadyLifetime: steadyLife, Addrs: addrs}
	theirEndpoint := tsdisco.UDPRelayEndpoint{ServerDisco: theirDisco(server), ClientDisco: theirClients, LamportID: lamport, VNI: vni,
		BindLifetime: bindLife, SteadyStateLifetime: steadyLife, AddrPorts: addrs}
	bind := disco.Bind{VNI: vni, Generation: generation, Remote: server, Challenge: challenge}
	common := tsdisco.BindUDPRelayEndpointCommon{VNI: vni, Generation: generation, RemoteKey: theirDisco(server), Challenge: challenge}
	return map[tsdisco.Message][]byte{
		&tsdisco.Ping{TxID: tx, NodeKey: theirNode(node), Padding: padding}: (&disco.Ping{TxID: tx, Node: node, Padding: padding}).Append(nil),
		&tsdisco.Ping{TxID: tx}:                                                                            (&disco.Ping{TxID: tx}).Append(nil),
		&tsdisco.Pong{TxID: tx, Src: addrs[0]}:                                                             (&disco.Pong{TxID: tx, Src: addrs[0]}).Append(nil),
		&tsdisco.CallMeMaybe{MyNumber: addrs}:                                                              (&disco.CallMeMaybe{Endpoints: addrs}).Append(nil),
		&tsdisco.CallMeMaybe{}:                                                                             (&disco.CallMeMaybe{}).Append(nil),
		&tsdisco.CallMeMaybeVia{UDPRelayEndpoint: theirEndpoint}:                                           (&disco.CallMeMaybeVia{Endpoint: endpoint}).Append(nil),
		&tsdisco.BindUDPRelayEndpoint{BindUDPRelayEndpointCommon: common}:                                  bind.Append(nil, disco.TypeBind),
		&tsdisco.BindUDPRelayEndpointChallenge{BindUDPRelayEndpointCommon: common}:                         bind.Append(nil, disco.TypeChallenge),
		&tsdisco.BindUDPRelayEndpointAnswer{BindUDPRelayEndpointCommon: common}:                            bind.Append(nil, disco.TypeAnswer),
		&tsdisco.AllocateUDPRelayEndpointRequest{ClientDisco: theirClients, Generation: generation}:        (&disco.AllocateRequest{Clients: clients, Generation: generation}).Append(nil),
		&tsdisco.AllocateUDPRelayEndpointResponse{Generation: generation, UDPRelayEndpoint: theirEndpoint}: (&disco.AllocateResponse{Generation: generation, Endpoint: endpoint}).Append(nil),
	}
}

// reparse reads an inner message as we do and writes what was understood. It
// reports false for what we refuse or do not know.
func reparse(inner []byte) ([]byte, bool) {
	typ, ver, body, err := disco.Split(inner)
	if err != nil {
		return nil, false
	}
	switch typ {
	case disco.TypePing:
		var m disco.Ping
		err = m.Parse(body)
		return m.Append(nil), err == nil
	case disco.TypePong:
		var m disco.Pong
		err = m.Parse(body)
		return m.Append(nil), err == nil
	case disco.TypeCallMeMaybe:
		var m disco.CallMeMaybe
		m.Parse(ver, body)
		return m.Append(nil), true
	case disco.TypeBind, disco.TypeChallenge, disco.TypeAnswer:
		var m disco.Bind
		err = m.Parse(body)
		return m.Append(nil, typ), err == nil
	case disco.TypeCallMeMaybeVia:
		var m disco.CallMeMaybeVia
		err = m.Parse(ver, body)
		return m.Append(nil), err == nil
	case disco.TypeAllocateRequest:
		var m disco.AllocateRequest
		err = m.Parse(ver, body)
		return m.Append(nil), err == nil
	case disco.TypeAllocateResponse:
		var m disco.AllocateResponse
		err = m.Parse(ver, body)
		return m.Append(nil), err == nil
	}
	return nil, false
}

// TestWireDiscoMessages writes random messages on both sides and compares bytes
// and readings; then damages them and compares what each side makes of that.
func TestWireDiscoMessages(t *testing.T) {
	r := randomSource(t)
	for range byteRounds {
		for their, ours := range randomDisco(r) {
			if got := their.AppendMarshal(nil); !bytes.Equal(got, ours) {
				t.Fatalf("%T: theirs writes\n%x, ours\n%x", their, got, ours)
			}
			back, err := tsdisco.Parse(ours)
			if err != nil || !reflect.DeepEqual(back, their) {
				t.Fatalf("they read ours as %+v (%v), want %+v", back, err, their)
			}
			if again, ok := reparse(ours); !ok || !bytes.Equal(again, ours) {
				t.Fatalf("%T: we read theirs as\n%x, want\n%x", their, again, ours)
			}
			compareDamaged(t, mutate(r, ours))
		}
	}
}

// vniAt is where in an inner message the network identifier begins. Its first byte
// has no meaning; we drop it when reading, they when using it.
var vniAt = map[disco.Type]int{
	disco.TypeBind: 2, disco.TypeChallenge: 2, disco.TypeAnswer: 2,
	disco.TypeCallMeMaybeVia: 2 + 104, disco.TypeAllocateResponse: 2 + 4 + 104,
}

// compareDamaged has both sides read the same bytes.
func compareDamaged(t *testing.T, inner []byte) {
	t.Helper()
	if len(inner) > 0 {
		if at, ok := vniAt[disco.Type(inner[0])]; ok && at < len(inner) {
			inner[at] = 0
		}
	}
	theirs, err := tsdisco.Parse(inner)
	ours, ok := reparse(inner)
	if (err == nil) != ok {
		t.Fatalf("%x: theirs %v, ours accepts %v", inner, err, ok)
	}
	if ping, isPing := theirs.(*tsdisco.Ping); ok && isPing && ping.NodeKey.IsZero() {
		ping.Padding = 0 // we write no padding without a key, where it could be read as one
	}
	if ok && !bytes.Equal(theirs.AppendMarshal(nil), ours) {
		t.Fatalf("%x: they understand\n%x, we\n%x", inner, theirs.AppendMarshal(nil), ours)
	}
}

// TestWireGeneve compares the header of relayed packets.
func TestWireGeneve(t *testing.T) {
	r := randomSource(t)
	for range byteRounds {
		g := disco.Geneve{Control: r.IntN(2) == 0, Protocol: []uint16{disco.ProtocolDisco, disco.ProtocolWireGuard}[r.IntN(2)], VNI: r.Uint32N(1 << 24)}
		their := tspacket.GeneveHeader{Control: g.Control, Protocol: g.Protocol}
		their.VNI.Set(g.VNI)
		b := make([]byte, tspacket.GeneveFixedHeaderLength)
		if err := their.Encode(b); err != nil || !bytes.Equal(b, g.Append(nil)) {
			t.Fatalf("theirs writes %x (%v), ours %x", b, err, g.Append(nil))
		}
		if got, ok := disco.ParseGeneve(b); !ok || got != g {
			t.Fatalf("we read theirs as %+v, %v; want %+v", got, ok, g)
		}
	}
}

// TestWireSTUN compares requests and responses, whole and damaged. Ours takes more
// requests than theirs, and no response that theirs refuses.
func TestWireSTUN(t *testing.T) {
	r := randomSource(t)
	for range byteRounds * 4 {
		tx, addr := stun.TxID(randomBytes(r, 12)), randomAddrPort(r)
		request := stun.AppendRequest(nil, tx)
		if theirs := tsstun.Request(tsstun.TxID(tx)); !bytes.Equal(theirs, request) {
			t.Fatalf("request: theirs %x, ours %x", theirs, request)
		}
		response := stun.AppendResponse(nil, tx, addr)
		if theirs := tsstun.Response(tsstun.TxID(tx), addr); !bytes.Equal(theirs, response) {
			t.Fatalf("response to %v: theirs %x, ours %x", addr, theirs, response)
		}
		damaged := mutate(r, request)
		theirTx, theirErr := tsstun.ParseBindingRequest(damaged)
		if ourTx, err := stun.ParseRequest(damaged); theirErr == nil && (err != nil || ourTx != stun.TxID(theirTx)) {
			t.Fatalf("they take %x, we do not: %v", damaged, err)
		}
		damaged = mutate(r, response)
		if tsstun.Is(damaged) != stun.Is(damaged) {
			t.Fatalf("%x is STUN to one side only", damaged)
		}
		theirTx, theirAddr, theirErr := tsstun.ParseResponse(damaged)
		ourTx, ourAddr, err := stun.ParseResponse(damaged)
		if (err == nil) != (theirErr == nil) || err == nil && (ourTx != stun.TxID(theirTx) || ourAddr != theirAddr) {
			t.Fatalf("%x: theirs %v %v, ours %v %v", damaged, theirAddr, theirErr, ourAddr, err)
		}
	}
}

// TestWireTSMP compares the messages of protocol 99 inside the tunnel.
func TestWireTSMP(t *testing.T) {
	r := randomSource(t)
	for range byteRounds {
		a, b := randomAddr(r), randomAddr(r)
		for a.Is4() != b.Is4() {
			b = randomAddr(r)
		}
		compareTSMP(t, r, a, b)
	}
}

func compareTSMP(t *testing.T, r *mrand.Rand, a, b netip.Addr) {
	t.Helper()
	reject := packet.Reject{
		Proto: packet.TCP, Src: netip.AddrPortFrom(a, uint16(r.Uint32())), Dst: netip.AddrPortFrom(b, uint16(r.Uint32())),
		Reason: []packet.RejectReason{packet.RejectACL, packet.RejectShieldsUp, packet.RejectForwarding, packet.RejectHostFirewall,
			packet.RejectTransitIP}[r.IntN(5)],
		MaybeBroken: r.IntN(2) == 0,
	}
	token, discoKey := [8]byte(randomBytes(r, 8)), key.NewDisco().Public()
	pingRequest := must(packet.AppendPing(nil, a, b, token))
	pong := must(packet.AppendPong(nil, a, b, token, 4321))
	advert := must(packet.AppendDiscoKey(nil, a, b, discoKey.Raw32()))

	var p tspacket.Parsed
	p.Decode(must(packet.AppendReject(nil, reject)))
	want := tspacket.TailscaleRejectedHeader{IPSrc: b, IPDst: a, Src: reject.Src, Dst: reject.Dst, Proto: ipproto.TCP,
		Reason: tspacket.TailscaleRejectReason(reject.Reason), MaybeBroken: reject.MaybeBroken}
	if got, ok := p.AsTailscaleRejectedHeader(); !ok || got != want {
		t.Fatalf("they read our rejection as %+v, %v; want %+v", got, ok, want)
	}
	p.Decode(pingRequest)
	if got, ok := p.AsTSMPPing(); !ok || got.Data != token {
		t.Fatalf("they read our ping as %+v, %v", got, ok)
	}
	p.Decode(pong)
	if got, ok := p.AsTSMPPong(); !ok || got.Data != token || got.PeerAPIPort != 4321 {
		t.Fatalf("they read our pong as %+v, %v", got, ok)
	}
	p.Decode(advert)
	if got, ok := p.AsTSMPDiscoAdvertisement(); !ok || got.Key != theirDisco(discoKey) {
		t.Fatalf("they read our disco key as %+v, %v", got, ok)
	}

	raw := make([]byte, want.Len())
	if err := want.Marshal(raw); err != nil {
		t.Fatal(err)
	}
	var q packet.Parsed
	decode := func(raw []byte) {
		if err := q.Decode(raw); err != nil {
			t.Fatalf("we cannot read their packet %x: %v", raw, err)
		}
	}
	decode(raw)
	if got, ok := q.Reject(); !ok || got != reject {
		t.Fatalf("we read their rejection as %+v, %v; want %+v", got, ok, reject)
	}
	raw, err := (&tspacket.TSMPDiscoKeyAdvertisement{Src: a, Dst: b, Key: theirDisco(discoKey)}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	decode(raw)
	if got, ok := q.DiscoKey(); !ok || key.DiscoPublicFromRaw32(got) != discoKey {
		t.Fatalf("we read their disco key as %x, %v", got, ok)
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// pipeFrames connects their relay client to frames that we write and read.
func pipeFrames(t *testing.T) (*tsderp.Client, *bufio.Reader, net.Conn) {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	deadline := time.Now().Add(time.Minute)
	ours.SetDeadline(deadline)
	serverKey, clientKey := key.NewNode(), key.NewNode()
	mesh := key.NewMeshKey()
	theirMesh, err := tskey.ParseDERPMesh(mesh.SecretText())
	if err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(ours)
	failed := make(chan error, 1)
	go func() {
		failed <- func() error {
			if _, err := ours.Write(relay.AppendServerKey(nil, serverKey.Public())); err != nil {
				return err
			}
			typ, payload, err := readFrame(reader)
			if err != nil || typ != relay.FrameClientInfo {
				return fmt.Errorf("frame %v: %w", typ, err)
			}
			client, info, err := relay.ParseClientInfo(payload, serverKey)
			if err != nil {
				return err
			}
			if client != clientKey.Public() || info.Version != relay.ProtocolVersion || !info.CanAckPings || !info.IsProber ||
				info.AppName != "name" || !info.MeshKey.Equal(mesh) {
				return fmt.Errorf("their ClientInfo reads as %+v", info)
			}
			frame, err := relay.AppendServerInfo(nil, serverKey, client, relay.ServerInfo{Version: relay.ProtocolVersion,
				TokenBucketBytesPerSecond: 1 << 30, TokenBucketBytesBurst: 1 << 30})
			if err != nil {
				return err
			}
			_, err = ours.Write(frame)
			return err
		}()
	}()
	rw := bufio.NewReadWriter(bufio.NewReader(theirs), bufio.NewWriter(theirs))
	client, err := tsderp.NewClient(theirNodePrivate(clientKey), theirs, rw, t.Logf,
		tsderp.MeshKey(theirMesh), tsderp.IsProber(true), tsderp.CanAckPings(true), tsderp.AppName("name"))
	if err != nil {
		t.Fatal(err)
	}
	message, err := client.Recv()
	info, ok := message.(tsderp.ServerInfoMessage)
	if err != nil || !ok || info.TokenBucketBytesPerSecond != 1<<30 || info.TokenBucketBytesBurst != 1<<30 {
		t.Fatalf("they read our ServerInfo as %#v, %v", message, err)
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	return client, reader, ours
}

func readFrame(r *bufio.Reader) (relay.FrameType, []byte, error) {
	header := make([]byte, relay.HeaderLen)
	if _, err := io.ReadFull(r, header); err != nil {
		return 0, nil, err
	}
	typ, n, ok := relay.ParseHeader(header)
	if !ok || n > relay.MaxClientFrame {
		return 0, nil, errors.New("bad header")
	}
	payload := make([]byte, n)
	_, err := io.ReadFull(r, payload)
	return typ, payload, err
}

// TestWireRelayFrames has their client read every frame that our relay writes, and
// us every frame that it writes.
func TestWireRelayFrames(t *testing.T) {
	r := randomSource(t)
	client, reader, ours := pipeFrames(t)
	for range byteRounds {
		src, dst := key.NewNode().Public(), key.NewNode().Public()
		data, token := randomBytes(r, 1+r.IntN(3000)), [8]byte(randomBytes(r, 8))
		addr := randomAddrPort(r)
		flags := relay.PresentFlags(1 + r.IntN(15))
		for _, c := range []struct {
			frame []byte
			want  tsderp.ReceivedMessage
		}{
			{relay.AppendRecvPacket(nil, src, data), tsderp.ReceivedPacket{Source: theirNode(src), Data: data}},
			{relay.AppendKeepAlive(nil), tsderp.KeepAliveMessage{}},
			{relay.AppendPing(nil, token), tsderp.PingMessage(token)},
			{relay.AppendPong(nil, token), tsderp.PongMessage(token)},
			{relay.AppendPeerGone(nil, src, relay.GoneDisconnected), tsderp.PeerGoneMessage{Peer: theirNode(src), Reason: tsderp.PeerGoneReasonDisconnected}},
			{relay.AppendPeerGone(nil, src, relay.GoneNotHere), tsderp.PeerGoneMessage{Peer: theirNode(src), Reason: tsderp.PeerGoneReasonNotHere}},
			{relay.PeerPresent{Key: src, Addr: addr, Flags: flags}.Append(nil),
				tsderp.PeerPresentMessage{Key: theirNode(src), IPPort: addr, Flags: tsderp.PeerPresentFlags(flags)}},
			{relay.AppendHealth(nil, "ill"), tsderp.HealthMessage{Problem: "ill"}},
			{relay.AppendHealth(nil, ""), tsderp.HealthMessage{}},
			{relay.Restarting{ReconnectIn: 20 * time.Millisecond, TryFor: 3 * time.Second}.Append(nil),
				tsderp.ServerRestartingMessage{ReconnectIn: 20 * time.Millisecond, TryFor: 3 * time.Second}},
		} {
			sent := make(chan error, 1)
			go func() { _, err := ours.Write(c.frame); sent <- err }()
			got, err := client.Recv()
			if p, ok := got.(tsderp.ReceivedPacket); ok {
				p.Data = bytes.Clone(p.Data)
				got = p
			}
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Fatalf("they read %x as %#v (%v), want %#v", c.frame, got, err, c.want)
			}
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []struct {
			send func() error
			want []byte
		}{
			{func() error { return client.Send(theirNode(dst), data) }, relay.AppendSendPacket(nil, dst, data)},
			{func() error { return client.ForwardPacket(theirNode(src), theirNode(dst), data) }, relay.AppendForwardPacket(nil, src, dst, data)},
			{func() error { return client.SendPing(token) }, relay.AppendPing(nil, token)},
			{func() error { return client.SendPong(token) }, relay.AppendPong(nil, token)},
			{client.WatchConnectionChanges, relay.AppendWatchConns(nil)},
			{func() error { return client.ClosePeer(theirNode(dst)) }, relay.AppendClosePeer(nil, dst)},
			{func() error { return client.NotePreferred(true) }, relay.AppendNotePreferred(nil, true)},
			{func() error { return client.NotePreferred(false) }, relay.AppendNotePreferred(nil, false)},
		} {
			sent := make(chan error, 1)
			go func() { sent <- c.send() }()
			typ, payload, err := readFrame(reader)
			if got := relay.AppendFrame(nil, typ, payload); err != nil || !bytes.Equal(got, c.want) {
				t.Fatalf("they write %x (%v), we %x", got, err, c.want)
			}
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestWireBoxes seals between random keys each way, for the relay's handshake and
// for disco.
func TestWireBoxes(t *testing.T) {
	r := randomSource(t)
	for range 50 {
		a, b := key.NewNode(), key.NewNode()
		text := randomBytes(r, r.IntN(200))
		if got, ok := theirNodePrivate(b).OpenFrom(theirNode(a.Public()), a.SealTo(b.Public(), text)); !ok || !bytes.Equal(got, text) {
			t.Fatalf("our box opens to %x, %v", got, ok)
		}
		if got, ok := b.OpenFrom(a.Public(), theirNodePrivate(a).SealTo(theirNode(b.Public()), text)); !ok || !bytes.Equal(got, text) {
			t.Fatalf("their box opens to %x, %v", got, ok)
		}
		c, d := key.NewDisco(), key.NewDisco()
		var nonce disco.Nonce
		rand.Read(nonce[:])
		sealed := disco.AppendSeal(nil, c.Public(), c.Shared(d.Public()), nonce, text)
		source, ok := tsdisco.Source(sealed)
		if !ok {
			t.Fatal("they find no sender in our disco packet")
		}
		from := tskey.DiscoPublicFromRaw32(mem.B(source))
		if got, ok := theirDiscoPrivate(d).Shared(from).Open(sealed[len(disco.Magic)+32:]); !ok || !bytes.Equal(got, text) {
			t.Fatalf("our disco packet opens to %x, %v", got, ok)
		}
	}
}
