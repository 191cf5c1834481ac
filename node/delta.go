package node

import (
	"cmp"
	"maps"
	"slices"

	"github.com/ginnel/ginnel/node/netmap"
	"github.com/ginnel/ginnel/node/path"
	"github.com/ginnel/ginnel/wire/control"
)

// onlyPaths reports whether b differs from a at most in where peers are, which is what
// nearly all updates of a large network are about. Nodes of a Map are never edited, so
// that equal pointers are equal nodes.
func onlyPaths(a, b *planeConfig) bool {
	if a.Map == nil || b.Map == nil || a.Prefs != b.Prefs || a.Expired != b.Expired || !a.Key.Equal(b.Key) {
		return false
	}
	m, n := a.Map, b.Map
	if m.Self != n.Self || !sameSlice(m.Filter, n.Filter) || len(m.Peers) != len(n.Peers) {
		return false
	}
	for i, p := range m.Peers {
		q := n.Peers[i]
		if p != q && (expired(m, p, a) != expired(n, q, b) || !sameButPath(p, q)) {
			return false
		}
	}
	return true
}

// nextPathConfig is pathConfig(*b) made of that of a, from which b differs only in where
// peers are. It takes over the list of peers of the one before.
func nextPathConfig(before path.Config, a, b *planeConfig) path.Config {
	out := pathConfigWithoutPeers(*b)
	out.Peers, out.Changed = before.Peers, []int{}
	for i, p := range b.Map.Peers {
		if p == a.Map.Peers[i] || p.Key.IsZero() || expired(b.Map, p, b) {
			continue
		}
		at, ok := slices.BinarySearchFunc(out.Peers, p.ID, func(q path.Peer, id control.NodeID) int { return cmp.Compare(q.ID, id) })
		if ok {
			out.Peers[at] = pathPeer(b.Map, p)
			out.Changed = append(out.Changed, at)
		}
	}
	return out
}

func expired(m *netmap.Map, p *control.Node, c *planeConfig) bool { return m.Expired(p, c.Now) }

// sameSlice reports whether two slices are the same memory.
func sameSlice[T any](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// sameButPath reports whether two states of a peer are the same to the tunnel, the filter
// and the routes.
func sameButPath(p, q *control.Node) bool {
	return p.ID == q.ID && p.Key == q.Key && p.IsWireGuardOnly == q.IsWireGuardOnly &&
		p.IsJailed == q.IsJailed && p.UnsignedPeerAPIOnly == q.UnsignedPeerAPIOnly && reachable(p) == reachable(q) &&
		slices.Equal(p.Addresses, q.Addresses) && slices.Equal(p.RoutablePrefixes(), q.RoutablePrefixes()) &&
		slices.Equal(p.Capabilities, q.Capabilities) &&
		maps.EqualFunc(p.CapMap, q.CapMap, func(v, w []control.RawMessage) bool {
			return slices.EqualFunc(v, w, func(x, y control.RawMessage) bool { return string(x) == string(y) })
		})
}
