package packet

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// Sum adds the 16-bit words of b to the running ones' complement sum, which is
// kept in 64 bits. An odd last byte counts as the high byte of a word, so only
// the last piece of a sum may have odd length (RFC 1071).
func Sum(b []byte, sum uint64) uint64 {
	var carry uint64
	for len(b) >= 32 {
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[8:]), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[16:]), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[24:]), carry)
		b = b[32:]
	}
	for len(b) >= 8 {
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b), carry)
		b = b[8:]
	}
	var last uint64
	switch {
	case len(b) >= 4:
		last = uint64(binary.BigEndian.Uint32(b)) << 32
		for i, c := range b[4:] {
			last |= uint64(c) << (24 - 8*i)
		}
	default:
		for i, c := range b {
			last |= uint64(c) << (56 - 8*i)
		}
	}
	sum, carry = bits.Add64(sum, last, carry)
	sum, carry = bits.Add64(sum, 0, carry)
	return sum + carry
}

// Fold turns a running sum into the value of a checksum field.
func Fold(sum uint64) uint16 {
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	return ^uint16(sum)
}

// PseudoSum returns the running sum over the pseudo header of a transport
// segment of size bytes (RFC 9293, section 3.1; RFC 8200, section 8.1).
func PseudoSum(src, dst netip.Addr, proto Proto, size int) uint64 {
	sum := uint64(proto) + uint64(size)
	if src.Is4() {
		s, d := src.As4(), dst.As4()
		return Sum(d[:], Sum(s[:], sum))
	}
	s, d := src.As16(), dst.As16()
	return Sum(d[:], Sum(s[:], sum))
}

// ChecksumOK reports whether the transport checksum of p is right. Protocols
// other than TCP, UDP and ICMP have none that is checked, nor have fragments;
// an IPv4 UDP checksum of zero means none was sent.
func (p *Parsed) ChecksumOK() bool {
	if p.Fragment != FragmentNone {
		return true
	}
	b := p.Transport()
	switch {
	case p.Proto == TCP, p.Proto == ICMPv6 && p.Version == 6:
		return Fold(Sum(b, PseudoSum(p.Src, p.Dst, p.Proto, len(b)))) == 0
	case p.Proto == UDP:
		b = b[:binary.BigEndian.Uint16(b[4:6])]
		if p.Version == 4 && b[6] == 0 && b[7] == 0 {
			return true
		}
		return Fold(Sum(b, PseudoSum(p.Src, p.Dst, p.Proto, len(b)))) == 0
	case p.Proto == ICMPv4 && p.Version == 4:
		return Fold(Sum(b, 0)) == 0
	}
	return true
}
