package netmap

import (
	"cmp"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ginnel/ginnel/wire/control"
)

// legacyDERPPrefix starts the old form of a node's home relay; the region number
// follows as the port.
const legacyDERPPrefix = "127.3.3.40:"

// normalise puts the old forms of fields into the new ones.
func normalise(n *control.Node) {
	if n.HomeDERP == 0 {
		if region, ok := strings.CutPrefix(n.DERP, legacyDERPPrefix); ok {
			if id, err := strconv.Atoi(region); err == nil && id > 0 {
				n.HomeDERP = id
			}
		}
	}
}

// edit collects changes to the peers of one frame, copying the list of peers at
// the first of them.
type edit struct {
	m       *Map
	peers   []*control.Node
	copied  bool
	reindex bool
	changed map[control.NodeID]bool // true: added or changed; false: removed
}

func newEdit(m *Map) *edit {
	return &edit{m: m, peers: m.Peers, changed: map[control.NodeID]bool{}}
}

func (e *edit) own() {
	if !e.copied {
		e.peers = slices.Clone(e.peers)
		e.copied = true
	}
}

func (e *edit) remove(id control.NodeID) {
	i, ok := findPeer(e.peers, id)
	if !ok {
		return
	}
	e.own()
	e.peers = slices.Delete(e.peers, i, i+1)
	e.reindex = true
	e.changed[id] = false
}

// put adds the peer or replaces the one with its ID.
func (e *edit) put(n *control.Node) {
	i, ok := findPeer(e.peers, n.ID)
	if ok && e.peers[i] == n {
		return
	}
	e.own()
	if ok {
		e.reindex = e.reindex || !sameLookup(e.peers[i], n)
		e.peers[i] = n
	} else {
		e.peers = slices.Insert(e.peers, i, n)
		e.reindex = true
	}
	e.changed[n.ID] = true
}

// update replaces the peer with the ID by a copy that change has edited. Change
// reports whether it did anything. Unknown IDs are ignored.
func (e *edit) update(id control.NodeID, change func(n *control.Node) bool) {
	i, ok := findPeer(e.peers, id)
	if !ok {
		return
	}
	n := *e.peers[i]
	if change(&n) {
		e.put(&n)
	}
}

// keyTaken reports whether another peer has n's node key: a key that moves to
// another node is only accepted after the old node is gone.
func (e *edit) keyTaken(n *control.Node) bool {
	if n.Key.IsZero() {
		return false
	}
	if !e.reindex { // the index still describes e.peers
		id, ok := e.m.lookup.get().byKey[n.Key]
		return ok && id != n.ID
	}
	return slices.ContainsFunc(e.peers, func(p *control.Node) bool { return p.Key == n.Key && p.ID != n.ID })
}

// acceptable reports whether n may be a peer at all.
func (e *edit) acceptable(n *control.Node) bool {
	return n.ID > 0 && n.ID != e.m.Self.ID && (n.Key != e.m.Self.Key || n.Key.IsZero())
}

func (e *edit) finish(ch *Changes) {
	if len(e.changed) == 0 {
		return
	}
	e.m.Peers = e.peers
	if e.reindex {
		e.m.lookup = newLookup(e.peers)
	}
	for id, present := range e.changed {
		if present {
			ch.Peers = append(ch.Peers, id)
		} else {
			ch.Removed = append(ch.Removed, id)
		}
	}
	slices.Sort(ch.Peers)
	slices.Sort(ch.Removed)
}

// applyPeers is the peer algebra of section 5.6.
func applyPeers(m *Map, ch *Changes, resp *control.MapResponse, now time.Time) {
	e := newEdit(m)
	defer func() { e.finish(ch) }()
	if len(resp.Peers) > 0 {
		e.replaceAll(resp.Peers)
		return
	}
	for _, id := range resp.PeersRemoved {
		e.remove(id)
	}
	for _, n := range resp.PeersChanged {
		e.upsert(n)
	}
	for id, seen := range resp.PeerSeenChange {
		e.update(id, func(n *control.Node) bool {
			n.LastSeen = nil
			if seen {
				n.LastSeen = &now
			}
			return true
		})
	}
	for id, online := range resp.OnlineChange {
		e.update(id, func(n *control.Node) bool { return setOnline(n, online) })
	}
	for _, p := range resp.PeersChangedPatch {
		e.patch(p)
	}
	if ch.Self {
		e.dropSelf()
	}
}

// dropSelf removes a peer that turned out to be the node itself.
func (e *edit) dropSelf() {
	for _, p := range e.peers {
		if !e.acceptable(p) {
			e.remove(p.ID)
			return
		}
	}
}

// replaceAll makes peers the complete list. Of two entries with one ID, or with
// one key, the first counts.
func (e *edit) replaceAll(peers []*control.Node) {
	slices.SortStableFunc(peers, func(a, b *control.Node) int { return cmp.Compare(a.ID, b.ID) })
	old := e.peers
	e.peers, e.copied, e.reindex = make([]*control.Node, 0, len(peers)), true, true
	seen := make(map[[32]byte]bool, len(peers))
	for _, n := range peers {
		last := len(e.peers) - 1
		if !e.acceptable(n) || last >= 0 && e.peers[last].ID == n.ID || seen[n.Key.Raw32()] {
			continue
		}
		if !n.Key.IsZero() {
			seen[n.Key.Raw32()] = true
		}
		normalise(n)
		e.peers = append(e.peers, n)
		if i, ok := findPeer(old, n.ID); !ok || !reflect.DeepEqual(old[i], n) {
			e.changed[n.ID] = true
		}
	}
	for _, n := range old {
		if _, ok := findPeer(e.peers, n.ID); !ok {
			e.changed[n.ID] = false
		}
	}
}

// upsert adds or replaces one whole peer.
func (e *edit) upsert(n *control.Node) {
	if !e.acceptable(n) || e.keyTaken(n) {
		return
	}
	normalise(n)
	if i, ok := findPeer(e.peers, n.ID); ok && reflect.DeepEqual(e.peers[i], n) {
		return
	}
	e.put(n)
}

func setOnline(n *control.Node, online bool) bool {
	if n.Online != nil && *n.Online == online {
		return false
	}
	n.Online = &online
	return true
}

// patch applies one PeerChange by the table of section 5.7.
func (e *edit) patch(p *control.PeerChange) {
	i, ok := findPeer(e.peers, p.NodeID)
	if !ok || staleDisco(e.peers[i], p) {
		return
	}
	n := *e.peers[i]
	if p.DERPRegion != 0 {
		n.HomeDERP, n.DERP = p.DERPRegion, ""
	}
	if p.Cap != 0 {
		n.Cap = p.Cap
	}
	if p.CapMap != nil {
		n.CapMap = p.CapMap
	}
	if p.Endpoints != nil {
		n.Endpoints = p.Endpoints
	}
	if p.Key != nil {
		n.Key = *p.Key
		if !e.acceptable(&n) || e.keyTaken(&n) {
			return
		}
	}
	if p.KeySignature != nil {
		n.KeySignature = p.KeySignature
	}
	if p.DiscoKey != nil {
		n.DiscoKey = *p.DiscoKey
	}
	if p.Online != nil {
		n.Online = p.Online
	}
	if p.LastSeen != nil {
		n.LastSeen = p.LastSeen
	}
	if p.KeyExpiry != nil {
		n.KeyExpiry = *p.KeyExpiry
	}
	e.put(&n)
}

// staleDisco reports whether the patch carries an old disco key of a node that
// went away: the peer itself may have told a newer one.
func staleDisco(known *control.Node, p *control.PeerChange) bool {
	if p.DiscoKey == nil || p.Online == nil || *p.Online || p.LastSeen == nil {
		return false
	}
	return known.LastSeen != nil && !p.LastSeen.After(*known.LastSeen)
}
