package node

import (
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/ginnel/ginnel/node/netmap"
	"github.com/ginnel/ginnel/node/state"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// Timing of the network map on disk. A change is to be there soon, since the server may
// go away right after it; but changes come in showers, and a disk is no log.
const (
	mapCacheDelay = time.Second      // from the first change to its write
	mapCacheEvery = 5 * time.Second  // from the end of one write to the next
	mapCacheIdle  = 30 * time.Second // to the write of what a start does not need
)

// mapCache writes the latest network map to disk in the background.
type mapCache struct {
	store *state.Store
	log   *slog.Logger

	mu      sync.Mutex
	pending *pendingMap
	timer   *time.Timer // non-nil while a write is due, at due
	due     time.Time
	written time.Time // when the latest write ended, zero for none
	closed  bool
	writing sync.Mutex
}

type pendingMap struct {
	profile string
	nodeKey key.NodePublic
	netmap  *netmap.Map
}

func newMapCache(store *state.Store, log *slog.Logger) *mapCache {
	return &mapCache{store: store, log: log}
}

// save has m written: soon if it is news, which a start without the server needs to know.
// Nodes that are told not to keep maps keep none.
func (c *mapCache) save(profile string, nodeKey key.NodePublic, m *netmap.Map, news bool) {
	if c.store.Ephemeral() || profile == "" || m.Self.HasCap(control.AttrDisableCacheMaps) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.pending = &pendingMap{profile, nodeKey, m}
	wait := mapCacheIdle
	if c.written.IsZero() {
		wait = 0 // the first map is written at once
	} else if news {
		wait = max(mapCacheDelay, mapCacheEvery-time.Since(c.written))
	}
	due := time.Now().Add(wait)
	switch {
	case c.timer == nil:
		c.timer, c.due = time.AfterFunc(wait, c.flush), due
	case due.Before(c.due):
		c.timer.Reset(wait)
		c.due = due
	}
}

// flush writes what is pending.
func (c *mapCache) flush() {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	p := c.pending
	c.pending, c.timer = nil, nil
	c.mu.Unlock()
	if p == nil {
		return
	}
	c.write(p)
	c.mu.Lock()
	c.written = time.Now()
	c.mu.Unlock()
}

func (c *mapCache) write(p *pendingMap) {
	err := c.store.SaveMap(p.profile, &state.CachedMap{NodeKey: p.nodeKey, Saved: time.Now().UTC(), Map: p.netmap.Response()})
	if err != nil {
		c.log.Warn("keeping the network map for the next start failed", "err", err)
	}
}

// drop forgets a write that is due, and waits for one that is going on.
func (c *mapCache) drop() {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending = nil
}

// turn writes what is pending; the next map is that of another profile.
func (c *mapCache) turn() {
	c.flush()
	c.mu.Lock()
	c.written = time.Time{}
	c.mu.Unlock()
}

// close writes what is pending and ends.
func (c *mapCache) close() {
	c.mu.Lock()
	c.closed = true
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	c.flush()
}

// newsForStart reports whether the map has what the one before it (nil for none) has not
// and a start without the server needs: who the peers are and where. That they come and
// go is not.
func newsForStart(before, m *netmap.Map, ch netmap.Changes) bool {
	rest := ch
	rest.Peers, rest.Other = nil, false
	if before == nil || rest.Any() {
		return true
	}
	for _, id := range ch.Peers {
		p, q := before.Peer(id), m.Peer(id)
		if p == nil || q == nil || !sameButPath(p, q) || p.DiscoKey != q.DiscoKey || p.HomeDERP != q.HomeDERP ||
			!slices.Equal(p.Endpoints, q.Endpoints) || p.Name != q.Name || p.Expired != q.Expired || !p.KeyExpiry.Equal(q.KeyExpiry) {
			return true
		}
	}
	return false
}
