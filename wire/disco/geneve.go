package disco

import "encoding/binary"

// GeneveLen is the length of the Geneve header, which has no options.
const GeneveLen = 8

// The Geneve protocols.
const (
	ProtocolDisco     uint16 = 0x7a11
	ProtocolWireGuard uint16 = 0x7a12
)

// Geneve is the header of packets that travel through a peer relay.
type Geneve struct {
	// Control is set for the three bind messages only, which the relay itself reads.
	Control  bool
	Protocol uint16
	VNI      uint32 // 24 bits
}

// Append appends the header.
func (g Geneve) Append(dst []byte) []byte {
	var flags byte
	if g.Control {
		flags = 0x80
	}
	dst = append(dst, 0, flags)
	dst = binary.BigEndian.AppendUint16(dst, g.Protocol)
	return binary.BigEndian.AppendUint32(dst, g.VNI<<8)
}

// ParseGeneve reads the header at the start of packet. It reports false unless there
// is one of version 0, with reserved bits zero and one of the two protocols. The option
// length and the C bit are not looked at, since others do not look either.
func ParseGeneve(packet []byte) (Geneve, bool) {
	if len(packet) < GeneveLen || packet[0]&0xc0 != 0 || packet[1]&0x3f != 0 || packet[7] != 0 {
		return Geneve{}, false
	}
	g := Geneve{
		Control:  packet[1]&0x80 != 0,
		Protocol: binary.BigEndian.Uint16(packet[2:]),
		VNI:      binary.BigEndian.Uint32(packet[4:]) >> 8,
	}
	return g, g.Protocol == ProtocolDisco || g.Protocol == ProtocolWireGuard
}
