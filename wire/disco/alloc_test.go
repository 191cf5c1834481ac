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
	// The box itself may move its nonce to the heap; not more than that.
	seal := testing.AllocsPerRun(100, func() {
		in := ping.Append(inner[:0])
		AppendSeal(buf[:0], from, shared, Nonce{1}, in)
	})
	if seal > 1 {
		t.Errorf("seal: %v allocations, want at most 1", seal)
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
