package packet

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// ICMP message types (RFC 792, RFC 4443).
const (
	ICMPv4EchoReply       = 0
	ICMPv4Unreachable     = 3
	ICMPv4EchoRequest     = 8
	ICMPv4TimeExceeded    = 11
	ICMPv4ParamProblem    = 12
	ICMPv6Unreachable     = 1
	ICMPv6TooBig          = 2
	ICMPv6TimeExceeded    = 3
	ICMPv6ParamProblem    = 4
	ICMPv6EchoRequest     = 128
	ICMPv6EchoReply       = 129
	defaultTTL            = 64
	maxPayload            = 65535 - ipv6HeaderLen - 60
	checksumOffsetICMP    = 2
	checksumOffsetTCP     = 16
	checksumOffsetUDP     = 6
	icmpHeaderLen         = 8
	tcpHeaderLen          = 20
	udpHeaderLen          = 8
	udpNoChecksumReplaced = 0xffff
)

// MaxCrafted is more than the size of any packet that the Append functions for
// node-to-node messages and pings with a short payload make, in bytes.
const MaxCrafted = 128

// IsICMPError reports whether p is an ICMP error message of its IP version:
// one that answers a packet sent before, and opens nothing.
func (p *Parsed) IsICMPError() bool {
	switch {
	case !p.IsICMP():
		return false
	case p.Version == 4:
		return p.ICMPType == ICMPv4Unreachable || p.ICMPType == ICMPv4TimeExceeded || p.ICMPType == ICMPv4ParamProblem
	}
	return p.ICMPType >= ICMPv6Unreachable && p.ICMPType <= ICMPv6ParamProblem
}

// IsEchoReply reports whether p answers a ping.
func (p *Parsed) IsEchoReply() bool {
	return p.IsICMP() && (p.Version == 4 && p.ICMPType == ICMPv4EchoReply || p.Version == 6 && p.ICMPType == ICMPv6EchoReply)
}

// IsEchoRequest reports whether p is a ping.
func (p *Parsed) IsEchoRequest() bool {
	return p.IsICMP() && (p.Version == 4 && p.ICMPType == ICMPv4EchoRequest || p.Version == 6 && p.ICMPType == ICMPv6EchoRequest)
}

// EchoID returns the identifier and sequence number of an ICMP echo message.
func (p *Parsed) EchoID() (id, seq uint16) {
	b := p.Transport()
	if len(b) < icmpHeaderLen {
		return 0, 0
	}
	return binary.BigEndian.Uint16(b[4:6]), binary.BigEndian.Uint16(b[6:8])
}

// AppendIP appends an IP packet of the family of src with the given transport
// segment, whose checksum must already be right. It fails if the addresses are
// of different families or the segment is too long for one packet.
func AppendIP(b []byte, src, dst netip.Addr, proto Proto, segment []byte) ([]byte, error) {
	b, err := appendHeader(b, src, dst, proto, len(segment))
	if err != nil {
		return b, err
	}
	return append(b, segment...), nil
}

func appendHeader(b []byte, src, dst netip.Addr, proto Proto, size int) ([]byte, error) {
	if size > maxPayload {
		return b, fmt.Errorf("%d bytes do not fit in one IP packet", size)
	}
	switch {
	case src.Is4() && dst.Is4():
		at := len(b)
		b = append(b, 0x45, 0, 0, 0, 0, 0, 0x40, 0, defaultTTL, byte(proto), 0, 0)
		s, d := src.As4(), dst.As4()
		b = append(append(b, s[:]...), d[:]...)
		binary.BigEndian.PutUint16(b[at+2:], uint16(ipv4HeaderLen+size))
		binary.BigEndian.PutUint16(b[at+10:], Fold(Sum(b[at:], 0)))
		return b, nil
	case src.Is6() && !src.Is4In6() && dst.Is6() && !dst.Is4In6():
		b = append(b, 0x60, 0, 0, 0, byte(size>>8), byte(size), byte(proto), defaultTTL)
		s, d := src.As16(), dst.As16()
		return append(append(b, s[:]...), d[:]...), nil
	}
	return b, fmt.Errorf("no IP packet from %v to %v: not of one address family", src, dst)
}

// appendSegment appends an IP packet whose transport header and payload are
// given apart, and fills in the transport checksum at the given offset.
func appendSegment(b []byte, src, dst netip.Addr, proto Proto, header, payload []byte, checksumAt int) ([]byte, error) {
	b, err := appendHeader(b, src, dst, proto, len(header)+len(payload))
	if err != nil {
		return b, err
	}
	at := len(b)
	b = append(append(b, header...), payload...)
	sum := uint64(0)
	if proto != ICMPv4 {
		sum = PseudoSum(src, dst, proto, len(b)-at)
	}
	c := Fold(Sum(b[at:], sum))
	if proto == UDP && c == 0 {
		c = udpNoChecksumReplaced
	}
	binary.BigEndian.PutUint16(b[at+checksumAt:], c)
	return b, nil
}

// AppendEcho appends a ping from src to dst, or with reply the answer to one.
func AppendEcho(b []byte, src, dst netip.Addr, reply bool, id, seq uint16, payload []byte) ([]byte, error) {
	var h [icmpHeaderLen]byte
	proto := ICMPv4
	switch {
	case src.Is4() && !reply:
		h[0] = ICMPv4EchoRequest
	case src.Is4():
		h[0] = ICMPv4EchoReply
	case reply:
		proto, h[0] = ICMPv6, ICMPv6EchoReply
	default:
		proto, h[0] = ICMPv6, ICMPv6EchoRequest
	}
	binary.BigEndian.PutUint16(h[4:], id)
	binary.BigEndian.PutUint16(h[6:], seq)
	return appendSegment(b, src, dst, proto, h[:], payload, checksumOffsetICMP)
}

// AppendUDP appends a UDP datagram.
func AppendUDP(b []byte, src, dst netip.AddrPort, payload []byte) ([]byte, error) {
	var h [udpHeaderLen]byte
	binary.BigEndian.PutUint16(h[0:], src.Port())
	binary.BigEndian.PutUint16(h[2:], dst.Port())
	binary.BigEndian.PutUint16(h[4:], uint16(udpHeaderLen+len(payload)))
	return appendSegment(b, src.Addr(), dst.Addr(), UDP, h[:], payload, checksumOffsetUDP)
}

// AppendTCP appends a TCP segment without options and with a window of 65535.
func AppendTCP(b []byte, src, dst netip.AddrPort, flags uint8, seq, ack uint32, payload []byte) ([]byte, error) {
	var h [tcpHeaderLen]byte
	binary.BigEndian.PutUint16(h[0:], src.Port())
	binary.BigEndian.PutUint16(h[2:], dst.Port())
	binary.BigEndian.PutUint32(h[4:], seq)
	binary.BigEndian.PutUint32(h[8:], ack)
	h[12], h[13], h[14], h[15] = tcpHeaderLen/4<<4, flags, 0xff, 0xff
	return appendSegment(b, src.Addr(), dst.Addr(), TCP, h[:], payload, checksumOffsetTCP)
}
