package netmap

import (
	"net/netip"
	"strings"
	"sync"

	"github.com/gaissmai/bart"

	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// lookup finds peers by what does not change in most deltas: key, addresses,
// routes, name. It is built at the first question and shared by all Maps in
// which those are the same.
type lookup struct {
	peers []*control.Node
	once  sync.Once
	index index
}

type index struct {
	byKey  map[key.NodePublic]control.NodeID
	byIP   map[netip.Addr]control.NodeID
	byName map[string]control.NodeID
	routes bart.Table[control.NodeID]
}

func newLookup(peers []*control.Node) *lookup { return &lookup{peers: peers} }

func (l *lookup) get() *index {
	l.once.Do(l.build)
	return &l.index
}

func (l *lookup) build() {
	x := &l.index
	x.byKey = make(map[key.NodePublic]control.NodeID, len(l.peers))
	x.byIP = make(map[netip.Addr]control.NodeID, 2*len(l.peers))
	x.byName = make(map[string]control.NodeID, len(l.peers))
	for _, p := range l.peers {
		x.byKey[p.Key] = p.ID
		for _, a := range p.Addresses {
			if a.IsSingleIP() {
				x.byIP[a.Addr()] = p.ID
			}
		}
		for _, r := range p.RoutablePrefixes() {
			x.routes.Insert(r.Masked(), p.ID)
		}
		if name := canonicalName(p.Name); name != "" {
			x.byName[name] = p.ID
		}
	}
	l.peers = nil
}

// sameLookup reports whether a and b are found by the same questions.
func sameLookup(a, b *control.Node) bool {
	return a.Key == b.Key && a.Name == b.Name &&
		equalPrefixes(a.Addresses, b.Addresses) && equalPrefixes(a.RoutablePrefixes(), b.RoutablePrefixes())
}

func equalPrefixes(a, b []netip.Prefix) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// canonicalName returns a DNS name in lower case without the final dot.
func canonicalName(name string) string {
	return strings.ToLower(strings.TrimSuffix(name, "."))
}
