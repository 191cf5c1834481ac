package key

import (
	"crypto/subtle"

	"golang.org/x/crypto/nacl/box"
)

// DiscoPrivate is the private half of a disco key: the identity of a node in path
// discovery. It has no text form; a node that keeps it from run to run stores the raw
// bytes, so that peers recognise it when the server is away.
// The zero value means no key. It prints redacted and cannot be compared with ==.
type DiscoPrivate struct{ secret32 }

// DiscoPublic is the public half of a disco key, a comparable 32-byte value whose
// zero means no key.
type DiscoPublic struct{ public32 }

// NewDisco returns a new random disco key, clamped for X25519.
func NewDisco() DiscoPrivate { return DiscoPrivate{newSecret32()} }

// DiscoPrivateFromRaw32 returns the private key made of the given bytes, taken as
// they are; all zeros give the zero key.
func DiscoPrivateFromRaw32(raw [32]byte) DiscoPrivate { return DiscoPrivate{secretFrom(raw)} }

// DiscoPublicFromRaw32 returns the public key made of the given bytes.
func DiscoPublicFromRaw32(raw [32]byte) DiscoPublic { return DiscoPublic{public32{raw}} }

// Public returns the public half, or the zero key for the zero private key.
func (k DiscoPrivate) Public() DiscoPublic { return DiscoPublic{k.public()} }

// Equal compares two private keys in constant time.
func (k DiscoPrivate) Equal(other DiscoPrivate) bool { return k.equal(other.secret32) }

// ParseDiscoPublic reads the text form "discokey:" and 64 hex digits in either case.
func ParseDiscoPublic(text string) (DiscoPublic, error) {
	var k DiscoPublic
	err := k.UnmarshalText([]byte(text))
	return k, err
}

// Compare orders two public keys by their raw bytes, returning -1, 0 or 1.
func (k DiscoPublic) Compare(other DiscoPublic) int { return k.compare(other.public32) }

// String returns the text form; a zero key has 64 zero digits.
func (k DiscoPublic) String() string { return string(appendHex(nil, discoPublicPrefix, k.k[:])) }

// AppendText appends the text form to dst. It never fails.
func (k DiscoPublic) AppendText(dst []byte) ([]byte, error) {
	return appendHex(dst, discoPublicPrefix, k.k[:]), nil
}

// MarshalText returns the text form. It never fails.
func (k DiscoPublic) MarshalText() ([]byte, error) { return k.AppendText(nil) }

// UnmarshalText reads the text form; k is unchanged on error.
func (k *DiscoPublic) UnmarshalText(text []byte) error {
	return decodeHex(k.k[:], "disco public", discoPublicPrefix, text)
}

// ShortString returns the display form: "d:" and the first 16 hex digits.
func (k DiscoPublic) ShortString() string { return "d:" + k.untypedHex()[:16] }

// DiscoShared is the precomputed NaCl box key of one pair of disco keys. The zero
// value opens nothing. It prints redacted and cannot be compared with ==.
type DiscoShared struct {
	redacted
	k hidden[[32]byte]
}

// Shared returns the box key shared with pub. It is zero when k is zero or pub is
// a low-order point.
func (k DiscoPrivate) Shared(pub DiscoPublic) DiscoShared {
	key := k.boxKey(pub.public32)
	if key == nil {
		return DiscoShared{}
	}
	return DiscoShared{k: hide(*key)}
}

// IsZero reports whether there is no shared key.
func (s DiscoShared) IsZero() bool { return s.k.get() == nil }

// Equal compares two shared keys in constant time; zero keys are equal to
// nothing.
func (s DiscoShared) Equal(other DiscoShared) bool {
	a, b := s.k.get(), other.k.get()
	return a != nil && b != nil && subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// AppendSeal appends the box of plaintext under nonce to dst: 16 bytes more than
// plaintext. The nonce must not be used twice with the same pair of keys; it is
// not itself appended. The zero key seals nothing and returns dst as it is.
func (s DiscoShared) AppendSeal(dst []byte, nonce [24]byte, plaintext []byte) []byte {
	if s.IsZero() {
		return dst
	}
	return box.SealAfterPrecomputation(dst, plaintext, &nonce, s.k.get())
}

// AppendOpen appends to dst what ciphertext holds, reporting false, with a nil
// slice, when it was not sealed under nonce and this key.
func (s DiscoShared) AppendOpen(dst []byte, nonce [24]byte, ciphertext []byte) ([]byte, bool) {
	if s.IsZero() {
		return nil, false
	}
	return box.OpenAfterPrecomputation(dst, ciphertext, &nonce, s.k.get())
}
