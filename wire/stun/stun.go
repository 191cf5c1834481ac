package stun

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
)

// TxID is the transaction ID that matches a response to its request. It should be
// random.
type TxID [12]byte

const (
	headerLen     = 20
	attrHeaderLen = 4
	cookie        = 0x2112a442
	cookieHigh16  = cookie >> 16

	typeBindingRequest = 0x0001
	typeBindingSuccess = 0x0101

	attrMapped       = 0x0001
	attrXorMapped    = 0x0020
	attrXorMappedAlt = 0x8020 // a common mistake for attrXorMapped
	attrSoftware     = 0x8022
	attrFingerprint  = 0x8028

	familyIPv4 = 1
	familyIPv6 = 2

	fingerprintXor = 0x5354554e
	fingerprintLen = attrHeaderLen + 4
)

// software is the SOFTWARE attribute that relays of this protocol ask for.
const software = "tailnode"

// RequestLen is the length in bytes of the request that AppendRequest makes.
const RequestLen = headerLen + attrHeaderLen + len(software) + fingerprintLen

// Errors of the parsers.
var (
	ErrNotSTUN    = errors.New("stun: not a STUN message")
	ErrNotBinding = errors.New("stun: not the binding message looked for")
	ErrMalformed  = errors.New("stun: malformed message")
)

// Is reports whether b looks like a STUN message: what tells it from other packets
// on the same socket.
func Is(b []byte) bool {
	return len(b) >= headerLen && b[0]&0xc0 == 0 && binary.BigEndian.Uint32(b[4:]) == cookie
}

// AppendRequest appends a binding request.
func AppendRequest(dst []byte, tx TxID) []byte {
	start := len(dst)
	dst = appendHeader(dst, typeBindingRequest, RequestLen-headerLen, tx)
	dst = appendAttrHeader(dst, attrSoftware, len(software))
	dst = append(dst, software...)
	sum := fingerprint(dst[start:])
	dst = appendAttrHeader(dst, attrFingerprint, 4)
	return binary.BigEndian.AppendUint32(dst, sum)
}

// ParseRequest reads a binding request. A fingerprint, if there is one, must be
// right; neither it nor any software name is required, so that any STUN client is
// served.
func ParseRequest(b []byte) (TxID, error) {
	tx, err := parseHeader(b, typeBindingRequest)
	if err != nil {
		return TxID{}, err
	}
	for a := (attrs{b: b, off: headerLen}); ; {
		typ, value, start, ok := a.next()
		if !ok {
			return tx, a.err
		}
		if typ != attrFingerprint {
			continue
		}
		if len(value) != 4 || binary.BigEndian.Uint32(value) != fingerprint(b[:start]) {
			return TxID{}, ErrMalformed
		}
	}
}

// AppendResponse appends the success response telling the client its address. An
// IPv4 address, mapped into IPv6 or not, is told in the IPv4 form.
func AppendResponse(dst []byte, tx TxID, client netip.AddrPort) []byte {
	ip := client.Addr().Unmap()
	if ip.Is4() {
		raw := ip.As4()
		dst = appendAddressHeader(dst, tx, familyIPv4, len(raw), client.Port())
		return binary.BigEndian.AppendUint32(dst, binary.BigEndian.Uint32(raw[:])^cookie)
	}
	raw := ip.As16()
	dst = appendAddressHeader(dst, tx, familyIPv6, len(raw), client.Port())
	mask := xorMask(tx)
	for i, v := range raw {
		dst = append(dst, v^mask[i])
	}
	return dst
}

// appendAddressHeader appends all of a response but the address itself, which is
// ipLen bytes long.
func appendAddressHeader(dst []byte, tx TxID, family byte, ipLen int, port uint16) []byte {
	dst = appendHeader(dst, typeBindingSuccess, attrHeaderLen+4+ipLen, tx)
	dst = appendAttrHeader(dst, attrXorMapped, 4+ipLen)
	dst = append(dst, 0, family)
	return binary.BigEndian.AppendUint16(dst, port^cookieHigh16)
}

// ParseResponse reads a success response: the transaction that it answers and the
// address that the server saw, never a mapped IPv4 one. It takes what servers are
// known to send: an exclusive-or address under its number or a common wrong one,
// else a plain address, and bytes after the declared attributes.
func ParseResponse(b []byte) (TxID, netip.AddrPort, error) {
	tx, err := parseHeader(b, typeBindingSuccess)
	if err != nil {
		return TxID{}, netip.AddrPort{}, err
	}
	end := headerLen + int(binary.BigEndian.Uint16(b[2:]))
	if end > len(b) {
		return TxID{}, netip.AddrPort{}, ErrMalformed
	}
	var plain netip.AddrPort
	for a := (attrs{b: b[:end], off: headerLen}); ; {
		typ, value, _, ok := a.next()
		if !ok {
			break
		}
		switch typ {
		case attrXorMapped, attrXorMappedAlt:
			if addr, ok := parseAddress(value, tx, true); ok {
				return tx, addr, nil
			}
		case attrMapped:
			if addr, ok := parseAddress(value, tx, false); ok {
				plain = addr
			}
		}
	}
	if !plain.IsValid() {
		return TxID{}, netip.AddrPort{}, ErrMalformed
	}
	return tx, plain, nil
}

// parseAddress reads the value of an address attribute.
func parseAddress(v []byte, tx TxID, xor bool) (netip.AddrPort, bool) {
	if len(v) < 4 {
		return netip.AddrPort{}, false
	}
	var mask [16]byte
	port := binary.BigEndian.Uint16(v[2:])
	if xor {
		mask = xorMask(tx)
		port ^= cookieHigh16
	}
	size := 4
	if v[1] == familyIPv6 {
		size = 16
	} else if v[1] != familyIPv4 {
		return netip.AddrPort{}, false
	}
	v = v[4:]
	if len(v) < size {
		return netip.AddrPort{}, false
	}
	var raw [16]byte
	for i := range size {
		raw[i] = v[i] ^ mask[i]
	}
	if size == 4 {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(raw[:4])), port), true
	}
	return netip.AddrPortFrom(netip.AddrFrom16(raw).Unmap(), port), true
}

// attrs walks the attributes of a message.
type attrs struct {
	b   []byte
	off int
	err error
}

// next returns the next attribute and the offset of its header. At the end, or at
// an attribute that runs past it, ok is false; err tells the two apart.
func (a *attrs) next() (typ uint16, value []byte, start int, ok bool) {
	start = a.off
	if start >= len(a.b) {
		return 0, nil, start, false
	}
	if len(a.b)-start < attrHeaderLen {
		a.err = ErrMalformed
		return 0, nil, start, false
	}
	typ = binary.BigEndian.Uint16(a.b[start:])
	n := int(binary.BigEndian.Uint16(a.b[start+2:]))
	value = a.b[start+attrHeaderLen:]
	if len(value) < n {
		a.err = ErrMalformed
		return 0, nil, start, false
	}
	a.off = start + attrHeaderLen + (n+3)&^3
	return typ, value[:n], start, true
}

// parseHeader checks the header of a message of type want.
func parseHeader(b []byte, want uint16) (TxID, error) {
	if !Is(b) {
		return TxID{}, ErrNotSTUN
	}
	if binary.BigEndian.Uint16(b) != want {
		return TxID{}, ErrNotBinding
	}
	return TxID(b[8:headerLen]), nil
}

func appendHeader(dst []byte, typ uint16, n int, tx TxID) []byte {
	dst = binary.BigEndian.AppendUint16(dst, typ)
	dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	dst = binary.BigEndian.AppendUint32(dst, cookie)
	return append(dst, tx[:]...)
}

func appendAttrHeader(dst []byte, typ uint16, n int) []byte {
	dst = binary.BigEndian.AppendUint16(dst, typ)
	return binary.BigEndian.AppendUint16(dst, uint16(n))
}

// fingerprint returns the value of a FINGERPRINT attribute that follows b.
func fingerprint(b []byte) uint32 { return crc32.ChecksumIEEE(b) ^ fingerprintXor }

// xorMask is what an address is combined with: the cookie and the transaction ID.
func xorMask(tx TxID) (mask [16]byte) {
	binary.BigEndian.PutUint32(mask[:], cookie)
	copy(mask[4:], tx[:])
	return mask
}
