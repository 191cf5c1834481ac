package disco

import (
	"errors"

	"github.com/ginnel/ginnel/wire/key"
)

// Magic starts every sealed packet: the letters TS and a speech balloon in UTF-8.
const Magic = "TS\xf0\x9f\x92\xac"

const (
	keyLen   = 32
	nonceLen = 24
	boxLen   = 16 // what a box adds to its plaintext

	nonceAt = len(Magic) + keyLen
	boxAt   = nonceAt + nonceLen

	// EnvelopeLen is how many bytes a sealed packet has beyond the inner message.
	EnvelopeLen = boxAt + boxLen
	// Overhead is how many bytes a sealed packet has beyond the body of its message.
	Overhead = EnvelopeLen + headerLen
)

// Nonce is the random value sealed with a packet. It must not be used twice with the
// same pair of keys.
type Nonce [nonceLen]byte

// ErrNotSealed is returned by Open for packets that are too short, or were not sealed
// by the holder of the other key.
var ErrNotSealed = errors.New("disco: packet does not open")

// IsSealed reports whether packet starts like a sealed packet: it has the magic and a
// whole sender key.
func IsSealed(packet []byte) bool {
	return len(packet) >= nonceAt && string(packet[:len(Magic)]) == Magic
}

// Sender returns the disco key that a sealed packet claims to come from. It reports
// false if the packet does not start like a sealed packet. Only a successful Open
// proves the claim.
func Sender(packet []byte) (key.DiscoPublic, bool) {
	if !IsSealed(packet) {
		return key.DiscoPublic{}, false
	}
	return key.DiscoPublicFromRaw32([keyLen]byte(packet[len(Magic):nonceAt])), true
}

// AppendSeal appends to dst a sealed packet from the given key that holds the inner
// message, encrypted with the key shared by both ends. inner must not overlap the free
// capacity of dst.
func AppendSeal(dst []byte, from key.DiscoPublic, shared key.DiscoShared, nonce Nonce, inner []byte) []byte {
	dst = append(dst, Magic...)
	dst = from.AppendTo(dst)
	dst = append(dst, nonce[:]...)
	return shared.AppendSeal(dst, nonce, inner)
}

// Open appends to dst the inner message of a sealed packet, for Split. dst must not
// overlap packet. The error is ErrNotSealed whatever was wrong.
func Open(dst, packet []byte, shared key.DiscoShared) ([]byte, error) {
	if !IsSealed(packet) || len(packet) < EnvelopeLen {
		return nil, ErrNotSealed
	}
	inner, ok := shared.AppendOpen(dst, [nonceLen]byte(packet[nonceAt:boxAt]), packet[boxAt:])
	if !ok {
		return nil, ErrNotSealed
	}
	return inner, nil
}
