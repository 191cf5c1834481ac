package key

// MachinePrivate is the private half of a machine key: the identity of a
// daemon, or of a server, in the Noise handshake.
// The zero value means no key. It prints redacted and cannot be compared with ==.
type MachinePrivate struct{ secret32 }

// MachinePublic is the public half of a machine key, a comparable 32-byte value whose
// zero means no key.
type MachinePublic struct{ public32 }

// NewMachine returns a new random machine key, clamped for X25519.
func NewMachine() MachinePrivate { return MachinePrivate{newSecret32()} }

// MachinePrivateFromRaw32 returns the private key made of the given bytes, taken as
// they are; all zeros give the zero key.
func MachinePrivateFromRaw32(raw [32]byte) MachinePrivate { return MachinePrivate{secretFrom(raw)} }

// MachinePublicFromRaw32 returns the public key made of the given bytes.
func MachinePublicFromRaw32(raw [32]byte) MachinePublic { return MachinePublic{public32{raw}} }

// Public returns the public half, or the zero key for the zero private key.
func (k MachinePrivate) Public() MachinePublic { return MachinePublic{k.public()} }

// Equal compares two private keys in constant time.
func (k MachinePrivate) Equal(other MachinePrivate) bool { return k.equal(other.secret32) }

// ParseMachinePublic reads the text form "mkey:" and 64 hex digits in either case.
func ParseMachinePublic(text string) (MachinePublic, error) {
	var k MachinePublic
	err := k.UnmarshalText([]byte(text))
	return k, err
}

// Compare orders two public keys by their raw bytes, returning -1, 0 or 1.
func (k MachinePublic) Compare(other MachinePublic) int { return k.compare(other.public32) }

// String returns the text form; a zero key has 64 zero digits.
func (k MachinePublic) String() string { return string(appendHex(nil, machinePublicPrefix, k.k[:])) }

// AppendText appends the text form to dst. It never fails.
func (k MachinePublic) AppendText(dst []byte) ([]byte, error) {
	return appendHex(dst, machinePublicPrefix, k.k[:]), nil
}

// MarshalText returns the text form. It never fails.
func (k MachinePublic) MarshalText() ([]byte, error) { return k.AppendText(nil) }

// UnmarshalText reads the text form; k is unchanged on error.
func (k *MachinePublic) UnmarshalText(text []byte) error {
	return decodeHex(k.k[:], "machine public", machinePublicPrefix, text)
}

// ShortString returns the display form: the first five base64 characters of the
// key in square brackets.
func (k MachinePublic) ShortString() string { return k.bracketShort() }

// MarshalText returns the secret text form, "privkey:" and 64 hex digits, for
// storage only. It never fails.
func (k MachinePrivate) MarshalText() ([]byte, error) { return k.appendText(nil), nil }

// UnmarshalText reads the secret text form; k is unchanged on error, and errors
// never quote the text.
func (k *MachinePrivate) UnmarshalText(text []byte) error {
	s, err := parseSecret32("machine private", text)
	if err != nil {
		return err
	}
	k.secret32 = s
	return nil
}

// UntypedHex returns the 64 hex digits of the key without a prefix.
func (k MachinePublic) UntypedHex() string { return k.untypedHex() }

// ECDH returns the raw X25519 secret shared with pub, for the Noise handshake. It
// fails when k is zero or pub is a low-order point.
func (k MachinePrivate) ECDH(pub MachinePublic) ([32]byte, error) { return k.ecdh(pub.public32) }
