package key

import (
	"crypto/ecdh"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"

	"golang.org/x/crypto/curve25519"
	"golang.org/x/crypto/nacl/box"
)

// redactedText is what every secret prints as.
const redactedText = "[redacted key]"

// redacted gives a type that embeds it the printing methods of a secret, and
// makes that type incomparable with ==.
type redacted struct {
	_ [0]func()
}

// String returns a fixed word, never the key.
func (redacted) String() string { return redactedText }

// GoString returns a fixed word, never the key.
func (redacted) GoString() string { return redactedText }

// Format writes a fixed word whatever the verb, never the key.
func (redacted) Format(f fmt.State, _ rune) { io.WriteString(f, redactedText) }

// LogValue returns a fixed word, never the key.
func (redacted) LogValue() slog.Value { return slog.StringValue(redactedText) }

// hidden holds secret bytes two pointers away, so that fmt, which calls no
// method on a secret inside another struct's unexported field, finds an address
// there and not the bytes. The bytes never change once set.
type hidden[T any] struct {
	pp **T
}

// hide returns v hidden.
func hide[T any](v T) hidden[T] {
	p := &v
	return hidden[T]{&p}
}

// get returns the hidden bytes, or nil when there are none. The caller must not
// change them.
func (h hidden[T]) get() *T {
	if h.pp == nil {
		return nil
	}
	return *h.pp
}

// secret32 is the body of the X25519 private keys.
type secret32 struct {
	redacted
	k hidden[[rawLen]byte]
}

// newSecret32 returns 32 random bytes clamped for X25519 (wire document
// control, section 1.2).
func newSecret32() secret32 {
	var raw [rawLen]byte
	rand.Read(raw[:]) // never fails: crypto/rand aborts the process instead
	raw[0] &= 248
	raw[31] = raw[31]&127 | 64
	return secret32{k: hide(raw)}
}

// secretFrom returns the secret holding raw as it is; all zeros give the zero
// secret.
func secretFrom(raw [rawLen]byte) secret32 {
	if raw == ([rawLen]byte{}) {
		return secret32{}
	}
	return secret32{k: hide(raw)}
}

// Raw32 returns the 32 secret bytes. It is for crypto code and for storage; the
// caller must not print or log the result.
func (s secret32) Raw32() [rawLen]byte {
	if k := s.k.get(); k != nil {
		return *k
	}
	return [rawLen]byte{}
}

// IsZero reports whether the key is the zero value, meaning no key.
func (s secret32) IsZero() bool { return s.k.get() == nil }

// equal compares in constant time.
func (s secret32) equal(t secret32) bool {
	a, b := s.Raw32(), t.Raw32()
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// public returns the X25519 public key of s, or the zero key when s is zero.
func (s secret32) public() public32 {
	var p public32
	if s.IsZero() {
		return p
	}
	priv, err := ecdh.X25519().NewPrivateKey(s.k.get()[:])
	if err != nil { // only a wrong length can fail, and the length is fixed
		return p
	}
	copy(p.k[:], priv.PublicKey().Bytes())
	return p
}

// appendText appends the private text form.
func (s secret32) appendText(dst []byte) []byte {
	raw := s.Raw32()
	return appendHex(dst, privatePrefix, raw[:])
}

// parseSecret32 reads the private text form.
func parseSecret32(kind string, text []byte) (secret32, error) {
	var raw [rawLen]byte
	if err := decodeHex(raw[:], kind, privatePrefix, text); err != nil {
		return secret32{}, err
	}
	return secretFrom(raw), nil
}

// ecdh returns the raw X25519 shared secret of s and p. It fails when s is zero
// or p is a low-order point (the zero key is one).
func (s secret32) ecdh(p public32) ([rawLen]byte, error) {
	var out [rawLen]byte
	if s.IsZero() {
		return out, fmt.Errorf("x25519: private key is zero")
	}
	shared, err := curve25519.X25519(s.k.get()[:], p.k[:])
	if err != nil {
		return out, fmt.Errorf("x25519: %w", err)
	}
	copy(out[:], shared)
	return out, nil
}

// boxKey returns the NaCl box key shared by s and p, or nil when s is zero or p
// is a low-order point.
func (s secret32) boxKey(p public32) *[rawLen]byte {
	if s.IsZero() {
		return nil
	}
	out := new([rawLen]byte)
	box.Precompute(out, &p.k, s.k.get())
	if *out == lowOrderBoxKey {
		return nil
	}
	return out
}

// lowOrderBoxKey is the box key of every low-order point, whatever the private
// key: the X25519 result is zero there, and so no secret.
var lowOrderBoxKey = func() (k [rawLen]byte) {
	box.Precompute(&k, new([rawLen]byte), &[rawLen]byte{rawLen - 1: 64})
	return k
}()

// nonceLen is the NaCl box nonce length in bytes.
const nonceLen = 24

// sealTo returns nonce[24] followed by the box of plaintext for p, or nil where
// ecdh fails.
func (s secret32) sealTo(p public32, plaintext []byte) []byte {
	k := s.boxKey(p)
	if k == nil {
		return nil
	}
	var nonce [nonceLen]byte
	rand.Read(nonce[:])
	out := make([]byte, nonceLen, nonceLen+len(plaintext)+box.Overhead)
	copy(out, nonce[:])
	return box.SealAfterPrecomputation(out, plaintext, &nonce, k)
}

// openFrom opens nonce[24] followed by a box sealed by p for s.
func (s secret32) openFrom(p public32, sealed []byte) ([]byte, bool) {
	if len(sealed) < nonceLen+box.Overhead {
		return nil, false
	}
	k := s.boxKey(p)
	if k == nil {
		return nil, false
	}
	nonce := [nonceLen]byte(sealed[:nonceLen])
	return box.OpenAfterPrecomputation(nil, sealed[nonceLen:], &nonce, k)
}
