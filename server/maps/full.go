package maps

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/control"
)

// bodies are buffers for full maps on their way into compression. As many are
// in use as there are build slots.
var bodies = sync.Pool{New: func() any { return new([]byte) }}

// full returns a full map for the viewer, framed (wire document control, section
// 5.8). When there is no peer to tell of, gone lists the nodes that the viewer
// must forget. Few full maps are built at a time; others wait for their turn or
// for ctx.
func (h *Hub) full(ctx context.Context, snap *tailnet.Snapshot, viewer *tailnet.Node, o Options, gone []control.NodeID) ([]byte, error) {
	select {
	case h.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-h.slots }()
	f := &fullMap{hub: h, snap: snap, viewer: viewer, now: time.Now()}
	if !o.OmitPeers {
		f.findPeers()
	}
	pooled := bodies.Get().(*[]byte)
	defer bodies.Put(pooled)
	head := f.head((*pooled)[:0], gone)
	var frame []byte
	var size int
	if o.Compress {
		frame, size = f.pack(head)
	} else {
		head = f.appendPeers(head)
		frame, size = control.AppendFrame(nil, head), len(head)
	}
	*pooled = head[:0]
	h.stats.full.Add(1)
	h.stats.fullBytes.Add(uint64(size))
	return frame, nil
}

// fullMap is a full map in the making.
type fullMap struct {
	hub    *Hub
	snap   *tailnet.Snapshot
	viewer *tailnet.Node
	now    time.Time

	class Class
	nodes []*tailnet.Node // what the class sees, by ID; the viewer may be among them
	peers int             // how many of them are peers
}

// findPeers collects what the viewer sees.
func (f *fullMap) findPeers() {
	vis := f.hub.cfg.Visibility
	f.class = vis.Class(f.viewer)
	f.nodes = make([]*tailnet.Node, 0, f.snap.NodeCount())
	for n := range f.snap.Nodes(f.viewer.TailnetID) {
		if !vis.Sees(f.class, n) {
			continue
		}
		f.nodes = append(f.nodes, n)
		if n.ID != f.viewer.ID {
			f.peers++
		}
	}
}

// head writes everything but the peers. When there are peers it leaves off where
// the first of them goes.
func (f *fullMap) head(buf []byte, gone []control.NodeID) []byte {
	h := f.hub
	o := newObject(buf)
	o.value("Node", h.selfNode(f.viewer, f.now))
	o.value("DERPMap", h.cfg.DERPMap())
	o.value("DNSConfig", h.dnsConfig())
	o.value("Domain", h.cfg.Domain)
	o.value("CollectServices", control.False)
	o.value("PacketFilters", h.cfg.Visibility.Filters(f.viewer))
	o.value("UserProfiles", f.profiles())
	o.raw("SSHPolicy", []byte(`{"rules":[]}`)) // nobody may come in by SSH
	o.value("ControlTime", f.now.UTC())
	o.value("Debug", &control.Debug{DisableLogTail: true})
	if f.peers > 0 {
		o.key("Peers")
		return append(o.buf, '[')
	}
	if len(gone) > 0 {
		o.value("PeersRemoved", slices.DeleteFunc(gone, func(id control.NodeID) bool { return id == f.viewer.ID }))
	}
	return o.end()
}

// peersEnd closes the list of peers and the map.
const peersEnd = "]}"

// profiles returns the owners of all nodes that the map holds.
func (f *fullMap) profiles() []control.UserProfile {
	users := map[control.UserID]*tailnet.Node{ownerID(f.viewer): f.viewer} // a node of each
	last := ownerID(f.viewer)
	for _, n := range f.nodes {
		if id := ownerID(n); id != last {
			users[id], last = n, id
		}
	}
	out := make([]control.UserProfile, 0, len(users))
	for _, id := range slices.Sorted(maps.Keys(users)) {
		out = append(out, OwnerProfile(f.snap, users[id]))
	}
	return out
}

// self returns the viewer as it stands among the nodes, or nil.
func (f *fullMap) self() *tailnet.Node {
	i, ok := slices.BinarySearchFunc(f.nodes, f.viewer.ID, func(n *tailnet.Node, id control.NodeID) int { return cmp.Compare(n.ID, id) })
	if !ok {
		return nil
	}
	return f.nodes[i]
}

// appendPeers appends the peers to the head and ends the map.
func (f *fullMap) appendPeers(head []byte) []byte {
	if f.peers == 0 {
		return head
	}
	head = f.hub.appendNodes(head, f.nodes, f.self(), true, f.now)
	return append(head, peersEnd...)
}

// pack returns the map compressed and framed, and its size before that. The blocks
// of peers are shared with other full maps, but for the one that the viewer is in.
func (f *fullMap) pack(head []byte) (frame []byte, size int) {
	h := f.hub
	pieces := [][]byte{nil}
	size, packed := len(head), 0
	if f.peers > 0 {
		self := f.self()
		for nodes := f.nodes; len(nodes) > 0; {
			run := nodes[:cutBlock(nodes)]
			nodes = nodes[len(run):]
			var data []byte
			var n int
			if first := len(pieces) == 1; self != nil && run[0].ID <= self.ID && self.ID <= run[len(run)-1].ID {
				data, n = h.packRun(run, self, first, f.now)
			} else {
				p := h.blocks.pack(h.blocks.get(f.class, run, f.now), first, f.now)
				data, n = p.data, p.size
			}
			if n > 0 {
				pieces = append(pieces, data)
				size, packed = size+n, packed+len(data)
			}
		}
		pieces = append(pieces, h.peersEnd)
		size, packed = size+len(peersEnd), packed+len(h.peersEnd)
	}
	pieces[0] = h.appendPiece(nil, head)
	frame = make([]byte, control.FrameHeaderLen, control.FrameHeaderLen+len(pieces[0])+packed)
	for _, p := range pieces {
		frame = append(frame, p...)
	}
	return finishFrame(frame, 0), size
}

// dnsConfig turns MagicDNS on for the base domain and nothing else.
func (h *Hub) dnsConfig() *control.DNSConfig {
	return &control.DNSConfig{Domains: []string{h.cfg.BaseDomain}, Proxied: true}
}

// nodeCache holds the JSON of nodes as peers see them, once per version of a
// node.
type nodeCache struct {
	hub *Hub
	mu  sync.RWMutex
	m   map[control.NodeID]cachedNode
}

type cachedNode struct {
	node    *tailnet.Node
	expired bool
	json    json.RawMessage
}

func (c *nodeCache) init(h *Hub) {
	c.hub = h
	c.m = map[control.NodeID]cachedNode{}
}

// peer returns the JSON of n as peers see it at now. It must not be changed.
func (c *nodeCache) peer(n *tailnet.Node, now time.Time) []byte {
	expired := n.Expired(now)
	c.mu.RLock()
	have := c.m[n.ID]
	c.mu.RUnlock()
	if have.node == n && have.expired == expired {
		return have.json
	}
	made := cachedNode{node: n, expired: expired, json: mustJSON(c.hub.peerNode(n, now))}
	c.mu.Lock()
	c.m[n.ID] = made
	c.mu.Unlock()
	return made.json
}

// sweep forgets nodes that are gone, once there are many of them.
func (c *nodeCache) sweep(snap *tailnet.Snapshot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.m) <= snap.NodeCount()+64 {
		return
	}
	for id := range c.m {
		if snap.Node(id) == nil {
			delete(c.m, id)
		}
	}
}
