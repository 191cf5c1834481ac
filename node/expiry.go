package node

import (
	"fmt"
	"strings"
	"time"

	"github.com/ginnel/ginnel/node/netmap"
	"github.com/ginnel/ginnel/wire/control"
)

// expiry remembers whose keys have expired, so that this is not worked out for all peers
// each time that one of them changes. The zero value is ready.
type expiry struct {
	valid bool
	names string    // the IDs of peers that have expired
	at    time.Time // when it was worked out
	next  time.Time // when the next key expires, zero for never
}

// of returns the peers of m whose keys have expired, as text to compare.
func (x *expiry) of(m *netmap.Map, now time.Time) string {
	if m == nil {
		return ""
	}
	// A clock that was set back may bring keys back to life.
	if x.valid && (x.next.IsZero() || now.Before(x.next)) && !now.Before(x.at) {
		return x.names
	}
	var names strings.Builder
	for _, p := range m.Peers {
		if m.Expired(p, now) {
			fmt.Fprintf(&names, "%d ", p.ID)
		}
	}
	*x = expiry{valid: true, names: names.String(), at: now.Round(0)}
	if next, ok := m.NextExpiry(now); ok {
		x.next = next
	}
	return x.names
}

// mapChanged forgets what no longer holds after a change of the map from before, which is
// nil for none.
func (x *expiry) mapChanged(before, m *netmap.Map, ch netmap.Changes) {
	if before == nil || ch.First || ch.Self || len(ch.Removed) > 0 || before.Skew != m.Skew || before.ClockTrusted != m.ClockTrusted {
		x.valid = false
		return
	}
	for _, id := range ch.Peers {
		if !sameExpiry(before.Peer(id), m.Peer(id)) {
			x.valid = false
			return
		}
	}
}

// sameExpiry reports whether the key of a peer expires when it did before.
func sameExpiry(p, q *control.Node) bool {
	return p != nil && q != nil && p.Expired == q.Expired && p.KeyExpiry.Equal(q.KeyExpiry)
}
