package disco

import "net/netip"

// CallMeMaybe asks a peer to ping the sender at any of its endpoints: the sender has
// just opened its firewalls by pinging the other way. It travels through the relay
// only.
type CallMeMaybe struct {
	Endpoints []netip.AddrPort
}

// Append appends the inner message.
func (m *CallMeMaybe) Append(dst []byte) []byte {
	dst = append(dst, byte(TypeCallMeMaybe), version)
	return appendAddrs(dst, m.Endpoints)
}

// Parse reads the body of a message of the given version, reusing m.Endpoints. A body
// of another version or a broken length is a message without endpoints, which is still
// a message: it withdraws those of the one before.
func (m *CallMeMaybe) Parse(ver byte, body []byte) {
	m.Endpoints = m.Endpoints[:0]
	if ver == version && len(body)%addrLen == 0 {
		m.Endpoints = parseAddrs(m.Endpoints, body)
	}
}
