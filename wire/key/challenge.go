package key

// ChallengePrivate is the private half of a challenge key: made per
// connection for the early payload. It has no text form.
// The zero value means no key. It prints redacted and cannot be compared with ==.
type ChallengePrivate struct{ secret32 }

// ChallengePublic is the public half of a challenge key, a comparable 32-byte value whose
// zero means no key.
type ChallengePublic struct{ public32 }

// NewChallenge returns a new random challenge key, clamped for X25519.
func NewChallenge() ChallengePrivate { return ChallengePrivate{newSecret32()} }

// ChallengePrivateFromRaw32 returns the private key made of the given bytes, taken as
// they are; all zeros give the zero key.
func ChallengePrivateFromRaw32(raw [32]byte) ChallengePrivate {
	return ChallengePrivate{secretFrom(raw)}
}

// ChallengePublicFromRaw32 returns the public key made of the given bytes.
func ChallengePublicFromRaw32(raw [32]byte) ChallengePublic { return ChallengePublic{public32{raw}} }

// Public returns the public half, or the zero key for the zero private key.
func (k ChallengePrivate) Public() ChallengePublic { return ChallengePublic{k.public()} }

// Equal compares two private keys in constant time.
func (k ChallengePrivate) Equal(other ChallengePrivate) bool { return k.equal(other.secret32) }

// ParseChallengePublic reads the text form "chalpub:" and 64 hex digits in either case.
func ParseChallengePublic(text string) (ChallengePublic, error) {
	var k ChallengePublic
	err := k.UnmarshalText([]byte(text))
	return k, err
}

// Compare orders two public keys by their raw bytes, returning -1, 0 or 1.
func (k ChallengePublic) Compare(other ChallengePublic) int { return k.compare(other.public32) }

// String returns the text form; a zero key has 64 zero digits.
func (k ChallengePublic) String() string {
	return string(appendHex(nil, challengePublicPrefix, k.k[:]))
}

// AppendText appends the text form to dst. It never fails.
func (k ChallengePublic) AppendText(dst []byte) ([]byte, error) {
	return appendHex(dst, challengePublicPrefix, k.k[:]), nil
}

// MarshalText returns the text form. It never fails.
func (k ChallengePublic) MarshalText() ([]byte, error) { return k.AppendText(nil) }

// UnmarshalText reads the text form; k is unchanged on error.
func (k *ChallengePublic) UnmarshalText(text []byte) error {
	return decodeHex(k.k[:], "challenge public", challengePublicPrefix, text)
}

// ShortString returns the display form: the first five base64 characters of the
// key in square brackets.
func (k ChallengePublic) ShortString() string { return k.bracketShort() }
