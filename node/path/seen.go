package path

import (
	"net/netip"

	"github.com/ginnel/ginnel/wire/disco"
)

// seenPings remembers where the last pings of a disco key came from.
type seenPings struct {
	last [seenLen]seenPing
	next int
}

// seenLen is how many pings are remembered: those of a few seconds.
const seenLen = 64

type seenPing struct {
	txID disco.TxID
	from netip.AddrPort
}

// elsewhere notes a ping and reports whether it came before from another address.
func (s *seenPings) elsewhere(txID disco.TxID, from netip.AddrPort) bool {
	for i := range s.last {
		if p := &s.last[i]; p.txID == txID && p.from.IsValid() {
			return p.from != from
		}
	}
	s.last[s.next] = seenPing{txID, from}
	s.next = (s.next + 1) % seenLen
	return false
}
