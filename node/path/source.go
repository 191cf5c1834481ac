package path

import (
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/ginnel/ginnel/wire/key"
)

// Source is where a packet came from. Sources are immutable and may be kept.
type Source struct {
	// Addr is the UDP address, or, for a packet that came through a relay, 127.3.3.40
	// with the region as the port.
	Addr netip.AddrPort
	// Peer is the peer that sent it: authenticated for relayed packets, else the peer to
	// which the address is bound, or zero.
	Peer key.NodePublic
	// Region is the relay region, 0 for UDP.
	Region int

	peer *peer // that of Peer, nil if none
}

// relayIP stands for relays where an address is wanted (wire document paths,
// section 13).
var relayIP = netip.AddrFrom4([4]byte{127, 3, 3, 40})

// relayAddr returns the address that stands for a region.
func relayAddr(region int) netip.AddrPort { return netip.AddrPortFrom(relayIP, uint16(region)) }

// String returns the address, and the peer for relayed packets.
func (s *Source) String() string {
	if s.Region != 0 {
		return "relay " + strconv.Itoa(s.Region) + " " + s.Peer.ShortString()
	}
	return s.Addr.String()
}

// sources maps UDP addresses to the peers that they are bound to. An address is bound
// only by a pong to our ping or an authenticated ping.
type sources struct {
	byAddr  sync.Map      // netip.AddrPort -> *Source
	version atomic.Uint64 // changes with byAddr
}

// maxBound is how many addresses may be bound to one peer.
const maxBound = 64

// get returns the source for an address: the bound one or a new one of nobody.
func (t *sources) get(addr netip.AddrPort) *Source {
	if s, ok := t.byAddr.Load(addr); ok {
		return s.(*Source)
	}
	return &Source{Addr: addr}
}

// bind says that packets from addr are p's. Only the loop calls it.
func (t *sources) bind(addr netip.AddrPort, p *peer) {
	if s, ok := t.byAddr.Load(addr); ok && s.(*Source).peer == p {
		return
	}
	if len(p.bound) >= maxBound {
		oldest := 0
		if r := p.route.Load(); r != nil && p.bound[0] == r.Addr {
			oldest = 1 // the one in use stays
		}
		t.unbind(p.bound[oldest], p)
		p.bound = slices.Delete(p.bound, oldest, oldest+1)
	}
	p.bound = append(p.bound, addr)
	t.byAddr.Store(addr, &Source{Addr: addr, Peer: p.key, peer: p})
	t.version.Add(1)
}

// unbind forgets addr if it is p's.
func (t *sources) unbind(addr netip.AddrPort, p *peer) {
	if s, ok := t.byAddr.Load(addr); ok && s.(*Source).peer == p {
		t.byAddr.Delete(addr)
		t.version.Add(1)
	}
}

// drop forgets all addresses of p.
func (t *sources) drop(p *peer) {
	for _, addr := range p.bound {
		t.unbind(addr, p)
	}
	p.bound = nil
}
