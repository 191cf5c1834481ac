package relay

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ginnel/ginnel/wire/key"
)

// Forwarder passes packets to a client of another relay of the region. It must not
// block; what it cannot take it drops.
type Forwarder interface {
	ForwardPacket(src, dst key.NodePublic, data []byte)
}

// peer is a key that can be reached from here: it has connections here, or another
// relay of the region has told of it.
type peer struct {
	key key.NodePublic

	// What the packet path reads, without a lock. Both nil: the key is not reached,
	// or not through this peer any more; the table knows better.
	active atomic.Pointer[client] // the connection that gets packets
	route  atomic.Pointer[route]  // where to forward when there is no connection

	// Guarded by Server.mu.
	conns  []*client // the one that spoke last comes last
	routes []*route  // oldest first; the first is used
	// interest holds who must be told when the key leaves the region, besides those
	// that the connections themselves know of.
	interest map[*client]struct{}
}

// route is a way to a key through another relay.
type route struct{ via Forwarder }

// shardCount is a power of two.
const shardCount = 64

// table finds peers by key. Its locks are held for one map operation each.
type table struct {
	shards [shardCount]shard
}

type shard struct {
	mu sync.RWMutex
	m  map[key.NodePublic]*peer
	_  [32]byte // keeps neighbours' locks apart
}

// shard returns the shard of k. Keys are uniformly distributed but for the top bit.
func (t *table) shard(k key.NodePublic) *shard {
	raw := k.Raw32()
	return &t.shards[raw[1]%shardCount]
}

// get returns the peer of k, or nil.
func (t *table) get(k key.NodePublic) *peer {
	s := t.shard(k)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.m[k]
}

// getOrAdd returns the peer of k, made now if need be. Server.mu must be held.
func (t *table) getOrAdd(k key.NodePublic) *peer {
	s := t.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.m[k]
	if p == nil {
		p = &peer{key: k}
		if s.m == nil {
			s.m = make(map[key.NodePublic]*peer)
		}
		s.m[k] = p
	}
	return p
}

// remove forgets p. Server.mu must be held.
func (t *table) remove(p *peer) {
	s := t.shard(p.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m[p.key] == p {
		delete(s.m, p.key)
	}
}

// each calls f for every peer; f must not change the table.
func (t *table) each(f func(*peer)) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.RLock()
		for _, p := range s.m {
			f(p)
		}
		s.mu.RUnlock()
	}
}

// reachable reports whether packets for p can go anywhere. Server.mu must be held.
func (p *peer) reachable() bool { return len(p.conns) > 0 || len(p.routes) > 0 }

// addConn makes c the active connection. Server.mu must be held.
func (p *peer) addConn(c *client) {
	p.conns = append(p.conns, c)
	p.settle()
}

// removeConn forgets c. Server.mu must be held.
func (p *peer) removeConn(c *client) {
	p.conns = slices.DeleteFunc(p.conns, func(d *client) bool { return d == c })
	p.settle()
}

// spoke makes c, a connection with duplicates, the active one. Server.mu must be
// held.
func (p *peer) spoke(c *client) {
	i := slices.Index(p.conns, c)
	if i < 0 {
		return
	}
	p.conns = append(slices.Delete(p.conns, i, i+1), c)
	p.settle()
}

// settle brings what the packet path reads in line with conns.
func (p *peer) settle() {
	for _, c := range p.conns {
		c.dup.Store(len(p.conns) > 1)
	}
	if n := len(p.conns); n > 0 {
		p.active.Store(p.conns[n-1])
	} else {
		p.active.Store(nil)
	}
}

// settleRoutes brings what the packet path reads in line with routes.
func (p *peer) settleRoutes() {
	if len(p.routes) > 0 {
		p.route.Store(p.routes[0])
	} else {
		p.route.Store(nil)
	}
}
