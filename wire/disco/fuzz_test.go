package disco

import (
	"bytes"
	"testing"

	"github.com/ginnel/ginnel/wire/key"
)

// FuzzMessage parses arbitrary inner messages. What parses appends to something that
// parses to the same again.
func FuzzMessage(f *testing.F) {
	for _, v := range vectors() {
		f.Add(unhex(f, v.hex))
	}
	f.Add([]byte{0x0a, 0, 1, 2, 3})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, inner []byte) {
		typ, ver, body, err := Split(inner)
		if err != nil {
			return
		}
		again := func(appended []byte, reparse func(body []byte) []byte) {
			if got := reparse(appended[2:]); !bytes.Equal(got, appended) {
				t.Fatalf("%v: %x became %x", typ, appended, got)
			}
		}
		switch typ {
		case TypePing:
			var m, n Ping
			if m.Parse(body) == nil {
				again(m.Append(nil), func(b []byte) []byte { _ = n.Parse(b); return n.Append(nil) })
			}
		case TypePong:
			var m, n Pong
			if m.Parse(body) == nil {
				again(m.Append(nil), func(b []byte) []byte { _ = n.Parse(b); return n.Append(nil) })
			}
		case TypeCallMeMaybe:
			var m, n CallMeMaybe
			m.Parse(ver, body)
			again(m.Append(nil), func(b []byte) []byte { n.Parse(0, b); return n.Append(nil) })
		case TypeBind, TypeChallenge, TypeAnswer:
			var m, n Bind
			if m.Parse(body) == nil {
				again(m.Append(nil, typ), func(b []byte) []byte { _ = n.Parse(b); return n.Append(nil, typ) })
			}
		case TypeCallMeMaybeVia:
			var m, n CallMeMaybeVia
			if m.Parse(ver, body) == nil && !m.Endpoint.IsZero() {
				again(m.Append(nil), func(b []byte) []byte { _ = n.Parse(0, b); return n.Append(nil) })
			}
		case TypeAllocateRequest:
			var m, n AllocateRequest
			if m.Parse(ver, body) == nil {
				again(m.Append(nil), func(b []byte) []byte { _ = n.Parse(0, b); return n.Append(nil) })
			}
		case TypeAllocateResponse:
			var m, n AllocateResponse
			if m.Parse(ver, body) == nil && !m.Endpoint.IsZero() {
				again(m.Append(nil), func(b []byte) []byte { _ = n.Parse(0, b); return n.Append(nil) })
			}
		}
	})
}

// FuzzPacket classifies and opens arbitrary packets: only what was sealed opens.
func FuzzPacket(f *testing.F) {
	alice := key.DiscoPrivateFromRaw32([32]byte{8, 1, 31: 64})
	bob := key.DiscoPrivateFromRaw32([32]byte{16, 2, 31: 64})
	shared := bob.Shared(alice.Public())
	sealed := AppendSeal(nil, alice.Public(), shared, Nonce{7}, []byte{1, 0})
	f.Add(sealed)
	f.Add(append(Geneve{Protocol: ProtocolDisco, VNI: 1}.Append(nil), sealed...))
	f.Add(unhex(f, "0101000c2112a442"+rep("01", 12)))
	f.Add([]byte{4, 0, 0, 0})
	f.Fuzz(func(t *testing.T, packet []byte) {
		switch Classify(packet) {
		case KindDisco:
			if _, ok := Sender(packet); !ok {
				t.Fatal("disco packet without a sender")
			}
		case KindGeneveDisco, KindGeneveWireGuard:
			if _, ok := ParseGeneve(packet); !ok {
				t.Fatal("Geneve packet without a header")
			}
		}
		if inner, err := Open(nil, packet, shared); err == nil && len(inner)+EnvelopeLen != len(packet) {
			t.Fatalf("%d bytes opened to %d", len(packet), len(inner))
		}
	})
}
