package path

import (
	"container/heap"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/ginnel/ginnel/node/path/probing"
	"github.com/ginnel/ginnel/wire/key"
)

// peer is one peer. What is not atomic belongs to the loop.
type peer struct {
	key key.NodePublic

	// Read by senders and receivers.
	route       atomic.Pointer[probing.Route]
	learned     atomic.Pointer[link]   // the relay connection on which it was last heard
	relaySource atomic.Pointer[Source] // of packets through the relay used last
	lastSend    atomic.Int64           // Unix nanoseconds, 0 for never
	lastRecv    atomic.Int64
	lastBest    atomic.Int64                   // of packets over the route's address
	waking      atomic.Bool                    // is in Engine.wake
	unreachable atomic.Pointer[netip.AddrPort] // to which the system cannot send; the loop takes it
	held        atomic.Pointer[held]
	initiated   atomic.Int64             // when a handshake of ours began, Unix nanoseconds, 0 if it was answered
	crossing    atomic.Pointer[crossing] // kept back while ours is on its way
	yields      atomic.Bool              // its handshakes yield to ours
	lastResort  budget                   // of packets to where it was last known to be
	counters    counters

	cfg              Peer
	mapDisco         key.DiscoPublic // of the last Apply; cfg's may be newer
	machine          *probing.Machine
	bound            []netip.AddrPort // addresses in Engine.sources
	wantsCallMeMaybe bool             // waits for fresh endpoints
	gone             bool             // removed

	deadline  time.Time // of the machine, zero for none
	heapIndex int       // in Engine.timers, -1 if not there
}

// counters count data packets by way.
type counters struct {
	tx, rx [ways]tally
}

// unknownCounters count datagrams that came over UDP from nobody who is known to be a
// peer, by what they look like.
type unknownCounters struct{ wireGuard, disco, other atomic.Uint64 }

// tally counts packets and their bytes.
type tally struct{ packets, bytes atomic.Uint64 }

func (p *tally) count() Count { return Count{p.packets.Load(), p.bytes.Load()} }

// way is how data travels.
type way int

const (
	wayIPv4 way = iota
	wayIPv6
	wayRelay
	ways
)

// wayOf returns the way of a UDP address.
func wayOf(addr netip.AddrPort) way {
	if addr.Addr().Is4() {
		return wayIPv4
	}
	return wayIPv6
}

func (c *counters) sent(w way, packets, bytes int) {
	c.tx[w].packets.Add(uint64(packets))
	c.tx[w].bytes.Add(uint64(bytes))
}

func (c *counters) received(w way, packets, bytes int) {
	c.rx[w].packets.Add(uint64(packets))
	c.rx[w].bytes.Add(uint64(bytes))
}

// timers is a heap of the peers whose machines have deadlines, the next one first.
type timers []*peer

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].deadline.Before(t[j].deadline) }
func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].heapIndex, t[j].heapIndex = i, j
}

// Push implements heap.Interface.
func (t *timers) Push(x any) {
	p := x.(*peer)
	p.heapIndex = len(*t)
	*t = append(*t, p)
}

// Pop implements heap.Interface.
func (t *timers) Pop() any {
	old := *t
	p := old[len(old)-1]
	old[len(old)-1] = nil
	*t = old[:len(old)-1]
	p.heapIndex = -1
	return p
}

// set moves p to where its deadline belongs.
func (t *timers) set(p *peer, deadline time.Time) {
	if deadline.Equal(p.deadline) && (p.heapIndex >= 0) == !deadline.IsZero() {
		return
	}
	p.deadline = deadline
	switch {
	case deadline.IsZero():
		if p.heapIndex >= 0 {
			heap.Remove(t, p.heapIndex)
		}
	case p.heapIndex >= 0:
		heap.Fix(t, p.heapIndex)
	default:
		heap.Push(t, p)
	}
}
