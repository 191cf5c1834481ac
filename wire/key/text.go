package key

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
)

// rawLen is the length in bytes of every public key here but the
// hardware-attestation one.
const rawLen = 32

// Text prefixes: wire document control, section 1.1.
const (
	privatePrefix         = "privkey:"
	machinePublicPrefix   = "mkey:"
	nodePublicPrefix      = "nodekey:"
	discoPublicPrefix     = "discokey:"
	challengePublicPrefix = "chalpub:"
	lockPrivatePrefix     = "nlpriv:"
	lockPublicPrefix      = "nlpub:"
	lockPublicCLIPrefix   = "tlpub:"
	hwAttestPrefix        = "hwattestpub:"
)

// appendHex appends prefix and the lower-case hex of raw to dst.
func appendHex(dst []byte, prefix string, raw []byte) []byte {
	dst = append(dst, prefix...)
	return hex.AppendEncode(dst, raw)
}

// decodeHex decodes prefix followed by exactly len(dst) bytes of hex in either
// case. kind names the key in errors; the text itself is never quoted, since it
// may be secret. dst is left alone on error.
func decodeHex(dst []byte, kind, prefix string, text []byte) error {
	digits, ok := bytes.CutPrefix(text, []byte(prefix))
	if !ok {
		return fmt.Errorf("%s key: text does not start with %q", kind, prefix)
	}
	if len(digits) != 2*len(dst) {
		return fmt.Errorf("%s key: %d hex digits, want %d", kind, len(digits), 2*len(dst))
	}
	raw := make([]byte, len(dst))
	if _, err := hex.Decode(raw, digits); err != nil {
		return fmt.Errorf("%s key: text is not hexadecimal", kind)
	}
	copy(dst, raw)
	return nil
}

// public32 is the body of the 32-byte public keys: a comparable value whose
// zero means "no key".
type public32 struct {
	k [rawLen]byte
}

// Raw32 returns the 32 raw bytes of the key.
func (p public32) Raw32() [rawLen]byte { return p.k }

// AppendTo appends the 32 raw bytes of the key to dst.
func (p public32) AppendTo(dst []byte) []byte { return append(dst, p.k[:]...) }

// IsZero reports whether the key is the zero value, meaning no key.
func (p public32) IsZero() bool { return p == public32{} }

// compare orders two keys by their raw bytes.
func (p public32) compare(q public32) int { return bytes.Compare(p.k[:], q.k[:]) }

// untypedHex returns the 64 lower-case hex digits of the key.
func (p public32) untypedHex() string { return hex.EncodeToString(p.k[:]) }

// bracketShort is the display form "[abcde]" made of the first five characters
// of the key's base64 text.
func (p public32) bracketShort() string {
	return "[" + base64.StdEncoding.EncodeToString(p.k[:])[:5] + "]"
}
