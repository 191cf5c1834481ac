package node

import (
	"log/slog"
	"sync"
	"time"

	"github.com/ginnel/ginnel/node/netmap"
	"github.com/ginnel/ginnel/node/state"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// mapCacheDelay is how long the network map on disk may be behind: a new map
// comes with every peer that turns its laptop on, and a disk is no log.
const mapCacheDelay = 10 * time.Second

// mapCache writes the latest network map to disk in the background.
type mapCache struct {
	store *state.Store
	log   *slog.Logger

	mu      sync.Mutex
	pending *pendingMap
	timer   *time.Timer // non-nil while a write is due
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

// save has m written soon. Nodes that are told not to keep maps keep none.
func (c *mapCache) save(profile string, nodeKey key.NodePublic, m *netmap.Map) {
	if c.store.Ephemeral() || profile == "" || m.Self.HasCap(control.AttrDisableCacheMaps) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	delay := mapCacheDelay
	if c.pending == nil && c.timer == nil {
		delay = 0 // the first map is written at once
	}
	c.pending = &pendingMap{profile, nodeKey, m}
	if c.timer == nil {
		c.timer = time.AfterFunc(delay, c.flush)
	}
}

// flush writes what is pending, and leaves the timer in place for a while so that
// the next write waits.
func (c *mapCache) flush() {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	p := c.pending
	c.pending = nil
	if p == nil || c.closed {
		c.timer = nil
		c.mu.Unlock()
		if p != nil {
			c.write(p)
		}
		return
	}
	c.timer = time.AfterFunc(mapCacheDelay, c.flush)
	c.mu.Unlock()
	c.write(p)
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
