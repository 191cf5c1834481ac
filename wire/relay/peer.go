package relay

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/ginnel/ginnel/wire/key"
)

// GoneReason says why a peer is reported gone.
type GoneReason byte

// Reasons of a PeerGone frame: wire document relay, section 6.1. Others must not
// be invented: some clients fail on them.
const (
	// GoneDisconnected: the peer's last connection in the region has closed.
	GoneDisconnected GoneReason = 0x00
	// GoneNotHere: a packet was sent to a key that the region does not know.
	GoneNotHere GoneReason = 0x01
)

// String names the reason.
func (r GoneReason) String() string {
	switch r {
	case GoneDisconnected:
		return "disconnected"
	case GoneNotHere:
		return "not here"
	}
	return fmt.Sprintf("reason 0x%02x", byte(r))
}

// AppendPeerGone appends a PeerGone frame.
func AppendPeerGone(dst []byte, peer key.NodePublic, reason GoneReason) []byte {
	dst = AppendHeader(dst, FramePeerGone, KeyLen+1)
	dst = peer.AppendTo(dst)
	return append(dst, byte(reason))
}

// ParsePeerGone reads the payload of a PeerGone frame. A missing reason, as old
// relays send, is GoneDisconnected; bytes after the reason are ignored.
func ParsePeerGone(payload []byte) (peer key.NodePublic, reason GoneReason, err error) {
	if len(payload) < KeyLen {
		return peer, 0, lengthError(FramePeerGone, len(payload), "at least 32")
	}
	if len(payload) > KeyLen {
		reason = GoneReason(payload[KeyLen])
	}
	return keyAt(payload), reason, nil
}

// PresentFlags describe a connection in a PeerPresent frame.
type PresentFlags byte

// Flags of a PeerPresent frame: wire document relay, section 6.2.
const (
	PresentRegular  PresentFlags = 0x01 // set only when no other flag is
	PresentMesh     PresentFlags = 0x02 // holder of the mesh key
	PresentProber   PresentFlags = 0x04 // monitoring client
	PresentNotIdeal PresentFlags = 0x08 // the client would rather be on another node
)

// PeerPresent says that a key is connected.
type PeerPresent struct {
	Key   key.NodePublic
	Addr  netip.AddrPort // where it connects from; zero when unknown
	Flags PresentFlags   // zero when the relay does not say
}

const (
	presentAddrLen = 16 + 2
	presentLen     = KeyLen + presentAddrLen + 1
)

// Append appends the PeerPresent frame to dst. IPv4 addresses are written mapped
// into IPv6.
func (p PeerPresent) Append(dst []byte) []byte {
	dst = AppendHeader(dst, FramePeerPresent, presentLen)
	dst = p.Key.AppendTo(dst)
	var ip [16]byte
	var port uint16
	if p.Addr.IsValid() {
		ip, port = p.Addr.Addr().As16(), p.Addr.Port()
	}
	dst = append(dst, ip[:]...)
	dst = binary.BigEndian.AppendUint16(dst, port)
	return append(dst, byte(p.Flags))
}

// ParsePeerPresent reads the payload of a PeerPresent frame, which older relays cut
// after the key or after the port. Mapped IPv4 addresses come back as IPv4.
func ParsePeerPresent(payload []byte) (PeerPresent, error) {
	var p PeerPresent
	if len(payload) < KeyLen {
		return p, lengthError(FramePeerPresent, len(payload), "at least 32")
	}
	p.Key = keyAt(payload)
	payload = payload[KeyLen:]
	if len(payload) < presentAddrLen {
		return p, nil
	}
	port := binary.BigEndian.Uint16(payload[16:])
	if ip := netip.AddrFrom16([16]byte(payload[:16])).Unmap(); !ip.IsUnspecified() || port != 0 {
		p.Addr = netip.AddrPortFrom(ip, port)
	}
	if len(payload) > presentAddrLen {
		p.Flags = PresentFlags(payload[presentAddrLen])
	}
	return p, nil
}

// AppendWatchConns appends a WatchConns frame.
func AppendWatchConns(dst []byte) []byte { return AppendHeader(dst, FrameWatchConns, 0) }

// AppendClosePeer appends a ClosePeer frame.
func AppendClosePeer(dst []byte, peer key.NodePublic) []byte {
	return peer.AppendTo(AppendHeader(dst, FrameClosePeer, KeyLen))
}

// ParseClosePeer reads the payload of a ClosePeer frame.
func ParseClosePeer(payload []byte) (peer key.NodePublic, err error) {
	if len(payload) != KeyLen {
		return peer, lengthError(FrameClosePeer, len(payload), "32")
	}
	return keyAt(payload), nil
}
