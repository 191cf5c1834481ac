package disco

import "net/netip"

// Pong answers a Ping, on the way on which the ping came.
type Pong struct {
	TxID TxID
	// Src is where the ping came from as its receiver saw it. For a ping that came
	// through a relay region it is 127.3.3.40 and the region's number as the port.
	Src netip.AddrPort
}

// Append appends the inner message.
func (m *Pong) Append(dst []byte) []byte {
	dst = append(dst, byte(TypePong), version)
	dst = append(dst, m.TxID[:]...)
	return appendAddr(dst, m.Src)
}

// Parse reads the body of a pong.
func (m *Pong) Parse(body []byte) error {
	if len(body) < txIDLen+addrLen {
		return shortError(TypePong, len(body), txIDLen+addrLen)
	}
	m.TxID = TxID(body)
	m.Src = parseAddr(body[txIDLen:])
	return nil
}
