package maps

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/control"
)

// The peers in full maps are packed in blocks, each a zstd frame of its own, and
// viewers of one class share the blocks: a full map is then mostly copied. Frames
// one after the other unpack to their contents one after the other (RFC 8878,
// section 3), for every client that takes the protocol's frames.
const (
	// blockSpan is how many nodes a block has on average. Where a block ends
	// depends on the last node in it alone, so that a node that comes or goes
	// disturbs one block and not all behind it.
	blockSpan = 64
	// maxBlock is how many nodes a block has at most.
	maxBlock = 256
	// blockIdle is how long a block is kept that nobody asks for.
	blockIdle = 10 * time.Minute
)

// blockCache holds packed runs of peers.
type blockCache struct {
	hub   *Hub
	mu    sync.Mutex
	m     map[blockKey]*block
	swept time.Time
}

// blockKey names the place of a block: the class that sees it and its first node.
type blockKey struct {
	class Class
	first control.NodeID
}

// block is a run of nodes as peers see them. Nodes never change, so that the same
// pointers are the same content until one of the keys expires.
type block struct {
	nodes []*tailnet.Node
	// No key among the nodes expires from since, included, to until, excluded; zero
	// is no bound.
	since, until time.Time
	used         atomic.Int64 // in Unix seconds
	// packed is the nodes' JSON for the beginning of a list and, after a comma,
	// for further down in it. Each is made when first asked for.
	packed [2]packedRun
}

type packedRun struct {
	once sync.Once
	data []byte
	size int // before compression
}

func (c *blockCache) init(h *Hub) {
	c.hub = h
	c.m = map[blockKey]*block{}
}

// endsBlock reports whether a node is the last of its block: one in blockSpan is,
// spread evenly however the numbers are.
func endsBlock(id control.NodeID) bool {
	return uint64(id)*0x9e3779b97f4a7c15>>32%blockSpan == 0
}

// cutBlock returns how many of nodes, in order of ID and not none, are the first
// block.
func cutBlock(nodes []*tailnet.Node) int {
	for i, n := range nodes[:min(len(nodes), maxBlock)] {
		if endsBlock(n.ID) {
			return i + 1
		}
	}
	return min(len(nodes), maxBlock)
}

// get returns the block of a run of nodes that a class sees, as it is at now.
func (c *blockCache) get(class Class, nodes []*tailnet.Node, now time.Time) *block {
	key := blockKey{class, nodes[0].ID}
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.m[key]
	if b == nil || !b.holds(nodes, now) {
		b = newBlock(nodes, now)
		c.m[key] = b
	}
	b.used.Store(now.Unix())
	return b
}

func newBlock(nodes []*tailnet.Node, now time.Time) *block {
	b := &block{nodes: slices.Clone(nodes)}
	for _, n := range nodes {
		switch at := n.KeyExpiry; {
		case at.IsZero():
		case n.Expired(now):
			if at.After(b.since) {
				b.since = at
			}
		case b.until.IsZero() || at.Before(b.until):
			b.until = at
		}
	}
	return b
}

// holds reports whether the block is that of the nodes at now.
func (b *block) holds(nodes []*tailnet.Node, now time.Time) bool {
	return !now.Before(b.since) && (b.until.IsZero() || now.Before(b.until)) && slices.Equal(b.nodes, nodes)
}

// pack returns the packed JSON of the block's nodes.
func (c *blockCache) pack(b *block, first bool, now time.Time) *packedRun {
	p := &b.packed[0]
	if !first {
		p = &b.packed[1]
	}
	made := false
	p.once.Do(func() {
		made = true
		p.data, p.size = c.hub.packRun(b.nodes, nil, first, now)
	})
	if made {
		c.hub.stats.blocksEncoded.Add(1)
	} else {
		c.hub.stats.blocksShared.Add(1)
	}
	return p
}

// sweep forgets what nobody has asked for in a while. It looks once a minute.
func (c *blockCache) sweep(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.swept) < time.Minute {
		return
	}
	c.swept = now
	oldest := now.Add(-blockIdle).Unix()
	for k, b := range c.m {
		if b.used.Load() < oldest {
			delete(c.m, k)
		}
	}
}

// packRun packs the JSON of nodes, but for one of them. It returns nothing when
// none are left.
func (h *Hub) packRun(nodes []*tailnet.Node, except *tailnet.Node, first bool, now time.Time) (data []byte, size int) {
	pooled := bodies.Get().(*[]byte)
	defer bodies.Put(pooled)
	body := h.appendNodes((*pooled)[:0], nodes, except, first, now)
	*pooled = body[:0]
	if len(body) == 0 {
		return nil, 0
	}
	return slices.Clip(h.appendPiece(nil, body)), len(body)
}

// appendNodes appends the JSON of nodes, but for one of them, with commas between
// them and, unless they are the first of the list, before them.
func (h *Hub) appendNodes(dst []byte, nodes []*tailnet.Node, except *tailnet.Node, first bool, now time.Time) []byte {
	for _, n := range nodes {
		if n == except {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(dst, h.nodes.peer(n, now)...)
	}
	return dst
}
