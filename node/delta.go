package node

import (
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
	if a.Map == nil || b.Map == nil || a.Prefs != b.Prefs || !a.Key.Equal(b.Key) {
		return false
	}
	m, n := a.Map, b.Map
	if m.Self != n.Self || !sameSlice(m.Filter, n.Filter) || len(m.Peers) != len(n.Peers) {
		return false
	}
	for i, p := range m.Peers {
		q := n.Peers[i]
		if expired(m, p, a) != expired(n, q, b) || p != q && !sameButPath(p, q) {
			return false
		}
	}
	return true
}

// nextPathConfig is pathConfig(*b) made of that of a, from which b differs only in where
// peers are.
func nextPathConfig(before path.Config, a, b *planeConfig) path.Config {
	out := pathConfigWithoutPeers(*b)
	out.Peers = slices.Clone(before.Peers)
	next := 0
	for i, p := range b.Map.Peers {
		if p.Key.IsZero() || expired(b.Map, p, b) {
			continue
		}
		if p != a.Map.Peers[i] {
			out.Peers[next] = pathPeer(b.Map, p)
		}
		next++
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
	return p.ID == q.ID && p.Key == q.Key && p.IsWireGuardOnly == q.IsWireGuardOnly && reachable(p) == reachable(q) &&
		slices.Equal(p.Addresses, q.Addresses) && slices.Equal(p.RoutablePrefixes(), q.RoutablePrefixes()) &&
		slices.Equal(p.Capabilities, q.Capabilities) &&
		maps.EqualFunc(p.CapMap, q.CapMap, func(v, w []control.RawMessage) bool {
			return slices.EqualFunc(v, w, func(x, y control.RawMessage) bool { return string(x) == string(y) })
		})
}
