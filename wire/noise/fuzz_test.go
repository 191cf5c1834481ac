package noise

import (
	"errors"
	"testing"
)

func FuzzRespond(f *testing.F) {
	f.Add(unhex(f, vecInitiation))
	f.Add(unhex(f, vecInitiation)[:100])
	f.Add([]byte{})
	f.Add(make([]byte, InitiationSize))
	server := priv(f, vecServer)
	f.Fuzz(func(t *testing.T, msg []byte) {
		s, reply, err := Respond(server, msg)
		switch {
		case err == nil:
			if len(reply) != ResponseSize || s.Peer().IsZero() {
				t.Fatalf("accepted with reply %x, peer %v", reply, s.Peer())
			}
		case errors.Is(err, ErrMalformed):
			if s != nil || len(reply) <= HeaderSize || reply[0] != TypeError {
				t.Fatalf("malformed message answered with %x", reply)
			}
		case !errors.Is(err, ErrHandshake) || s != nil || reply != nil:
			t.Fatalf("refused with %x, %v", reply, err)
		}
	})
}

func FuzzFinish(f *testing.F) {
	f.Add(unhex(f, vecResponse))
	f.Add(AppendError(nil, "go away"))
	f.Add([]byte{TypeResponse, 0, responsePayload})
	f.Fuzz(func(t *testing.T, msg []byte) {
		ini, _, err := newInitiator(priv(t, vecMachine), priv(t, vecServer).Public(), 113, priv(t, vecClientEph))
		if err != nil {
			t.Fatal(err)
		}
		s, err := ini.Finish(msg)
		if (s == nil) == (err == nil) {
			t.Fatalf("Finish = %v, %v", s, err)
		}
	})
}

func FuzzOpen(f *testing.F) {
	f.Add(unhex(f, "5e88b640eb451106035af1dce98a3759ae33222a"))
	f.Add([]byte{})
	f.Add(make([]byte, MaxCiphertext+1))
	f.Fuzz(func(t *testing.T, body []byte) {
		_, server := vectorPair(t)
		plain, err := server.AppendOpen(nil, body)
		if err == nil && len(plain) != len(body)-tagSize {
			t.Fatalf("%d bytes opened to %d", len(body), len(plain))
		}
		if err != nil && len(plain) != 0 {
			t.Fatalf("plaintext %x beside error %v", plain, err)
		}
		if len(body) >= HeaderSize {
			if n, err := RecordSize(body); err == nil && (n < tagSize || n > MaxCiphertext) {
				t.Fatalf("RecordSize = %d", n)
			}
		}
	})
}
