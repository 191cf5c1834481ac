package key

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
)

// LockPrivate is an Ed25519 signing key of tailnet lock. The zero value means no
// key. It prints redacted and cannot be compared with ==.
type LockPrivate struct {
	redacted
	k hidden[[ed25519.PrivateKeySize]byte]
}

// LockPublic is the public half of a tailnet-lock key, a comparable 32-byte value
// whose zero means no key.
type LockPublic struct{ public32 }

// NewLock returns a new random tailnet-lock key.
func NewLock() LockPrivate {
	var seed [ed25519.SeedSize]byte
	rand.Read(seed[:])
	return LockPrivateFromSeed(seed)
}

// LockPrivateFromSeed returns the Ed25519 key of a 32-byte seed.
func LockPrivateFromSeed(seed [32]byte) LockPrivate {
	var raw [ed25519.PrivateKeySize]byte
	copy(raw[:], ed25519.NewKeyFromSeed(seed[:]))
	return LockPrivate{k: hide(raw)}
}

// LockPublicFromRaw32 returns the public key made of the given bytes.
func LockPublicFromRaw32(raw [32]byte) LockPublic { return LockPublic{public32{raw}} }

// raw returns the 64 secret bytes: the seed and then the public key.
func (k LockPrivate) raw() (raw [ed25519.PrivateKeySize]byte) {
	if p := k.k.get(); p != nil {
		raw = *p
	}
	return raw
}

// IsZero reports whether the key is the zero value, meaning no key.
func (k LockPrivate) IsZero() bool { return k.k.get() == nil }

// Equal compares two private keys in constant time.
func (k LockPrivate) Equal(other LockPrivate) bool {
	a, b := k.raw(), other.raw()
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// Public returns the public half, or the zero key for the zero private key.
func (k LockPrivate) Public() LockPublic {
	raw := k.raw()
	return LockPublicFromRaw32([32]byte(raw[ed25519.SeedSize:]))
}

// Sign returns the 64-byte Ed25519 signature of message. It fails for the zero
// key.
func (k LockPrivate) Sign(message []byte) ([]byte, error) {
	if k.IsZero() {
		return nil, errors.New("tailnet-lock private key: key is zero")
	}
	return ed25519.Sign(ed25519.PrivateKey(k.k.get()[:]), message), nil
}

// MarshalText returns the secret text form, "nlpriv:" and 128 hex digits (the
// seed and then the public key), for storage only. It never fails.
func (k LockPrivate) MarshalText() ([]byte, error) {
	raw := k.raw()
	return appendHex(nil, lockPrivatePrefix, raw[:]), nil
}

// UnmarshalText reads the secret text form, failing when the public half is not
// that of the seed; k is unchanged on error, and errors never quote the text.
func (k *LockPrivate) UnmarshalText(text []byte) error {
	var raw [ed25519.PrivateKeySize]byte
	if err := decodeHex(raw[:], "tailnet-lock private", lockPrivatePrefix, text); err != nil {
		return err
	}
	if raw == ([ed25519.PrivateKeySize]byte{}) {
		*k = LockPrivate{}
		return nil
	}
	got := LockPrivateFromSeed([32]byte(raw[:ed25519.SeedSize]))
	if subtle.ConstantTimeCompare(got.k.get()[:], raw[:]) != 1 {
		return errors.New("tailnet-lock private key: public half does not match the seed")
	}
	*k = got
	return nil
}

// ParseLockPublic reads "nlpub:" or "tlpub:" and 64 hex digits in either case.
func ParseLockPublic(text string) (LockPublic, error) {
	var k LockPublic
	err := k.UnmarshalText([]byte(text))
	return k, err
}

// Compare orders two public keys by their raw bytes, returning -1, 0 or 1.
func (k LockPublic) Compare(other LockPublic) int { return k.compare(other.public32) }

// String returns the wire text form "nlpub:" and 64 hex digits.
func (k LockPublic) String() string { return string(appendHex(nil, lockPublicPrefix, k.k[:])) }

// CLIString returns the form shown to people: "tlpub:" and 64 hex digits.
func (k LockPublic) CLIString() string { return string(appendHex(nil, lockPublicCLIPrefix, k.k[:])) }

// ShortString returns the display form: the first five base64 characters of the
// key in square brackets.
func (k LockPublic) ShortString() string { return k.bracketShort() }

// AppendText appends the wire text form to dst. It never fails.
func (k LockPublic) AppendText(dst []byte) ([]byte, error) {
	return appendHex(dst, lockPublicPrefix, k.k[:]), nil
}

// MarshalText returns the wire text form. It never fails.
func (k LockPublic) MarshalText() ([]byte, error) { return k.AppendText(nil) }

// UnmarshalText reads either text form; k is unchanged on error.
func (k *LockPublic) UnmarshalText(text []byte) error {
	prefix := lockPublicPrefix
	if strings.HasPrefix(string(text), lockPublicCLIPrefix) {
		prefix = lockPublicCLIPrefix
	}
	if err := decodeHex(k.k[:], "tailnet-lock public", prefix, text); err != nil {
		return fmt.Errorf("read %w", err)
	}
	return nil
}

// Verify reports whether signature is k's Ed25519 signature of message. The zero
// key verifies nothing.
func (k LockPublic) Verify(message, signature []byte) bool {
	return !k.IsZero() && ed25519.Verify(ed25519.PublicKey(k.k[:]), message, signature)
}
