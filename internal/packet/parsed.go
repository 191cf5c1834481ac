package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// Proto is an IP protocol number (IANA "Protocol Numbers").
type Proto uint8

// The protocols that are told apart. Unknown is also what a packet gets whose
// headers could not be read.
const (
	Unknown Proto = 0
	ICMPv4  Proto = 1
	IGMP    Proto = 2
	TCP     Proto = 6
	UDP     Proto = 17
	ICMPv6  Proto = 58
	TSMP    Proto = 99
	SCTP    Proto = 132
)

// String returns the protocol's usual name, or its number.
func (p Proto) String() string {
	switch p {
	case Unknown:
		return "unknown"
	case ICMPv4:
		return "icmp"
	case IGMP:
		return "igmp"
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case ICMPv6:
		return "icmpv6"
	case TSMP:
		return "tsmp"
	case SCTP:
		return "sctp"
	}
	return fmt.Sprintf("proto-%d", uint8(p))
}

// Fragment says which part of a fragmented datagram a packet is.
type Fragment uint8

// The values of Fragment.
const (
	FragmentNone  Fragment = iota // not fragmented
	FragmentFirst                 // offset zero, more to come: has the whole transport header
	FragmentLater                 // no transport header; cannot overlap the first one's
)

// TCP flag bits (RFC 9293, section 3.1).
const (
	TCPFin uint8 = 0x01
	TCPSyn uint8 = 0x02
	TCPRst uint8 = 0x04
	TCPPsh uint8 = 0x08
	TCPAck uint8 = 0x10
)

// Errors of Decode. They are sentinels so that a flood of bad packets costs no
// allocation.
var (
	// ErrTooShort is returned for a packet that ends before its headers do.
	ErrTooShort = errors.New("packet too short")
	// ErrMalformed is returned for a packet whose header fields contradict
	// each other or its size, or that uses source routing.
	ErrMalformed = errors.New("malformed packet")
	// ErrFragment is returned for a fragment that could hide or overwrite a
	// transport header.
	ErrFragment = errors.New("unsafe fragment")
)

const (
	ipv4HeaderLen = 20
	ipv6HeaderLen = 40

	// minLaterFragment is the least offset, in bytes, of a later fragment: the
	// longest IPv4 header and a TCP header without options (wire document
	// policy, section 7.5). A smaller offset could rewrite the ports that the
	// first fragment was judged by.
	minLaterFragment = 60 + 20

	// maxExtensionHeaders bounds the walk over IPv6 extension headers.
	maxExtensionHeaders = 8
)

// Parsed is what Decode found in a packet. It keeps a reference to the packet
// and is valid as long as the packet is unchanged. The zero value is an
// unknown packet.
type Parsed struct {
	// Version is 4 or 6, or 0 if the packet is neither.
	Version uint8
	// Proto is the transport protocol, after any extension headers.
	Proto Proto
	// Fragment says whether this is a fragment.
	Fragment Fragment
	// TCPFlags holds the flag byte of a TCP header.
	TCPFlags uint8
	// ICMPType and ICMPCode are set for ICMPv4 in IPv4 and ICMPv6 in IPv6.
	ICMPType, ICMPCode uint8
	// SrcPort and DstPort are set for TCP, UDP and SCTP.
	SrcPort, DstPort uint16
	// Src and Dst are the addresses of the IP header.
	Src, Dst netip.Addr

	raw       []byte // the packet without trailing bytes
	transport int    // offset of the transport header in raw
	payload   int    // offset of the transport payload in raw
}

// Raw returns the IP packet, without bytes that followed it in the buffer.
func (p *Parsed) Raw() []byte { return p.raw }

// Transport returns the packet from its transport header on, or nothing when
// the packet could not be read.
func (p *Parsed) Transport() []byte { return p.raw[p.transport:] }

// Payload returns what follows the transport header, or for a protocol without
// one that is understood, what follows the IP header.
func (p *Parsed) Payload() []byte { return p.raw[p.payload:] }

// IsTCPSyn reports whether p opens a TCP connection: SYN set, ACK clear.
func (p *Parsed) IsTCPSyn() bool {
	return p.Proto == TCP && p.Fragment != FragmentLater && p.TCPFlags&(TCPSyn|TCPAck) == TCPSyn
}

// IsICMP reports whether p is ICMP of its own IP version.
func (p *Parsed) IsICMP() bool {
	return p.Version == 4 && p.Proto == ICMPv4 || p.Version == 6 && p.Proto == ICMPv6
}

// Decode reads the packet b into p, overwriting it. On an error Proto is
// Unknown; the addresses are set if the IP header itself could be read.
func (p *Parsed) Decode(b []byte) error {
	*p = Parsed{}
	if len(b) == 0 {
		return ErrTooShort
	}
	var err error
	switch b[0] >> 4 {
	case 4:
		err = p.decode4(b)
	case 6:
		err = p.decode6(b)
	default:
		err = ErrMalformed
	}
	if err != nil {
		p.Proto = Unknown
		p.transport, p.payload = len(p.raw), len(p.raw)
	}
	return err
}

func (p *Parsed) decode4(b []byte) error {
	if len(b) < ipv4HeaderLen {
		return ErrTooShort
	}
	p.Version = 4
	p.Src = netip.AddrFrom4([4]byte(b[12:16]))
	p.Dst = netip.AddrFrom4([4]byte(b[16:20]))
	header := int(b[0]&0x0f) * 4
	total := int(binary.BigEndian.Uint16(b[2:4]))
	switch {
	case header < ipv4HeaderLen || total < header:
		return ErrMalformed
	case total > len(b):
		return ErrTooShort
	}
	p.raw = b[:total]
	if header > ipv4HeaderLen && hasSourceRoute(b[ipv4HeaderLen:header]) {
		return ErrMalformed
	}
	p.Proto = Proto(b[9])
	if p.Proto == 255 { // reserved by IANA
		return ErrMalformed
	}
	frag := binary.BigEndian.Uint16(b[6:8])
	return p.decodeRest(header, header, int(frag&0x1fff)*8, frag&0x2000 != 0)
}

// hasSourceRoute reports whether IPv4 options contain a loose or strict source
// route (RFC 791), which would take the packet to another destination than the
// one that was judged, or cannot be walked.
func hasSourceRoute(opts []byte) bool {
	for len(opts) > 0 {
		switch opts[0] {
		case 0: // end of list
			return false
		case 1: // no operation
			opts = opts[1:]
			continue
		case 131, 137:
			return true
		}
		if len(opts) < 2 || opts[1] < 2 || int(opts[1]) > len(opts) {
			return true
		}
		opts = opts[opts[1]:]
	}
	return false
}

func (p *Parsed) decode6(b []byte) error {
	if len(b) < ipv6HeaderLen {
		return ErrTooShort
	}
	p.Version = 6
	p.Src = netip.AddrFrom16([16]byte(b[8:24]))
	p.Dst = netip.AddrFrom16([16]byte(b[24:40]))
	total := ipv6HeaderLen + int(binary.BigEndian.Uint16(b[4:6]))
	if total > len(b) {
		return ErrTooShort
	}
	p.raw = b[:total]
	return p.walk6(b[6])
}

// IPv6 extension headers (RFC 8200, section 4). Authentication and ESP headers
// are not walked: a packet under them counts as that protocol.
const (
	extHopByHop    = 0
	extRouting     = 43
	extFragment    = 44
	extNoNext      = 59
	extDestination = 60
)

// walk6 follows extension headers from the end of the IPv6 header.
func (p *Parsed) walk6(next uint8) error {
	at := ipv6HeaderLen
	fragStart, fragOffset, more, fragmented := 0, 0, false, false
	for i := 0; ; i++ {
		switch next {
		case extHopByHop, extRouting, extDestination, extFragment:
		case extNoNext, 255:
			return ErrMalformed
		default:
			p.Proto = Proto(next)
			if !fragmented {
				fragStart = at
			}
			return p.decodeRest(at, fragStart, fragOffset, more)
		}
		if i == maxExtensionHeaders || next == extHopByHop && i != 0 {
			return ErrMalformed
		}
		if len(p.raw) < at+8 {
			return ErrTooShort
		}
		h := p.raw[at:]
		size := 8
		switch next {
		case extFragment:
			if fragmented {
				return ErrMalformed
			}
			field := binary.BigEndian.Uint16(h[2:4])
			fragmented, fragOffset, more = true, int(field&^7), field&1 != 0
			fragStart = at + 8
		case extRouting:
			// Segments left would take the packet elsewhere (RFC 5095).
			if h[3] != 0 {
				return ErrMalformed
			}
			size = 8 + int(h[1])*8
		default:
			size = 8 + int(h[1])*8
		}
		if len(p.raw) < at+size {
			return ErrTooShort
		}
		next = h[0]
		at += size
		if fragmented && fragOffset != 0 {
			// What follows is data of the original packet, not a header.
			p.Proto = Proto(next)
			return p.decodeRest(at, fragStart, fragOffset, more)
		}
	}
}

// decodeRest handles fragments and the transport header at offset at. The
// fragmentable part of the packet begins at fragStart.
func (p *Parsed) decodeRest(at, fragStart, offset int, more bool) error {
	p.transport, p.payload = at, at
	if p.Proto == Unknown {
		return ErrMalformed
	}
	if offset == 0 && !more {
		return p.decodeTransport()
	}
	if p.Proto == TSMP {
		return ErrFragment
	}
	if offset != 0 {
		if offset < minLaterFragment {
			return ErrFragment
		}
		p.Fragment = FragmentLater
		return nil
	}
	p.Fragment = FragmentFirst
	if err := p.decodeTransport(); err != nil {
		return ErrFragment
	}
	// The part of the header that was judged must lie before any accepted
	// later fragment, or that one could overwrite it.
	if p.judged()-fragStart > minLaterFragment {
		return ErrFragment
	}
	return nil
}

// judged returns the offset just behind the transport fields that Decode reads.
func (p *Parsed) judged() int {
	switch p.Proto {
	case TCP:
		return p.transport + 20
	case UDP, ICMPv4, ICMPv6:
		return p.transport + 8
	case SCTP:
		return p.transport + 12
	}
	return p.transport
}

func (p *Parsed) decodeTransport() error {
	b := p.raw[p.transport:]
	switch p.Proto {
	case TCP:
		if len(b) < 20 {
			return ErrTooShort
		}
		header := int(b[12]>>4) * 4
		if header < 20 || header > len(b) {
			return ErrMalformed
		}
		p.TCPFlags = b[13]
		p.ports(b, header)
	case UDP:
		if len(b) < 8 {
			return ErrTooShort
		}
		size := int(binary.BigEndian.Uint16(b[4:6]))
		if size < 8 || size > len(b) && p.Fragment == FragmentNone {
			return ErrMalformed
		}
		p.ports(b, 8)
	case SCTP:
		if len(b) < 12 {
			return ErrTooShort
		}
		p.ports(b, 12)
	case ICMPv4, ICMPv6:
		if len(b) < 8 {
			return ErrTooShort
		}
		if p.IsICMP() {
			p.ICMPType, p.ICMPCode = b[0], b[1]
			p.payload = p.transport + 8
		}
	case TSMP:
		// The shortest message is a disconnection notice of 7 bytes.
		if len(b) < 7 {
			return ErrTooShort
		}
	}
	return nil
}

func (p *Parsed) ports(b []byte, header int) {
	p.SrcPort = binary.BigEndian.Uint16(b[0:2])
	p.DstPort = binary.BigEndian.Uint16(b[2:4])
	p.payload = p.transport + header
}
