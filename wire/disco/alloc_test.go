package disco

import (
	"net/netip"
	"testing"

	"github.com/ginnel/ginnel/wire/key"
)

// TestNoAllocations holds the codecs to allocating nothing once buffers exist.
func TestNoAllocations(t *testing.T) {
	alice, bob := key.NewDisco(), key.NewDisco()
	from, shared := alice.Public(), alice.Shared(bob.Public())
	buf, inner := make([]byte, 0, 2048), make([]byte, 0, 2048)
	ping := Ping{TxID: txID, Node: nodeKey}
	call := CallMeMaybe{Endpoints: make([]netip.AddrPort, 0, 8)}
	callBody := (&CallMeMaybe{Endpoints: []netip.AddrPort{addr4, addr6}}).Append(nil)[2:]
	for name, f := range map[string]func(){
		"append and parse ping": func() {
			b := ping.Append(buf[:0])
			var m Ping
			if _, _, body, err := Split(b); err != nil || m.Parse(body) != nil {
				t.Fatal("ping does not parse")
			}
		},
		"parse call-me-maybe": func() { call.Parse(0, callBody) },
		"classify":            func() { Classify(callBody) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	sealed := AppendSeal(nil, from, shared, Nonce{1}, ping.Append(nil))
	opener := bob.Shared(from)
	for name, f := range map[string]func(){
		"seal": func() { AppendSeal(buf[:0], from, shared, Nonce{1}, ping.Append(inner[:0])) },
		"open": func() {
			if _, err := Open(buf[:0], sealed, opener); err != nil {
				t.Fatal(err)
			}
		},
		"sender": func() { Sender(sealed) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkClassifyData(b *testing.B) {
	packet := make([]byte, 1400)
	packet[0] = 4
	b.ReportAllocs()
	for b.Loop() {
		Classify(packet)
	}
}

func BenchmarkSealPing(b *testing.B) {
	alice, bob := key.NewDisco(), key.NewDisco()
	from, shared := alice.Public(), alice.Shared(bob.Public())
	buf, inner := make([]byte, 0, 2048), make([]byte, 0, 2048)
	ping := Ping{TxID: txID, Node: nodeKey}
	b.ReportAllocs()
	for b.Loop() {
		AppendSeal(buf[:0], from, shared, Nonce{}, ping.Append(inner[:0]))
	}
}

func BenchmarkOpenPing(b *testing.B) {
	alice, bob := key.NewDisco(), key.NewDisco()
	packet := AppendSeal(nil, alice.Public(), alice.Shared(bob.Public()), Nonce{}, (&Ping{TxID: txID, Node: nodeKey}).Append(nil))
	shared := bob.Shared(alice.Public())
	buf := make([]byte, 0, 2048)
	b.ReportAllocs()
	for b.Loop() {
		inner, err := Open(buf[:0], packet, shared)
		if err != nil {
			b.Fatal(err)
		}
		_, _, body, _ := Split(inner)
		var m Ping
		if err := m.Parse(body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCallMeMaybe(b *testing.B) {
	m := CallMeMaybe{}
	for range 10 {
		m.Endpoints = append(m.Endpoints, addr4, addr6)
	}
	buf := make([]byte, 0, 2048)
	b.ReportAllocs()
	for b.Loop() {
		m.Parse(0, m.Append(buf[:0])[headerLen:])
	}
}

func BenchmarkGeneve(b *testing.B) {
	g := Geneve{Protocol: ProtocolWireGuard, VNI: 77}
	buf := make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := ParseGeneve(g.Append(buf)); !ok {
			b.Fatal("not a Geneve header")
		}
	}
}
