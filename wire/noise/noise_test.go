package noise

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/ginnel/ginnel/wire/key"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func priv(t testing.TB, s string) key.MachinePrivate {
	return key.MachinePrivateFromRaw32([32]byte(unhex(t, s)))
}

// The vectors of the wire document control, section 14.
const (
	vecMachine    = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e5f"
	vecMachinePub = "8f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f"
	vecServer     = "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e7f"
	vecServerPub  = "358072d6365880d1aeea329adf9121383851ed21a28e3b75e965d0d2cd166254"
	vecClientEph  = "404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f"
	vecServerEph  = "606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f"
	vecInitiation = `0071010060
		79a631eede1bf9c98f12032cdeadd0e7a079398fc786b88cc846ec89af85a51a
		ad5b8febedeb97415be53612205e6bfab385e34cb127dd8854c4f9afb10f9b0e
		d00d22a4044dd6d4f52995b3151d2d1d88f850c97caf88bb2763176b3e47a90e`
	vecResponse = `020030
		675dd574ed7789310b3d2e7681f3790b466c773b1521fecf36577958371ea52f
		c371e4809e0804c811fa678a96697964`
	vecHash = "63e5864df19d1d04602c79ee119172ad3a78340e1b694a2b281d245d34d6d6a1"
)

func vectorPair(t testing.TB) (client, server *Session) {
	t.Helper()
	ini, initiation, err := newInitiator(priv(t, vecMachine), priv(t, vecServer).Public(), 113, priv(t, vecClientEph))
	if err != nil {
		t.Fatal(err)
	}
	server, response, err := respond(priv(t, vecServer), initiation, priv(t, vecServerEph))
	if err != nil {
		t.Fatal(err)
	}
	client, err = ini.Finish(response)
	if err != nil {
		t.Fatal(err)
	}
	return client, server
}

func TestVectors(t *testing.T) {
	if got := priv(t, vecMachine).Public().UntypedHex(); got != vecMachinePub {
		t.Errorf("machine public = %s", got)
	}
	if got := priv(t, vecServer).Public().UntypedHex(); got != vecServerPub {
		t.Errorf("server public = %s", got)
	}
	ini, initiation, err := newInitiator(priv(t, vecMachine), priv(t, vecServer).Public(), 113, priv(t, vecClientEph))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(initiation, unhex(t, vecInitiation)) {
		t.Fatalf("initiation = %x", initiation)
	}
	server, response, err := respond(priv(t, vecServer), initiation, priv(t, vecServerEph))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(response, unhex(t, vecResponse)) {
		t.Fatalf("response = %x", response)
	}
	client, err := ini.Finish(response)
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*Session{"client": client, "server": server} {
		if h := s.HandshakeHash(); hex.EncodeToString(h[:]) != vecHash {
			t.Errorf("%s: handshake hash = %x", name, h)
		}
		if s.Version() != 113 {
			t.Errorf("%s: version = %d", name, s.Version())
		}
	}
	if server.Peer().UntypedHex() != vecMachinePub || client.Peer().UntypedHex() != vecServerPub {
		t.Errorf("peers = %v, %v", server.Peer(), client.Peer())
	}
	for _, r := range []struct {
		from, to   *Session
		text, want string
	}{
		{client, server, "ping", "0400145e88b640eb451106035af1dce98a3759ae33222a"},
		{client, server, "ping", "04001497826fa20201ddc260825c89e0979809ccba6a58"},
		{server, client, "pong", "0400147457fea5b58dee4f37fd6170d652e56646b63ce1"},
	} {
		got, err := r.from.AppendSeal(nil, []byte(r.text))
		if err != nil {
			t.Fatal(err)
		}
		if hex.EncodeToString(got) != r.want {
			t.Errorf("record %q = %x, want %s", r.text, got, r.want)
		}
		n, err := RecordSize(got)
		if err != nil || n != len(got)-HeaderSize {
			t.Errorf("RecordSize = %d, %v", n, err)
		}
		plain, err := r.to.AppendOpen(nil, got[HeaderSize:])
		if err != nil || string(plain) != r.text {
			t.Errorf("open = %q, %v", plain, err)
		}
	}
}

func TestTransportKeys(t *testing.T) {
	// The transport keys of the vectors, reached through their effect: a record
	// sealed by an AEAD made straight from the key must open.
	client, server := vectorPair(t)
	toServer := newAEAD([32]byte(unhex(t, "b5a6c358cd51a1fc717517315852e009148ee5480cf70a3caf4d4f9498c9ca8e")))
	toClient := newAEAD([32]byte(unhex(t, "d8ebca0df9236e3c51fcc4e5d506d473b019dd191d7ac7112d1e046898a1e78d")))
	if _, err := server.AppendOpen(nil, toServer.Seal(nil, zeroNonce[:], []byte("a"), nil)); err != nil {
		t.Errorf("client to server key: %v", err)
	}
	if _, err := client.AppendOpen(nil, toClient.Seal(nil, zeroNonce[:], []byte("b"), nil)); err != nil {
		t.Errorf("server to client key: %v", err)
	}
}

func TestHandshakeRefusals(t *testing.T) {
	good := unhex(t, vecInitiation)
	change := func(at int, to byte) []byte {
		b := bytes.Clone(good)
		b[at] ^= to
		return b
	}
	tests := []struct {
		name      string
		msg       []byte
		want      error
		wantReply bool
	}{
		{"empty", nil, ErrMalformed, true},
		{"short", good[:100], ErrMalformed, true},
		{"long", append(bytes.Clone(good), 0), ErrMalformed, true},
		{"type", change(2, 1), ErrMalformed, true},
		{"length", change(4, 1), ErrMalformed, true},
		{"version", change(1, 1), ErrHandshake, false},
		{"ephemeral", change(5, 1), ErrHandshake, false},
		{"static", change(40, 1), ErrHandshake, false},
		{"tag", change(100, 1), ErrHandshake, false},
		{"low order point", append(append(bytes.Clone(good[:5]), make([]byte, 32)...), good[37:]...), ErrHandshake, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, reply, err := Respond(priv(t, vecServer), tt.msg)
			if !errors.Is(err, tt.want) || s != nil {
				t.Fatalf("Respond = %v, %v, want %v", s, err, tt.want)
			}
			if (reply != nil) != tt.wantReply {
				t.Fatalf("reply = %x", reply)
			}
			if tt.wantReply {
				ini, _, err := NewInitiator(priv(t, vecMachine), priv(t, vecServer).Public(), 113)
				if err != nil {
					t.Fatal(err)
				}
				var remote *RemoteError
				if _, err := ini.Finish(reply); !errors.As(err, &remote) || remote.Text == "" {
					t.Fatalf("Finish of the reply = %v, want a RemoteError", err)
				}
			}
		})
	}
	if _, _, err := Respond(key.NewMachine(), good); !errors.Is(err, ErrHandshake) {
		t.Errorf("another server's key: %v", err)
	}
	if _, _, err := NewInitiator(key.NewMachine(), key.MachinePublic{}, 113); err == nil {
		t.Error("zero server key accepted")
	}
	if _, _, err := NewInitiator(key.MachinePrivate{}, key.NewMachine().Public(), 113); err == nil {
		t.Error("zero machine key accepted")
	}
}

func TestFinishRefusals(t *testing.T) {
	good := unhex(t, vecResponse)
	for name, msg := range map[string][]byte{
		"empty":     nil,
		"header":    good[:3],
		"short":     good[:50],
		"long":      append(bytes.Clone(good), 1),
		"record":    append([]byte{TypeRecord}, good[1:]...),
		"changed":   append(bytes.Clone(good[:50]), good[50]^1),
		"low order": append(append(bytes.Clone(good[:3]), make([]byte, 32)...), good[35:]...),
		"error cut": {TypeError, 0, 9, 'x'},
	} {
		ini, _, err := newInitiator(priv(t, vecMachine), priv(t, vecServer).Public(), 113, priv(t, vecClientEph))
		if err != nil {
			t.Fatal(err)
		}
		if s, err := ini.Finish(msg); err == nil || s != nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestRecordRefusals(t *testing.T) {
	client, server := vectorPair(t)
	if _, err := client.AppendSeal(nil, make([]byte, MaxPlaintext+1)); !errors.Is(err, ErrTooLong) {
		t.Errorf("oversized plaintext: %v", err)
	}
	full, err := client.AppendSeal(nil, make([]byte, MaxPlaintext))
	if err != nil || len(full) != MaxFrame {
		t.Fatalf("full record: %d bytes, %v", len(full), err)
	}
	empty, err := client.AppendSeal(nil, nil)
	if err != nil || len(empty) != Overhead {
		t.Fatalf("empty record: %d bytes, %v", len(empty), err)
	}
	if _, err := server.AppendOpen(nil, empty[HeaderSize:]); !errors.Is(err, ErrRecord) {
		t.Errorf("record out of order: %v", err)
	}
	if _, err := server.AppendOpen(nil, full[HeaderSize:]); err != nil {
		t.Errorf("record in order after a bad one: %v", err)
	}
	if got, err := server.AppendOpen(nil, empty[HeaderSize:]); err != nil || len(got) != 0 {
		t.Errorf("empty record: %x, %v", got, err)
	}
	for name, header := range map[string][]byte{
		"type":      {TypeResponse, 0, 32},
		"too long":  {TypeRecord, 0x0f, 0xfe},
		"too short": {TypeRecord, 0, 15},
	} {
		if _, err := RecordSize(header); !errors.Is(err, ErrRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
	client.send.counter = ^uint64(0) - 1
	if _, err := client.AppendSeal(nil, nil); err != nil {
		t.Errorf("last usable record: %v", err)
	}
	if _, err := client.AppendSeal(nil, nil); !errors.Is(err, ErrExhausted) {
		t.Errorf("exhausted sender: %v", err)
	}
	server.recv.counter = ^uint64(0)
	if _, err := server.AppendOpen(nil, make([]byte, tagSize)); !errors.Is(err, ErrExhausted) {
		t.Errorf("exhausted receiver: %v", err)
	}
}

func TestRecordsDoNotAllocate(t *testing.T) {
	client, server := vectorPair(t)
	buf, plain := make([]byte, 0, MaxFrame), make([]byte, 1000)
	if n := testing.AllocsPerRun(100, func() {
		rec, err := client.AppendSeal(buf, plain)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := server.AppendOpen(rec[HeaderSize:HeaderSize], rec[HeaderSize:]); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations per record", n)
	}
}
