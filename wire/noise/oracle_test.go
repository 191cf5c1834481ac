package noise

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"testing"

	"github.com/flynn/noise"
	"github.com/ginnel/ginnel/wire/key"
	"golang.org/x/crypto/chacha20poly1305"
)

// TestAgainstIndependentImplementation runs both roles against another Noise
// library with fresh keys.
func TestAgainstIndependentImplementation(t *testing.T) {
	suite := noise.NewCipherSuite(noise.DH25519, noise.CipherChaChaPoly, noise.HashBLAKE2s)
	dhKey := func(k key.MachinePrivate) noise.DHKey {
		raw, pub := k.Raw32(), k.Public().Raw32()
		return noise.DHKey{Private: raw[:], Public: pub[:]}
	}
	machine, server := key.NewMachine(), key.NewMachine()
	serverPub := server.Public().Raw32()
	prologue := []byte("Tailscale Control Protocol v137")

	t.Run("our client", func(t *testing.T) {
		other, err := noise.NewHandshakeState(noise.Config{
			CipherSuite: suite, Random: rand.Reader, Pattern: noise.HandshakeIK,
			Prologue: prologue, StaticKeypair: dhKey(server),
		})
		if err != nil {
			t.Fatal(err)
		}
		ini, msg, err := NewInitiator(machine, server.Public(), 137)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := other.ReadMessage(nil, msg[initiationHeaderSize:]); err != nil {
			t.Fatal(err)
		}
		if raw := machine.Public().Raw32(); !bytes.Equal(other.PeerStatic(), raw[:]) {
			t.Error("the other side learned another machine key")
		}
		reply, toServer, toClient, err := other.WriteMessage(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		s, err := ini.Finish(append([]byte{TypeResponse, 0, responsePayload}, reply...))
		if err != nil {
			t.Fatal(err)
		}
		if h := s.HandshakeHash(); !bytes.Equal(h[:], other.ChannelBinding()) {
			t.Error("handshake hashes differ")
		}
		checkRecords(t, s, toServer.UnsafeKey(), toClient.UnsafeKey())
	})

	t.Run("our server", func(t *testing.T) {
		other, err := noise.NewHandshakeState(noise.Config{
			CipherSuite: suite, Random: rand.Reader, Pattern: noise.HandshakeIK, Initiator: true,
			Prologue: prologue, StaticKeypair: dhKey(machine), PeerStatic: serverPub[:],
		})
		if err != nil {
			t.Fatal(err)
		}
		msg, _, _, err := other.WriteMessage(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		header := []byte{0, 137, TypeInitiation, 0, initiationPayload}
		s, reply, err := Respond(server, append(header, msg...))
		if err != nil {
			t.Fatal(err)
		}
		_, toServer, toClient, err := other.ReadMessage(nil, reply[HeaderSize:])
		if err != nil {
			t.Fatal(err)
		}
		if s.Peer() != machine.Public() || s.Version() != 137 {
			t.Errorf("peer %v, version %d", s.Peer(), s.Version())
		}
		if h := s.HandshakeHash(); !bytes.Equal(h[:], other.ChannelBinding()) {
			t.Error("handshake hashes differ")
		}
		checkRecords(t, s, toClient.UnsafeKey(), toServer.UnsafeKey())
	})
}

// checkRecords checks three records each way against a cipher of its own, since
// the library's nonce is little-endian.
func checkRecords(t *testing.T, s *Session, sendKey, recvKey [32]byte) {
	t.Helper()
	send, err := chacha20poly1305.New(sendKey[:])
	if err != nil {
		t.Fatal(err)
	}
	recv, err := chacha20poly1305.New(recvKey[:])
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(3) {
		nonce := binary.BigEndian.AppendUint64(make([]byte, 4), i)
		text := []byte{'r', byte(i)}
		rec, err := s.AppendSeal(nil, text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := send.Open(nil, nonce, rec[HeaderSize:], nil); err != nil || !bytes.Equal(got, text) {
			t.Fatalf("record %d sent: %q, %v", i, got, err)
		}
		if got, err := s.AppendOpen(nil, recv.Seal(nil, nonce, text, nil)); err != nil || !bytes.Equal(got, text) {
			t.Fatalf("record %d received: %q, %v", i, got, err)
		}
	}
}
