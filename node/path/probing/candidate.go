package probing

import (
	"net/netip"
	"time"

	"github.com/ginnel/ginnel/wire/disco"
)

// candidate is an address where the peer may be reached.
type candidate struct {
	addr   netip.AddrPort
	listed bool // in the network map
	called bool // in the peer's last call-me-maybe

	heard   time.Time  // last ping received from it, zero if never
	heardTx disco.TxID // of that ping
	pinged  time.Time  // last discovery ping sent to it, zero if never
	latency time.Duration
	ponged  time.Time // last pong, zero if never
}

// stale reports whether the candidate has lost its reason to exist.
func (c *candidate) stale(now time.Time) bool {
	switch {
	case c.called:
		return false
	case c.heard.IsZero():
		return !c.listed
	}
	return !c.listed && now.Sub(c.heard) > SessionActive
}

// candidate returns the entry for addr, adding it if there is none.
func (m *Machine) candidate(addr netip.AddrPort) (c *candidate, added bool) {
	if c := m.byAddr[addr]; c != nil {
		return c, false
	}
	c = &candidate{addr: addr}
	if m.byAddr == nil {
		m.byAddr = make(map[netip.AddrPort]*candidate)
	}
	m.byAddr[addr] = c
	m.candidates = append(m.candidates, c)
	return c, true
}

// keep removes the candidates for which keep is false, and the best path with its own.
func (m *Machine) keep(keep func(*candidate) bool) {
	kept := m.candidates[:0]
	for _, c := range m.candidates {
		if keep(c) {
			kept = append(kept, c)
			continue
		}
		delete(m.byAddr, c.addr)
		if m.best.Addr == c.addr {
			m.clearBest()
		}
	}
	clear(m.candidates[len(kept):])
	m.candidates = kept
}

// prune removes stale candidates. The best path stays while it is trusted, whoever
// stopped listing it: it works.
func (m *Machine) prune(now time.Time) {
	m.keep(func(c *candidate) bool {
		return !c.stale(now) || m.best.Addr == c.addr && m.trusted(now)
	})
}

// boundLearned makes room for one more candidate known only from a ping.
func (m *Machine) boundLearned(now time.Time) {
	if len(m.candidates) > pruneAbove {
		m.prune(now)
	}
	var oldest *candidate
	learned := 0
	for _, c := range m.candidates {
		if c.listed || c.called || c.addr == m.best.Addr {
			continue
		}
		learned++
		if oldest == nil || c.heard.Before(oldest.heard) {
			oldest = c
		}
	}
	if learned >= maxLearned {
		m.keep(func(c *candidate) bool { return c != oldest })
	}
}

// Usable reports whether addr may be a candidate at all: a unicast address with a port,
// and not a link-local IPv6 one, whose zone nobody told.
func Usable(addr netip.AddrPort) bool {
	ip := addr.Addr()
	switch {
	case addr.Port() == 0 || !ip.IsValid() || ip.Is4In6() || ip.IsUnspecified() || ip.IsMulticast():
		return false
	case ip.Is4():
		return !thisNetwork.Contains(ip) && !reserved.Contains(ip) // the latter with broadcast
	}
	return !ip.IsLinkLocalUnicast()
}

// IPv4 addresses that are nobody's (RFC 6890, section 2.2.2).
var (
	thisNetwork = netip.MustParsePrefix("0.0.0.0/8")
	reserved    = netip.MustParsePrefix("240.0.0.0/4")
)
