package maps

import (
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
	pooled := bodies.Get().(*[]byte)
	defer bodies.Put(pooled)
	body := h.fullBody((*pooled)[:0], snap, viewer, o, gone)
	*pooled = body[:0]
	h.stats.full.Add(1)
	h.stats.fullBytes.Add(uint64(len(body)))
	return slices.Clip(h.appendFrame(make([]byte, 0, control.FrameHeaderLen+len(body)/4), body, o.Compress)), nil
}

func (h *Hub) fullBody(buf []byte, snap *tailnet.Snapshot, viewer *tailnet.Node, opts Options, gone []control.NodeID) []byte {
	now := time.Now()
	o := newObject(buf)
	o.value("Node", h.selfNode(viewer, now))
	o.value("DERPMap", h.cfg.DERPMap())
	users := map[control.UserID]*tailnet.Node{ownerID(viewer): viewer} // a node of each
	peers := 0
	if !opts.OmitPeers {
		peers = h.appendPeers(o, snap, viewer, now, users)
	}
	if peers == 0 && len(gone) > 0 {
		o.value("PeersRemoved", slices.DeleteFunc(gone, func(id control.NodeID) bool { return id == viewer.ID }))
	}
	o.value("DNSConfig", h.dnsConfig())
	o.value("Domain", h.cfg.Domain)
	o.value("CollectServices", control.False)
	o.value("PacketFilters", h.cfg.Visibility.Filters(viewer))
	profiles := make([]control.UserProfile, 0, len(users))
	for _, id := range slices.Sorted(maps.Keys(users)) {
		profiles = append(profiles, OwnerProfile(snap, users[id]))
	}
	o.value("UserProfiles", profiles)
	o.raw("SSHPolicy", []byte(`{"rules":[]}`)) // nobody may come in by SSH
	o.value("ControlTime", now.UTC())
	o.value("Debug", &control.Debug{DisableLogTail: true})
	return o.end()
}

// appendPeers writes the peers that the viewer sees, notes a node of each of
// their users, and returns how many there are.
func (h *Hub) appendPeers(o *object, snap *tailnet.Snapshot, viewer *tailnet.Node, now time.Time, users map[control.UserID]*tailnet.Node) int {
	class := h.cfg.Visibility.Class(viewer)
	count := 0
	for n := range snap.Nodes(viewer.TailnetID) {
		if n.ID == viewer.ID || !h.cfg.Visibility.Sees(class, n) {
			continue
		}
		if count == 0 {
			o.key("Peers")
			o.buf = append(o.buf, '[')
		} else {
			o.buf = append(o.buf, ',')
		}
		count++
		o.buf = append(o.buf, h.nodes.peer(n, now)...)
		if id := ownerID(n); users[id] == nil {
			users[id] = n
		}
	}
	if count > 0 {
		o.buf = append(o.buf, ']')
	}
	return count
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
