package disco

import "github.com/ginnel/ginnel/wire/key"

// TxID pairs a pong with its ping. Since messages have no sequence number, an
// unguessable one is all that stands between us and replayed pongs.
type TxID [txIDLen]byte

const txIDLen = 12

// PingLen is the length of a sealed ping without padding, in bytes of UDP payload.
const PingLen = Overhead + txIDLen + keyLen

// Ping asks whoever gets it for a Pong. It travels over UDP, through relays of either
// kind, and may be padded to find out what size a path carries.
type Ping struct {
	TxID TxID
	// Node is the sender's node key, zero if the message has none (very old senders).
	Node key.NodePublic
	// Padding is the number of zero bytes after the node key.
	Padding int
}

// Append appends the inner message. Without a node key there can be no padding.
func (m *Ping) Append(dst []byte) []byte {
	dst = append(dst, byte(TypePing), version)
	dst = append(dst, m.TxID[:]...)
	if m.Node.IsZero() {
		return dst
	}
	dst = m.Node.AppendTo(dst)
	for range m.Padding {
		dst = append(dst, 0)
	}
	return dst
}

// Parse reads the body of a ping.
func (m *Ping) Parse(body []byte) error {
	if len(body) < txIDLen {
		return shortError(TypePing, len(body), txIDLen)
	}
	*m = Ping{TxID: TxID(body)}
	rest := body[txIDLen:]
	if len(rest) >= keyLen {
		m.Node = key.NodePublicFromRaw32([keyLen]byte(rest))
		rest = rest[keyLen:]
	}
	m.Padding = len(rest)
	return nil
}
