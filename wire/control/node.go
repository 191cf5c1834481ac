package control

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ginnel/ginnel/wire/key"
)

// Node is a node as the server describes it to itself or to a peer (section 6.3).
type Node struct {
	ID       NodeID
	StableID StableNodeID
	// Name is the full DNS name with the final dot.
	Name string
	// User is the owner; Sharer the user who shared the node, if another.
	User   UserID
	Sharer UserID `json:",omitempty"`

	Key key.NodePublic
	// KeyExpiry is zero for never.
	KeyExpiry    time.Time         `json:",omitzero"`
	KeySignature []byte            `json:",omitempty"`
	Machine      key.MachinePublic `json:",omitzero"`
	// DiscoKey is zero for a peer that cannot be used, unless IsWireGuardOnly.
	DiscoKey key.DiscoPublic `json:",omitzero"`

	// Addresses are the node's own single-address prefixes, IPv4 first.
	Addresses []netip.Prefix
	// AllowedIPs are what may be routed to the node: nil means Addresses, empty
	// but not nil means nothing.
	AllowedIPs []netip.Prefix   `json:",omitzero"`
	Endpoints  []netip.AddrPort `json:",omitempty"`
	// DERP is the home relay in an old form, used only while HomeDERP is zero.
	DERP string `json:",omitempty"`
	// HomeDERP is the home relay's region, or zero.
	HomeDERP int `json:",omitempty"`

	Hostinfo *Hostinfo `json:",omitempty"`
	Created  time.Time `json:",omitzero"`
	// Cap is the node's own capability version, or zero.
	Cap  CapabilityVersion `json:",omitempty"`
	Tags []string          `json:",omitempty"`
	// PrimaryRoutes are the subnet routes the node serves now, exit routes not
	// among them.
	PrimaryRoutes []netip.Prefix `json:",omitempty"`
	// LastSeen is nil while online or unknown.
	LastSeen *time.Time `json:",omitempty"`
	// Online is nil for unknown.
	Online *bool `json:",omitempty"`
	// MachineAuthorized must be true on the self node of an approved device.
	MachineAuthorized bool `json:",omitempty"`

	// Capabilities is deprecated; for the self node it counts as keys of CapMap.
	Capabilities []NodeCapability `json:",omitempty"`
	CapMap       NodeCapMap       `json:",omitempty"`

	// UnsignedPeerAPIOnly marks a peer outside tailnet lock.
	UnsignedPeerAPIOnly bool `json:",omitempty"`
	// ComputedName and ComputedNameWithHost are the node's own; servers do not
	// send them.
	ComputedName         string `json:",omitempty"`
	ComputedNameWithHost string `json:",omitempty"`
	DataPlaneAuditLogID  string `json:",omitempty"`
	// Expired says that the peer's key has expired.
	Expired bool `json:",omitempty"`

	// SelfNodeV4MasqAddrForThisPeer and its IPv6 twin are the addresses by which
	// that peer knows this node.
	SelfNodeV4MasqAddrForThisPeer netip.Addr `json:",omitzero"`
	SelfNodeV6MasqAddrForThisPeer netip.Addr `json:",omitzero"`
	// IsWireGuardOnly marks a plain WireGuard peer.
	IsWireGuardOnly bool `json:",omitempty"`
	// IsJailed forbids the peer to start connections to this node.
	IsJailed bool `json:",omitempty"`
	// ExitNodeDNSResolvers are for WireGuard-only exit nodes.
	ExitNodeDNSResolvers []Resolver `json:",omitempty"`
}

// DisplayName returns a short name for people: Name without the final dot and
// without suffix, the tailnet's MagicDNS suffix; without a Name, the host name;
// without that, the short form of the key.
func (n *Node) DisplayName(suffix string) string {
	name := strings.TrimSuffix(n.Name, ".")
	suffix = strings.Trim(suffix, ".")
	if suffix != "" {
		name = strings.TrimSuffix(name, "."+suffix)
	}
	if name != "" {
		return name
	}
	if n.Hostinfo != nil && n.Hostinfo.Hostname != "" {
		return n.Hostinfo.Hostname
	}
	return n.Key.ShortString()
}

// MagicDNSSuffix returns the name minus its first label and the final dot: for the
// self node, the tailnet's MagicDNS suffix. It is empty when there is none.
func (n *Node) MagicDNSSuffix() string {
	_, suffix, _ := strings.Cut(strings.TrimSuffix(n.Name, "."), ".")
	return suffix
}

// IsTagged reports whether the node belongs to tags and not to a user.
func (n *Node) IsTagged() bool { return len(n.Tags) > 0 }

// HasCap reports whether the node has the capability, in either field.
func (n *Node) HasCap(c NodeCapability) bool {
	return n.CapMap.Has(c) || slices.Contains(n.Capabilities, c)
}

// RoutablePrefixes returns AllowedIPs, or Addresses where that is nil. The caller
// must not change the result.
func (n *Node) RoutablePrefixes() []netip.Prefix {
	if n.AllowedIPs == nil {
		return n.Addresses
	}
	return n.AllowedIPs
}

// Clone returns a deep copy, nil for nil.
func (n *Node) Clone() *Node {
	if n == nil {
		return nil
	}
	c := *n
	c.KeySignature = slices.Clone(n.KeySignature)
	c.Addresses = slices.Clone(n.Addresses)
	c.AllowedIPs = slices.Clone(n.AllowedIPs)
	c.Endpoints = slices.Clone(n.Endpoints)
	c.Hostinfo = n.Hostinfo.Clone()
	c.Tags = slices.Clone(n.Tags)
	c.PrimaryRoutes = slices.Clone(n.PrimaryRoutes)
	c.LastSeen = clonePtr(n.LastSeen)
	c.Online = clonePtr(n.Online)
	c.Capabilities = slices.Clone(n.Capabilities)
	c.CapMap = cloneCapMap(n.CapMap)
	c.ExitNodeDNSResolvers = cloneResolvers(n.ExitNodeDNSResolvers)
	return &c
}

// clonePtr returns a pointer to a copy of what p points to, nil for nil.
func clonePtr[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}
