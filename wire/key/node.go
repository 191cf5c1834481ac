package key

import "fmt"

// NodePrivate is the private half of a node key: the identity of a node
// in WireGuard and on relays. It rotates.
// The zero value means no key. It prints redacted and cannot be compared with ==.
type NodePrivate struct{ secret32 }

// NodePublic is the public half of a node key, a comparable 32-byte value whose
// zero means no key.
type NodePublic struct{ public32 }

// NewNode returns a new random node key, clamped for X25519.
func NewNode() NodePrivate { return NodePrivate{newSecret32()} }

// NodePrivateFromRaw32 returns the private key made of the given bytes, taken as
// they are; all zeros give the zero key.
func NodePrivateFromRaw32(raw [32]byte) NodePrivate { return NodePrivate{secretFrom(raw)} }

// NodePublicFromRaw32 returns the public key made of the given bytes.
func NodePublicFromRaw32(raw [32]byte) NodePublic { return NodePublic{public32{raw}} }

// Public returns the public half, or the zero key for the zero private key.
func (k NodePrivate) Public() NodePublic { return NodePublic{k.public()} }

// Equal compares two private keys in constant time.
func (k NodePrivate) Equal(other NodePrivate) bool { return k.equal(other.secret32) }

// ParseNodePublic reads the text form "nodekey:" and 64 hex digits in either case.
func ParseNodePublic(text string) (NodePublic, error) {
	var k NodePublic
	err := k.UnmarshalText([]byte(text))
	return k, err
}

// Compare orders two public keys by their raw bytes, returning -1, 0 or 1.
func (k NodePublic) Compare(other NodePublic) int { return k.compare(other.public32) }

// String returns the text form; a zero key has 64 zero digits.
func (k NodePublic) String() string { return string(appendHex(nil, nodePublicPrefix, k.k[:])) }

// AppendText appends the text form to dst. It never fails.
func (k NodePublic) AppendText(dst []byte) ([]byte, error) {
	return appendHex(dst, nodePublicPrefix, k.k[:]), nil
}

// MarshalText returns the text form. It never fails.
func (k NodePublic) MarshalText() ([]byte, error) { return k.AppendText(nil) }

// UnmarshalText reads the text form; k is unchanged on error.
func (k *NodePublic) UnmarshalText(text []byte) error {
	return decodeHex(k.k[:], "node public", nodePublicPrefix, text)
}

// ShortString returns the display form: the first five base64 characters of the
// key in square brackets.
func (k NodePublic) ShortString() string { return k.bracketShort() }

// MarshalText returns the secret text form, "privkey:" and 64 hex digits, for
// storage only. It never fails.
func (k NodePrivate) MarshalText() ([]byte, error) { return k.appendText(nil), nil }

// UnmarshalText reads the secret text form; k is unchanged on error, and errors
// never quote the text.
func (k *NodePrivate) UnmarshalText(text []byte) error {
	s, err := parseSecret32("node private", text)
	if err != nil {
		return err
	}
	k.secret32 = s
	return nil
}

// UntypedHex returns the 64 hex digits of the key without a prefix.
func (k NodePublic) UntypedHex() string { return k.untypedHex() }

// ParseNodePublicUntyped reads 64 hex digits without a prefix.
func ParseNodePublicUntyped(text string) (NodePublic, error) {
	var k NodePublic
	err := decodeHex(k.k[:], "node public", "", []byte(text))
	return k, err
}

// nodeBinaryPrefix starts the binary form: wire document control, section 1.1.
const nodeBinaryPrefix = "np"

// MarshalBinary returns the 34-byte form used inside tailnet-lock structures:
// "np" and the 32 raw bytes. It never fails.
func (k NodePublic) MarshalBinary() ([]byte, error) {
	return append([]byte(nodeBinaryPrefix), k.k[:]...), nil
}

// UnmarshalBinary reads the 34-byte form; k is unchanged on error.
func (k *NodePublic) UnmarshalBinary(data []byte) error {
	if len(data) != len(nodeBinaryPrefix)+rawLen {
		return fmt.Errorf("node public key: %d bytes, want %d", len(data), len(nodeBinaryPrefix)+rawLen)
	}
	if string(data[:2]) != nodeBinaryPrefix {
		return fmt.Errorf("node public key: binary form does not start with %q", nodeBinaryPrefix)
	}
	copy(k.k[:], data[2:])
	return nil
}

// SealTo encrypts plaintext for pub as a NaCl box and returns nonce[24] followed
// by the ciphertext, which is 16 bytes longer than plaintext. It returns nil when
// k is zero or pub is a low-order point, for which no secret box exists.
func (k NodePrivate) SealTo(pub NodePublic, plaintext []byte) []byte {
	return k.sealTo(pub.public32, plaintext)
}

// OpenFrom opens a box sealed by the holder of pub for k. It reports false for
// anything not sealed so.
func (k NodePrivate) OpenFrom(pub NodePublic, sealed []byte) ([]byte, bool) {
	return k.openFrom(pub.public32, sealed)
}
