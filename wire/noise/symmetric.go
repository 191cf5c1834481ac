package noise

import (
	"crypto/cipher"
	"crypto/hmac"
	"encoding/binary"
	"fmt"
	"hash"
	"strconv"

	"github.com/ginnel/ginnel/wire/key"
	"golang.org/x/crypto/blake2s"
	"golang.org/x/crypto/chacha20poly1305"
)

// Names that both sides mix in: wire document control, section 3.4.
const (
	protocolName   = "Noise_IK_25519_ChaChaPoly_BLAKE2s"
	prologuePrefix = "Tailscale Control Protocol v"
)

// symmetric is the SymmetricState of the Noise specification, section 5.2,
// for the one cipher suite used here. Handshake ciphers are used once each, so
// the nonce is always zero.
type symmetric struct {
	h    [blake2s.Size]byte // running hash of the transcript
	ck   [blake2s.Size]byte // chaining key
	aead cipher.AEAD        // nil until the first key was mixed in
}

// start begins a handshake: protocol name, prologue, and the responder's static
// key, which the initiator knows beforehand.
func (s *symmetric) start(version uint16, server key.MachinePublic) {
	s.h = blake2s.Sum256([]byte(protocolName))
	s.ck = s.h
	s.mixHash(strconv.AppendUint([]byte(prologuePrefix), uint64(version), 10))
	raw := server.Raw32()
	s.mixHash(raw[:])
}

func (s *symmetric) mixHash(data []byte) {
	h := newHash()
	h.Write(s.h[:])
	h.Write(data)
	h.Sum(s.h[:0])
}

// mixDH mixes the shared secret of priv and pub into the chaining key and
// starts a fresh handshake cipher.
func (s *symmetric) mixDH(priv key.MachinePrivate, pub key.MachinePublic) error {
	shared, err := priv.ECDH(pub)
	if err != nil {
		return err
	}
	var k [blake2s.Size]byte
	s.ck, k = hkdf2(s.ck, shared[:])
	s.aead = newAEAD(k)
	return nil
}

var zeroNonce [chacha20poly1305.NonceSize]byte

// appendEncrypted appends the sealed plaintext to dst and mixes it in.
func (s *symmetric) appendEncrypted(dst, plaintext []byte) []byte {
	n := len(dst)
	dst = s.aead.Seal(dst, zeroNonce[:], plaintext, s.h[:])
	s.mixHash(dst[n:])
	return dst
}

// decrypt opens sealed and mixes it in.
func (s *symmetric) decrypt(sealed []byte) ([]byte, error) {
	plain, err := s.aead.Open(nil, zeroNonce[:], sealed, s.h[:])
	if err != nil {
		return nil, err
	}
	s.mixHash(sealed)
	return plain, nil
}

// split ends the handshake and returns the two transport keys: initiator to
// responder, then responder to initiator.
func (s *symmetric) split() (fromInitiator, fromResponder [blake2s.Size]byte) {
	return hkdf2(s.ck, nil)
}

// hkdf2 is the two-output HKDF of the Noise specification, section 4.3.
func hkdf2(ck [blake2s.Size]byte, input []byte) (o1, o2 [blake2s.Size]byte) {
	mac := hmac.New(newHash, ck[:])
	mac.Write(input)
	temp := mac.Sum(nil)

	mac = hmac.New(newHash, temp)
	mac.Write([]byte{1})
	mac.Sum(o1[:0])
	mac.Reset()
	mac.Write(o1[:])
	mac.Write([]byte{2})
	mac.Sum(o2[:0])
	return o1, o2
}

func newHash() hash.Hash {
	h, err := blake2s.New256(nil)
	if err != nil { // only a wrong key length fails, and there is no key
		panic(fmt.Sprintf("noise: blake2s: %v", err))
	}
	return h
}

func newAEAD(k [chacha20poly1305.KeySize]byte) cipher.AEAD {
	a, err := chacha20poly1305.New(k[:])
	if err != nil { // only a wrong key length fails, and the length is fixed
		panic(fmt.Sprintf("noise: chacha20poly1305: %v", err))
	}
	return a
}

// direction is one direction of the transport: a key and its record counter.
type direction struct {
	aead    cipher.AEAD
	counter uint64
	buf     [chacha20poly1305.NonceSize]byte // nonce of the record at hand; here so that it is not allocated for each
}

// nonce returns the nonce of the next record: four zero bytes and the counter,
// big-endian where stock Noise is little-endian (wire document control,
// section 3.6). The last counter value is never used.
//
// The result is valid until the next call.
func (d *direction) nonce() ([]byte, error) {
	if d.counter == ^uint64(0) {
		return nil, ErrExhausted
	}
	binary.BigEndian.PutUint64(d.buf[4:], d.counter)
	return d.buf[:], nil
}
