package key

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"strings"
)

// MeshKey is the 32-byte secret shared by the relays of one mesh. The zero value
// means no key. It prints redacted and cannot be compared with ==.
type MeshKey struct {
	redacted
	k hidden[[rawLen]byte]
}

// NewMeshKey returns a new random mesh key.
func NewMeshKey() MeshKey {
	var raw [rawLen]byte
	rand.Read(raw[:])
	return MeshKey{k: hide(raw)}
}

// ParseMeshKey reads 64 hex digits in either case with no prefix, ignoring white
// space around them. Errors never quote the text.
func ParseMeshKey(text string) (MeshKey, error) {
	var raw [rawLen]byte
	if err := decodeHex(raw[:], "relay mesh", "", []byte(strings.TrimSpace(text))); err != nil {
		return MeshKey{}, err
	}
	if raw == ([rawLen]byte{}) {
		return MeshKey{}, errors.New("relay mesh key: all zeros is not a key")
	}
	return MeshKey{k: hide(raw)}, nil
}

// IsZero reports whether there is no key.
func (k MeshKey) IsZero() bool { return k.k.get() == nil }

// Equal compares two keys in constant time. The zero key equals nothing, not even
// itself, so that a missing key never authenticates.
func (k MeshKey) Equal(other MeshKey) bool {
	a, b := k.k.get(), other.k.get()
	return a != nil && b != nil && subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// SecretText returns the 64 secret hex digits, as sent in a relay's handshake, or
// the empty string for the zero key. The caller must not print or log it.
func (k MeshKey) SecretText() string {
	if k.IsZero() {
		return ""
	}
	return hex.EncodeToString(k.k.get()[:])
}
