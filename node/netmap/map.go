package netmap

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// oldestTrustedTime is 2023-01-10: a control time before it means that the
// server's clock is not set, and that expiry cannot be judged (wire document
// control, section 5.5).
var oldestTrustedTime = time.Unix(1673373066, 0)

// maxSkew is how far the server's clock may differ from ours before its time
// is used instead of ours.
const maxSkew = time.Minute

// Map is the tailnet as seen by one node at one moment. Nobody may change a Map
// or anything it points to; a newer one shares what did not change.
type Map struct {
	// Self is the node itself, never nil.
	Self *control.Node
	// Peers are all other nodes, sorted by ID.
	Peers []*control.Node

	DERPMap *control.DERPMap   // nil until the server sent one
	DNS     *control.DNSConfig // never nil
	Domain  string             // display name of the tailnet

	// Filter is all packet filter rules in force, in order. Nil means that the
	// server sent none and everything inbound is to be blocked.
	Filter []control.FilterRule

	Users           map[control.UserID]control.UserProfile
	SSHPolicy       *control.SSHPolicy // nil until the server sent one: SSH denied
	CollectServices bool
	Health          []string
	DisplayMessages map[control.DisplayMessageID]*control.DisplayMessage
	TKAInfo         *control.TKAInfo
	AuditLogID      string // of the tailnet, "" when there is none

	// Skew is to be added to the local clock to get the server's; zero while
	// the two agree to a minute.
	Skew time.Duration
	// ClockTrusted is false when the server's clock is plainly not set, so that
	// nobody is to be taken as expired because of it.
	ClockTrusted bool

	filters map[string][]control.FilterRule
	lookup  *lookup
}

// Peer returns the peer with the ID, or nil.
func (m *Map) Peer(id control.NodeID) *control.Node {
	if i, ok := findPeer(m.Peers, id); ok {
		return m.Peers[i]
	}
	return nil
}

// PeerByKey returns the peer with the node key, or nil.
func (m *Map) PeerByKey(k key.NodePublic) *control.Node {
	return m.Peer(m.lookup.get().byKey[k])
}

// NodeByKey returns the peer or the self node with the node key, or nil.
func (m *Map) NodeByKey(k key.NodePublic) *control.Node {
	if m.Self.Key == k {
		return m.Self
	}
	return m.PeerByKey(k)
}

// NodeByIP returns the node, self included, one of whose own addresses is ip,
// or nil.
func (m *Map) NodeByIP(ip netip.Addr) *control.Node {
	ip = ip.Unmap()
	for _, p := range m.Self.Addresses {
		if p.IsSingleIP() && p.Addr() == ip {
			return m.Self
		}
	}
	return m.Peer(m.lookup.get().byIP[ip])
}

// PeerForIP returns the peer that packets to ip go to: the one that has the
// address, or else the one with the longest prefix in its AllowedIPs. Nil means
// that there is none.
func (m *Map) PeerForIP(ip netip.Addr) *control.Node {
	ip = ip.Unmap()
	l := m.lookup.get()
	if id, ok := l.byIP[ip]; ok {
		return m.Peer(id)
	}
	if id, ok := l.routes.Lookup(ip); ok {
		return m.Peer(id)
	}
	return nil
}

// NodeByName returns the node, self included, with the DNS name: the full name
// with or without final dot, or the first label alone, in any case. Nil means
// that there is none.
func (m *Map) NodeByName(name string) *control.Node {
	name = canonicalName(name)
	if name == "" {
		return nil
	}
	suffix := m.Self.MagicDNSSuffix()
	for _, candidate := range [2]string{name, name + "." + canonicalName(suffix)} {
		if candidate == canonicalName(m.Self.Name) {
			return m.Self
		}
		if id, ok := m.lookup.get().byName[candidate]; ok {
			return m.Peer(id)
		}
	}
	return nil
}

// User returns the profile of a user and whether the server sent one.
func (m *Map) User(id control.UserID) (control.UserProfile, bool) {
	u, ok := m.Users[id]
	return u, ok
}

// Expired reports whether the node's key has expired at local time now.
func (m *Map) Expired(n *control.Node, now time.Time) bool {
	if n.Expired {
		return true
	}
	if n.KeyExpiry.IsZero() || !m.ClockTrusted {
		return false
	}
	return now.Add(m.Skew).After(n.KeyExpiry)
}

// NextExpiry returns the first moment after now, on the local clock, at which
// the key of some node of the map expires, and false when none will.
func (m *Map) NextExpiry(now time.Time) (time.Time, bool) {
	var next time.Time
	if !m.ClockTrusted {
		return next, false
	}
	consider := func(n *control.Node) {
		at := n.KeyExpiry.Add(-m.Skew)
		if n.Expired || n.KeyExpiry.IsZero() || !at.After(now) {
			return
		}
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	consider(m.Self)
	for _, p := range m.Peers {
		consider(p)
	}
	return next, !next.IsZero()
}

// Response returns the map as the first frame of a stream, from which a Builder
// makes an equal Map. It shares the map's data, so it is not to be changed.
func (m *Map) Response() *control.MapResponse {
	r := &control.MapResponse{
		Node:                      m.Self,
		Peers:                     m.Peers,
		DERPMap:                   m.DERPMap,
		DNSConfig:                 m.DNS,
		Domain:                    m.Domain,
		PacketFilters:             m.filters,
		SSHPolicy:                 m.SSHPolicy,
		CollectServices:           control.OptBoolOf(m.CollectServices),
		Health:                    m.Health,
		DisplayMessages:           m.DisplayMessages,
		TKAInfo:                   m.TKAInfo,
		DomainDataPlaneAuditLogID: m.AuditLogID,
	}
	for _, u := range m.Users {
		r.UserProfiles = append(r.UserProfiles, u)
	}
	slices.SortFunc(r.UserProfiles, func(a, b control.UserProfile) int { return cmp.Compare(a.ID, b.ID) })
	return r
}

// findPeer returns where the ID is, or would be, in peers.
func findPeer(peers []*control.Node, id control.NodeID) (int, bool) {
	return slices.BinarySearchFunc(peers, id, func(n *control.Node, id control.NodeID) int {
		return cmp.Compare(n.ID, id)
	})
}
