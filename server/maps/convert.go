package maps

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/control"
)

// TaggedUser owns every tagged node on the wire, whoever brought it in (wire
// document control, section 6.2). Its number lies far above those of users.
var TaggedUser = control.UserProfile{ID: 2147455555, LoginName: "tagged-devices", DisplayName: "Tagged Devices"}

// ownerID returns the user that nodes are told a node belongs to.
func ownerID(n *tailnet.Node) control.UserID {
	if n.Tagged() {
		return TaggedUser.ID
	}
	return n.UserID
}

// OwnerProfile returns the profile of the user that nodes are told a node
// belongs to. It is never without a LoginName, which nodes insist on.
func OwnerProfile(snap *tailnet.Snapshot, n *tailnet.Node) control.UserProfile {
	if n.Tagged() {
		return TaggedUser
	}
	if u := snap.User(n.UserID); u != nil {
		return profile(u)
	}
	return control.UserProfile{ID: n.UserID, LoginName: "unknown-user", DisplayName: "Unknown User"}
}

func profile(u *tailnet.User) control.UserProfile {
	p := control.UserProfile{ID: u.ID, LoginName: u.LoginName, DisplayName: u.DisplayName, ProfilePicURL: u.ProfilePicURL}
	if p.DisplayName == "" {
		p.DisplayName = p.LoginName
	}
	return p
}

// baseNode is what the node itself and its peers are told alike.
func (h *Hub) baseNode(n *tailnet.Node, now time.Time) *control.Node {
	online := n.Online
	return &control.Node{
		ID:           n.ID,
		StableID:     n.StableID,
		Name:         n.GivenName + "." + h.cfg.BaseDomain + ".",
		User:         ownerID(n),
		Key:          n.Key,
		KeyExpiry:    n.KeyExpiry,
		KeySignature: n.KeySignature,
		Machine:      n.Machine,
		DiscoKey:     n.Disco,
		// AllowedIPs stays nil: the same as Addresses to every version that
		// the server admits.
		Addresses:         n.Addresses(),
		Endpoints:         endpoints(n),
		HomeDERP:          n.HomeDERP,
		Created:           n.Created,
		Cap:               n.Cap,
		Tags:              n.Tags,
		Online:            &online,
		MachineAuthorized: n.Authorized,
		Expired:           n.Expired(now),
	}
}

// peerNode is a node as its peers are told of it.
func (h *Hub) peerNode(n *tailnet.Node, now time.Time) *control.Node {
	w := h.baseNode(n, now)
	w.Hostinfo = peerHostinfo(n.Hostinfo)
	w.LastSeen = lastSeen(n)
	return w
}

// selfNode is a node as it is told of itself.
func (h *Hub) selfNode(n *tailnet.Node, now time.Time) *control.Node {
	w := h.baseNode(n, now)
	w.Hostinfo = n.Hostinfo
	w.CapMap = h.cfg.SelfCaps
	online := true // it is reading this
	w.Online = &online
	return w
}

// lastSeen is sent only while a node is offline.
func lastSeen(n *tailnet.Node) *time.Time {
	if n.Online || n.LastSeen.IsZero() {
		return nil
	}
	t := n.LastSeen
	return &t
}

func endpoints(n *tailnet.Node) []netip.AddrPort {
	out := make([]netip.AddrPort, 0, len(n.Endpoints)) // not nil: an explicit empty list clears
	for _, e := range n.Endpoints {
		out = append(out, e.Addr)
	}
	return out
}

// covers reports whether peers that know the endpoints of known need not be told
// of those of now: nothing is new but the port of an address that STUN has seen
// before, and perhaps something is gone. Such changes never end behind a NAT that
// maps every destination anew, and peers that want to talk learn the newest
// endpoints by CallMeMaybe. A new address is told, since a peer without a relay has
// nothing else, and so is that there is none left. Covering is transitive: what a row of covered changes leaves is
// covered by what peers were told before it.
func covers(known, now []tailnet.Endpoint) bool {
	if len(now) == 0 {
		return len(known) == 0
	}
	for _, e := range now {
		if !slices.ContainsFunc(known, func(k tailnet.Endpoint) bool {
			return k.Addr == e.Addr || isSTUN(e) && isSTUN(k) && k.Addr.Addr() == e.Addr.Addr()
		}) {
			return false
		}
	}
	return true
}

// isSTUN reports whether a NAT may have made the endpoint's port.
func isSTUN(e tailnet.Endpoint) bool {
	return e.Type == control.EndpointSTUN || e.Type == control.EndpointSTUN4LocalPort
}

// Limits on what one node may put into the maps of all others. Nothing honest
// comes near them.
const (
	maxText     = 256 // bytes of a name or label
	maxHostKeys = 8
	maxHostKey  = 1024 // bytes
	maxServices = 8
)

// peerHostinfo is the part of a node's host information that peers act on or
// show. The rest is nobody else's business.
func peerHostinfo(full *control.Hostinfo) *control.Hostinfo {
	p := &control.Hostinfo{
		OS:             clip(full.OS),
		Hostname:       clip(full.Hostname),
		ShareeNode:     full.ShareeNode,
		WireIngress:    full.WireIngress,
		IngressEnabled: full.IngressEnabled,
		PeerRelay:      full.PeerRelay,
	}
	for _, k := range full.SSHHostKeys {
		if len(k) <= maxHostKey && len(p.SSHHostKeys) < maxHostKeys {
			p.SSHHostKeys = append(p.SSHHostKeys, k)
		}
	}
	if l := full.Location; l != nil {
		c := *l
		c.Country, c.CountryCode, c.City, c.CityCode = clip(l.Country), clip(l.CountryCode), clip(l.City), clip(l.CityCode)
		p.Location = &c
	}
	for _, s := range full.Services {
		switch s.Proto {
		case control.ServicePeerAPI4, control.ServicePeerAPI6, control.ServicePeerAPIDNS:
			if s.Description = clip(s.Description); len(p.Services) < maxServices {
				p.Services = append(p.Services, s)
			}
		}
	}
	return p
}

// clip cuts a text to what others are told of it, not inside a character.
func clip(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "")
}
