package key

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"fmt"
)

// hwAttestLen is the length in bytes of an uncompressed P-256 point.
const hwAttestLen = 65

// HardwareAttestationPublic is the ECDSA P-256 public key by which a node proves
// the hardware it runs on: a comparable 65-byte uncompressed point whose zero
// means no key. Its text form is "hwattestpub:" and 130 hex digits; the zero key
// is the empty string (wire document control, section 1.1).
type HardwareAttestationPublic struct {
	k [hwAttestLen]byte
}

// HardwareAttestationPublicFromRaw returns the key of a 65-byte uncompressed
// point. It fails when the length is wrong or the point is not on P-256.
func HardwareAttestationPublicFromRaw(raw []byte) (HardwareAttestationPublic, error) {
	var k HardwareAttestationPublic
	if len(raw) != hwAttestLen {
		return k, fmt.Errorf("hardware attestation key: %d bytes, want %d", len(raw), hwAttestLen)
	}
	if _, err := ecdh.P256().NewPublicKey(raw); err != nil {
		return k, fmt.Errorf("hardware attestation key: %w", err)
	}
	copy(k.k[:], raw)
	return k, nil
}

// ParseHardwareAttestationPublic reads the text form; the empty string is the
// zero key.
func ParseHardwareAttestationPublic(text string) (HardwareAttestationPublic, error) {
	var k HardwareAttestationPublic
	err := k.UnmarshalText([]byte(text))
	return k, err
}

// IsZero reports whether the key is the zero value, meaning no key.
func (k HardwareAttestationPublic) IsZero() bool { return k == HardwareAttestationPublic{} }

// AppendTo appends the 65 raw bytes of the key to dst.
func (k HardwareAttestationPublic) AppendTo(dst []byte) []byte { return append(dst, k.k[:]...) }

// Compare orders two keys by their raw bytes, returning -1, 0 or 1.
func (k HardwareAttestationPublic) Compare(other HardwareAttestationPublic) int {
	return bytes.Compare(k.k[:], other.k[:])
}

// ECDSA returns the key for crypto/ecdsa. It fails for the zero key.
func (k HardwareAttestationPublic) ECDSA() (*ecdsa.PublicKey, error) {
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), k.k[:])
	if err != nil {
		return nil, fmt.Errorf("hardware attestation key: %w", err)
	}
	return pub, nil
}

// String returns the text form, empty for the zero key.
func (k HardwareAttestationPublic) String() string {
	text, _ := k.AppendText(nil) // never fails
	return string(text)
}

// AppendText appends the text form to dst. It never fails.
func (k HardwareAttestationPublic) AppendText(dst []byte) ([]byte, error) {
	if k.IsZero() {
		return dst, nil
	}
	return appendHex(dst, hwAttestPrefix, k.k[:]), nil
}

// MarshalText returns the text form. It never fails.
func (k HardwareAttestationPublic) MarshalText() ([]byte, error) {
	return k.AppendText([]byte{})
}

// UnmarshalText reads the text form; the empty string is the zero key. It fails
// when the point is not on the curve, leaving k unchanged.
func (k *HardwareAttestationPublic) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*k = HardwareAttestationPublic{}
		return nil
	}
	var raw [hwAttestLen]byte
	if err := decodeHex(raw[:], "hardware attestation", hwAttestPrefix, text); err != nil {
		return err
	}
	got, err := HardwareAttestationPublicFromRaw(raw[:])
	if err != nil {
		return err
	}
	*k = got
	return nil
}
