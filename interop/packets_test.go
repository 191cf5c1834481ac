package interop

import (
	"crypto/rand"
	"net/netip"
	"reflect"
	"testing"

	tsdisco "tailscale.com/disco"
	tsstun "tailscale.com/net/stun"

	"github.com/ginnel/ginnel/wire/disco"
	"github.com/ginnel/ginnel/wire/key"
	"github.com/ginnel/ginnel/wire/stun"
)

var addrs = []netip.AddrPort{
	netip.MustParseAddrPort("192.0.2.7:41641"),
	netip.MustParseAddrPort("[2001:db8::7]:1"),
}

func TestSTUN(t *testing.T) {
	var tx stun.TxID
	rand.Read(tx[:])
	if got, err := tsstun.ParseBindingRequest(stun.AppendRequest(nil, tx)); err != nil || stun.TxID(got) != tx {
		t.Errorf("our request read as %x, %v; want %x", got, err, tx)
	}
	if got, err := stun.ParseRequest(tsstun.Request(tsstun.TxID(tx))); err != nil || got != tx {
		t.Errorf("their request read as %x, %v; want %x", got, err, tx)
	}
	for _, addr := range addrs {
		gotTx, got, err := tsstun.ParseResponse(stun.AppendResponse(nil, tx, addr))
		if err != nil || stun.TxID(gotTx) != tx || got != addr {
			t.Errorf("our response read as %x %v, %v; want %x %v", gotTx, got, err, tx, addr)
		}
		ourTx, got, err := stun.ParseResponse(tsstun.Response(tsstun.TxID(tx), addr))
		if err != nil || ourTx != tx || got != addr {
			t.Errorf("their response read as %x %v, %v; want %x %v", ourTx, got, err, tx, addr)
		}
	}
}

// discoPair is one message in both forms. parse reads ours from a body.
type discoPair struct {
	name  string
	ours  []byte
	their tsdisco.Message
	parse func(ver byte, body []byte) ([]byte, error)
}

func discoPairs() []discoPair {
	node, server := key.NewNode().Public(), key.NewDisco().Public()
	clients := [2]key.DiscoPublic{key.NewDisco().Public(), key.NewDisco().Public()}
	theirClients := [2]tsDiscoKey{theirDisco(clients[0]), theirDisco(clients[1])}
	var tx disco.TxID
	rand.Read(tx[:])
	var challenge [32]byte
	rand.Read(challenge[:])
	endpoint := disco.RelayEndpoint{Server: server, Clients: clients, LamportID: 77, VNI: 0x010203,
		BindLifetime: 30e9, SteadyLifetime: 300e9, Addrs: addrs}
	theirEndpoint := tsdisco.UDPRelayEndpoint{ServerDisco: theirDisco(server), ClientDisco: theirClients, LamportID: 77,
		VNI: 0x010203, BindLifetime: 30e9, SteadyStateLifetime: 300e9, AddrPorts: addrs}
	bind := disco.Bind{VNI: 5, Generation: 6, Remote: server, Challenge: challenge}
	common := tsdisco.BindUDPRelayEndpointCommon{VNI: 5, Generation: 6, RemoteKey: theirDisco(server), Challenge: challenge}
	return []discoPair{
		{"ping", (&disco.Ping{TxID: tx, Node: node, Padding: 100}).Append(nil),
			&tsdisco.Ping{TxID: tx, NodeKey: theirNode(node), Padding: 100},
			func(_ byte, b []byte) ([]byte, error) { var m disco.Ping; err := m.Parse(b); return m.Append(nil), err }},
		{"pong", (&disco.Pong{TxID: tx, Src: addrs[0]}).Append(nil),
			&tsdisco.Pong{TxID: tx, Src: addrs[0]},
			func(_ byte, b []byte) ([]byte, error) { var m disco.Pong; err := m.Parse(b); return m.Append(nil), err }},
		{"call me maybe", (&disco.CallMeMaybe{Endpoints: addrs}).Append(nil),
			&tsdisco.CallMeMaybe{MyNumber: addrs},
			func(v byte, b []byte) ([]byte, error) {
				var m disco.CallMeMaybe
				m.Parse(v, b)
				return m.Append(nil), nil
			}},
		{"call me maybe via", (&disco.CallMeMaybeVia{Endpoint: endpoint}).Append(nil),
			&tsdisco.CallMeMaybeVia{UDPRelayEndpoint: theirEndpoint},
			func(v byte, b []byte) ([]byte, error) {
				var m disco.CallMeMaybeVia
				err := m.Parse(v, b)
				return m.Append(nil), err
			}},
		{"bind", bind.Append(nil, disco.TypeBind),
			&tsdisco.BindUDPRelayEndpoint{BindUDPRelayEndpointCommon: common},
			func(_ byte, b []byte) ([]byte, error) {
				var m disco.Bind
				err := m.Parse(b)
				return m.Append(nil, disco.TypeBind), err
			}},
		{"allocate request", (&disco.AllocateRequest{Clients: clients, Generation: 9}).Append(nil),
			&tsdisco.AllocateUDPRelayEndpointRequest{ClientDisco: theirClients, Generation: 9},
			func(v byte, b []byte) ([]byte, error) {
				var m disco.AllocateRequest
				err := m.Parse(v, b)
				return m.Append(nil), err
			}},
		{"allocate response", (&disco.AllocateResponse{Generation: 9, Endpoint: endpoint}).Append(nil),
			&tsdisco.AllocateUDPRelayEndpointResponse{Generation: 9, UDPRelayEndpoint: theirEndpoint},
			func(v byte, b []byte) ([]byte, error) {
				var m disco.AllocateResponse
				err := m.Parse(v, b)
				return m.Append(nil), err
			}},
	}
}

// TestDisco carries every message inside a sealed packet, each way.
func TestDisco(t *testing.T) {
	a, b := key.NewDisco(), key.NewDisco()
	for _, p := range discoPairs() {
		t.Run(p.name, func(t *testing.T) {
			var nonce disco.Nonce
			rand.Read(nonce[:])
			packet := disco.AppendSeal(nil, a.Public(), a.Shared(b.Public()), nonce, p.ours)
			if !tsdisco.LooksLikeDiscoWrapper(packet) {
				t.Fatal("they do not take our packet for a disco packet")
			}
			inner, ok := theirDiscoPrivate(b).Shared(theirDisco(a.Public())).Open(packet[len(disco.Magic)+32:])
			if !ok {
				t.Fatal("they cannot open our packet")
			}
			got, err := tsdisco.Parse(inner)
			if err != nil || !reflect.DeepEqual(got, p.their) {
				t.Errorf("they read our message as %+v, %v; want %+v", got, err, p.their)
			}

			raw := a.Public().Raw32()
			theirPacket := append([]byte(tsdisco.Magic), raw[:]...)
			theirPacket = append(theirPacket, theirDiscoPrivate(a).Shared(theirDisco(b.Public())).Seal(p.their.AppendMarshal(nil))...)
			if from, ok := disco.Sender(theirPacket); !ok || from != a.Public() {
				t.Fatalf("sender of their packet is %v, %v", from, ok)
			}
			inner, err = disco.Open(nil, theirPacket, b.Shared(a.Public()))
			if err != nil {
				t.Fatal(err)
			}
			_, ver, body, err := disco.Split(inner)
			if err != nil {
				t.Fatal(err)
			}
			again, err := p.parse(ver, body)
			if err != nil || !reflect.DeepEqual(again, p.ours) {
				t.Errorf("their message read as\n%x, %v; want\n%x", again, err, p.ours)
			}
		})
	}
}
