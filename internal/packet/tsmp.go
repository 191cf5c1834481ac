package packet

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// First bytes of the messages of IP protocol 99. The disco key message is in
// wire document paths, section 14.5; the others are facts of the published
// reference client.
const (
	tsmpReject   = '!'
	tsmpPing     = 'p'
	tsmpPong     = 'o'
	tsmpDiscoKey = 'a'
)

// RejectReason says why a node refused a connection.
type RejectReason byte

// The reasons on the wire.
const (
	RejectACL          RejectReason = 'A' // the packet filter has no rule for it
	RejectShieldsUp    RejectReason = 'S' // the user takes no connections
	RejectForwarding   RejectReason = 'F' // a subnet router cannot forward
	RejectHostFirewall RejectReason = 'W' // a firewall of the host is in the way
	RejectTransitIP    RejectReason = 'T' // an app connector knows no destination behind the address
)

// String returns a short text for logs.
func (r RejectReason) String() string {
	switch r {
	case RejectACL:
		return "acl"
	case RejectShieldsUp:
		return "shields-up"
	case RejectForwarding:
		return "ip-forwarding-unavailable"
	case RejectHostFirewall:
		return "host-firewall"
	case RejectTransitIP:
		return "app-connector-transit-ip-unknown"
	}
	return fmt.Sprintf("reason 0x%02x", byte(r))
}

// Reject tells a node that a connection it opened was refused. Unlike a TCP
// reset it says why.
type Reject struct {
	Proto Proto
	// Src and Dst are the ends of the refused flow, as its opener sees it.
	Src, Dst netip.AddrPort
	Reason   RejectReason
	// MaybeBroken means that the sender only suspects that the flow cannot work.
	MaybeBroken bool
}

// AppendReject appends the packet that tells r.Src that r.Dst refused it.
func AppendReject(b []byte, r Reject) ([]byte, error) {
	m := [8]byte{tsmpReject, byte(r.Proto), byte(r.Reason)}
	binary.BigEndian.PutUint16(m[3:], r.Src.Port())
	binary.BigEndian.PutUint16(m[5:], r.Dst.Port())
	n := 7
	if r.MaybeBroken {
		m[7], n = 1, 8
	}
	return AppendIP(b, r.Dst.Addr(), r.Src.Addr(), TSMP, m[:n])
}

// Reject returns the refusal that p carries.
func (p *Parsed) Reject() (r Reject, ok bool) {
	m := p.tsmp(tsmpReject, 7)
	if m == nil {
		return r, false
	}
	r = Reject{
		Proto:  Proto(m[1]),
		Reason: RejectReason(m[2]),
		Src:    netip.AddrPortFrom(p.Dst, binary.BigEndian.Uint16(m[3:])),
		Dst:    netip.AddrPortFrom(p.Src, binary.BigEndian.Uint16(m[5:])),
	}
	r.MaybeBroken = len(m) > 7 && m[7]&1 != 0
	return r, true
}

// AppendPing appends a node-to-node ping that carries token.
func AppendPing(b []byte, src, dst netip.Addr, token [8]byte) ([]byte, error) {
	var m [9]byte
	m[0] = tsmpPing
	copy(m[1:], token[:])
	return AppendIP(b, src, dst, TSMP, m[:])
}

// Ping returns the token of the node-to-node ping that p carries.
func (p *Parsed) Ping() (token [8]byte, ok bool) {
	m := p.tsmp(tsmpPing, 9)
	if m == nil {
		return token, false
	}
	return [8]byte(m[1:9]), true
}

// AppendPong appends the answer to a ping: its token, and the TCP port of the
// sender's peer API (0 for none).
func AppendPong(b []byte, src, dst netip.Addr, token [8]byte, peerAPIPort uint16) ([]byte, error) {
	var m [11]byte
	m[0] = tsmpPong
	copy(m[1:], token[:])
	binary.BigEndian.PutUint16(m[9:], peerAPIPort)
	return AppendIP(b, src, dst, TSMP, m[:])
}

// Pong returns the token and peer API port of the answer that p carries. The
// port is 0 if the sender named none.
func (p *Parsed) Pong() (token [8]byte, peerAPIPort uint16, ok bool) {
	m := p.tsmp(tsmpPong, 9)
	if m == nil {
		return token, 0, false
	}
	if len(m) >= 11 {
		peerAPIPort = binary.BigEndian.Uint16(m[9:11])
	}
	return [8]byte(m[1:9]), peerAPIPort, true
}

// AppendDiscoKey appends the message that tells the peer at dst our disco key.
func AppendDiscoKey(b []byte, src, dst netip.Addr, key [32]byte) ([]byte, error) {
	var m [33]byte
	m[0] = tsmpDiscoKey
	copy(m[1:], key[:])
	return AppendIP(b, src, dst, TSMP, m[:])
}

// DiscoKey returns the sender's disco key, if p carries one.
func (p *Parsed) DiscoKey() (key [32]byte, ok bool) {
	m := p.tsmp(tsmpDiscoKey, 33)
	if m == nil {
		return key, false
	}
	return [32]byte(m[1:33]), true
}

func (p *Parsed) tsmp(kind byte, least int) []byte {
	if p.Proto != TSMP {
		return nil
	}
	m := p.Transport()
	if len(m) < least || m[0] != kind {
		return nil
	}
	return m
}

// IsTSMP reports whether the packet b is of protocol 99, looking at as little
// as possible.
func IsTSMP(b []byte) bool { return ProtoByte(b) == TSMP }

// ProtoByte returns the protocol field of the IP header of b without looking
// at extension headers, or Unknown. It is a cheap first look; only Decode tells
// what the packet really is.
func ProtoByte(b []byte) Proto {
	switch {
	case len(b) >= ipv4HeaderLen && b[0]>>4 == 4:
		return Proto(b[9])
	case len(b) >= ipv6HeaderLen && b[0]>>4 == 6:
		return Proto(b[6])
	}
	return Unknown
}
