package node

import (
	"net/netip"
	"slices"
	"time"

	"github.com/ginnel/ginnel/filter"
	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/node/netmap"
	"github.com/ginnel/ginnel/node/path"
	"github.com/ginnel/ginnel/node/route"
	"github.com/ginnel/ginnel/wire/control"
)

// tunnelMTU is the MTU of the tunnel interface, in bytes (wire document node,
// section 2.1).
const tunnelMTU = 1280

// The addresses of the node's own services, never to be anybody's.
var (
	serviceIPv4 = netip.MustParseAddr("100.100.100.100")
	serviceIPv6 = netip.MustParseAddr("fd7a:115c:a1e0::53")

	meshIPv4 = netip.MustParsePrefix("100.64.0.0/10")
	meshIPv6 = netip.MustParsePrefix("fd7a:115c:a1e0::/48")
)

// usablePeers returns the peers that packets may be exchanged with: those with a
// node key that has not expired. One of which the server has not yet said where it
// is counts too: it may well speak first.
func usablePeers(m *netmap.Map, now time.Time) []*control.Node {
	if m == nil {
		return nil
	}
	var list []*control.Node
	for _, p := range m.Peers {
		if !p.Key.IsZero() && !m.Expired(p, now) {
			list = append(list, p)
		}
	}
	return list
}

// reachable reports whether there is any way to send to the peer first; without
// one it gets no routes (wire document control, section 6.3) but those to its own
// addresses in the mesh.
func reachable(p *control.Node) bool {
	return p.IsWireGuardOnly || !p.DiscoKey.IsZero() || p.HomeDERP != 0
}

// isMeshIP reports whether the prefix is one address of the mesh's own ranges,
// which is always routed, and not a service's.
func isMeshIP(p netip.Prefix) bool {
	return p.IsSingleIP() && (meshIPv4.Contains(p.Addr()) || meshIPv6.Contains(p.Addr())) &&
		p.Addr() != serviceIPv4 && p.Addr() != serviceIPv6
}

// allowedIPs returns what may come from and go to the peer. Its own addresses
// always count; other prefixes only when the user accepts routes; default routes
// only for a chosen exit node, of which there is none yet. The node's own
// addresses are never a peer's, and a peer outside tailnet lock has no routes.
func allowedIPs(p *control.Node, self *control.Node, prefs *api.Prefs) []netip.Prefix {
	var list []netip.Prefix
	for _, r := range p.RoutablePrefixes() {
		own := isMeshIP(r) || slices.Contains(p.Addresses, r)
		service := r.IsSingleIP() && (r.Addr() == serviceIPv4 || r.Addr() == serviceIPv6)
		if r.IsValid() && r.Bits() > 0 && (own || prefs.RouteAll && !p.UnsignedPeerAPIOnly) && !service && !slices.Contains(self.Addresses, r) {
			list = append(list, r.Masked())
		}
	}
	return list
}

// pathConfig says where peers are.
func pathConfig(c planeConfig) path.Config {
	out := pathConfigWithoutPeers(c)
	if c.Map != nil {
		for _, p := range usablePeers(c.Map, c.Now) {
			out.Peers = append(out.Peers, pathPeer(c.Map, p))
		}
	}
	return out
}

func pathConfigWithoutPeers(c planeConfig) path.Config {
	out := path.Config{PrivateKey: c.Key, DiscoKey: c.DiscoKey, ControlConnected: c.ControlConnected}
	if c.Map != nil {
		out.DERPMap = c.Map.DERPMap
	}
	return out
}

// pathPeer says where a peer is.
func pathPeer(m *netmap.Map, p *control.Node) path.Peer {
	return path.Peer{
		ID: p.ID, Key: p.Key, Disco: p.DiscoKey, Endpoints: p.Endpoints, HomeRegion: p.HomeDERP, Cap: p.Cap,
		Name: p.DisplayName(m.Self.MagicDNSSuffix()), WireGuardOnly: p.IsWireGuardOnly,
	}
}

// ownAddrs returns the single-address prefixes of the node itself.
func ownAddrs(m *netmap.Map) []netip.Prefix {
	var list []netip.Prefix
	if m != nil {
		for _, a := range m.Self.Addresses {
			if a.IsSingleIP() {
				list = append(list, a)
			}
		}
	}
	return list
}

// routeConfig says what the system is to know of the mesh.
func routeConfig(c planeConfig, device string) route.Config {
	out := route.Config{Device: device, MTU: tunnelMTU, Addrs: ownAddrs(c.Map)}
	if c.Map == nil {
		return out
	}
	seen := map[netip.Prefix]bool{}
	add := func(p netip.Prefix) {
		if !seen[p] {
			seen[p] = true
			out.Routes = append(out.Routes, p)
		}
	}
	for _, p := range usablePeers(c.Map, c.Now) {
		reach := reachable(p)
		for _, r := range allowedIPs(p, c.Map.Self, c.Prefs) {
			// A new peer speaks before the server has said where it is. Without a
			// route the system would send the answer elsewhere and it would be lost;
			// a mesh address is never to be found elsewhere.
			if reach || isMeshIP(r) {
				add(r)
			}
		}
	}
	for _, a := range out.Addrs {
		if a.Addr().Is4() {
			add(netip.PrefixFrom(serviceIPv4, 32))
		} else {
			add(netip.PrefixFrom(serviceIPv6, 128))
		}
	}
	slices.SortFunc(out.Routes, netip.Prefix.Compare)
	return out
}

// filterConfig says which packets may come in.
func filterConfig(c planeConfig) filter.Config {
	if c.Map == nil {
		return filter.Config{}
	}
	m := c.Map
	out := filter.Config{
		Rules: m.Filter, Local: ownAddrs(m), Self: ownIPs(m.Self), ShieldsUp: c.Prefs.ShieldsUp,
	}
	for _, p := range m.Peers {
		if p.IsJailed {
			out.Jailed = append(out.Jailed, p.Addresses...)
		}
		if p.UnsignedPeerAPIOnly {
			out.Unsigned = append(out.Unsigned, p.Addresses...)
		}
	}
	out.SourcesWithCap = func(capability string) []netip.Prefix {
		var list []netip.Prefix
		for _, p := range m.Peers {
			if p.HasCap(control.NodeCapability(capability)) {
				list = append(list, p.Addresses...)
			}
		}
		return list
	}
	return out
}
