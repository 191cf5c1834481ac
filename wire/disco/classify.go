package disco

// Kind says what a UDP packet is.
type Kind byte

// The kinds of packets on the socket that everything shares.
const (
	// KindWireGuard is everything that is nothing else.
	KindWireGuard Kind = iota
	// KindDisco is a sealed packet of this package.
	KindDisco
	// KindSTUN is a STUN binding message.
	KindSTUN
	// KindGeneveDisco is a sealed packet behind a Geneve header.
	KindGeneveDisco
	// KindGeneveWireGuard is a WireGuard packet behind a Geneve header.
	KindGeneveWireGuard
)

// Classify tells what a UDP packet is by its first bytes (wire document paths,
// section 1). A packet that came through a relay region is only ever KindDisco or
// KindWireGuard: ask IsSealed there.
func Classify(b []byte) Kind {
	// Data packets are the many: types 1 to 4 of WireGuard and three zero bytes.
	if len(b) >= 4 && b[0]-1 < 4 && b[1]|b[2]|b[3] == 0 {
		return KindWireGuard
	}
	if isSTUN(b) {
		return KindSTUN
	}
	if g, ok := ParseGeneve(b); ok {
		if g.Protocol == ProtocolWireGuard {
			return KindGeneveWireGuard
		}
		if IsSealed(b[GeneveLen:]) {
			return KindGeneveDisco
		}
		return KindWireGuard
	}
	if IsSealed(b) {
		return KindDisco
	}
	return KindWireGuard
}

// isSTUN reports whether b is a STUN message of the binding method, of whatever class,
// with the cookie of RFC 8489.
func isSTUN(b []byte) bool {
	return len(b) >= 20 && b[0]&0xc0 == 0 && b[1] == 0x01 &&
		b[4] == 0x21 && b[5] == 0x12 && b[6] == 0xa4 && b[7] == 0x42
}
