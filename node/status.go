package node

import (
	"context"
	"net/netip"
	"runtime"
	"time"

	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/node/netmap"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// Status returns the state of the node, and of its peers when asked for.
func (n *Node) Status(peers bool) *api.Status {
	now := time.Now()
	v := n.view.Load()
	ps := n.plane.Status()
	s := &api.Status{
		Version: n.options.Version, TUN: ps.TUN, BackendState: v.State.String(), HaveNodeKey: !v.NodeKey.IsZero(),
		AuthURL: v.LoginURL, Health: healthTexts(n.problems(v, now)), ClientVersion: v.Version,
		User: map[control.UserID]control.UserProfile{},
	}
	m := v.Map
	if m == nil {
		s.Self = &api.PeerStatus{HostName: n.host.hostname, PublicKey: v.NodeKey, OS: runtime.GOOS}
		return s
	}
	if engineOn(v.State) {
		s.TailscaleIPs = ownIPs(m.Self)
	}
	s.MagicDNSSuffix = m.Self.MagicDNSSuffix()
	s.CurrentTailnet = &api.TailnetStatus{Name: m.Domain, MagicDNSSuffix: s.MagicDNSSuffix, MagicDNSEnabled: m.DNS.Proxied}
	s.CertDomains, s.ExtraRecords = m.DNS.CertDomains, m.DNS.ExtraRecords
	s.Self = peerStatus(m, m.Self, now)
	s.Self.PublicKey = v.NodeKey
	s.Self.Online = v.ControlUp
	s.Self.Relay = ps.HomeCode
	s.Self.CapMap = m.Self.CapMap
	s.Self.Addrs = []string{} // not as the server has heard of them
	for _, ep := range ps.Endpoints {
		s.Self.Addrs = append(s.Self.Addrs, ep.String())
	}
	for id, u := range m.Users {
		s.User[id] = u
	}
	if !peers {
		return s
	}
	s.Peer = make(map[key.NodePublic]*api.PeerStatus, len(m.Peers))
	for _, p := range m.Peers {
		st := peerStatus(m, p, now)
		if live, ok := ps.Peers[p.Key]; ok {
			fillPeer(st, live)
		}
		s.Peer[p.Key] = st
	}
	return s
}

// ownIPs returns the single addresses of a node.
func ownIPs(node *control.Node) []netip.Addr {
	ips := []netip.Addr{}
	for _, a := range node.Addresses {
		if a.IsSingleIP() {
			ips = append(ips, a.Addr())
		}
	}
	return ips
}

// peerStatus describes a node by the map alone.
func peerStatus(m *netmap.Map, p *control.Node, now time.Time) *api.PeerStatus {
	st := &api.PeerStatus{
		ID: p.StableID, NodeID: p.ID, PublicKey: p.Key, DNSName: p.Name, UserID: p.User, AltSharerUserID: p.Sharer,
		TailscaleIPs: ownIPs(p), AllowedIPs: p.RoutablePrefixes(), Tags: p.Tags, PrimaryRoutes: p.PrimaryRoutes,
		Addrs: []string{}, PeerAPIURL: []string{}, Created: p.Created, Online: p.Online != nil && *p.Online,
		InNetworkMap: true, Expired: m.Expired(p, now),
	}
	for _, ep := range p.Endpoints {
		st.Addrs = append(st.Addrs, ep.String())
	}
	if h := p.Hostinfo; h != nil {
		st.HostName, st.OS, st.SSHHostKeys, st.ShareeNode, st.Location = h.Hostname, h.OS, h.SSHHostKeys, h.ShareeNode, h.Location
	}
	if p.LastSeen != nil {
		st.LastSeen = *p.LastSeen
	}
	if !p.KeyExpiry.IsZero() {
		expiry := p.KeyExpiry
		st.KeyExpiry = &expiry
	}
	if m.DERPMap != nil {
		if r := m.DERPMap.Regions[p.HomeDERP]; r != nil {
			st.Relay = r.RegionCode
		}
	}
	st.ExitNodeOption = offersExit(p)
	return st
}

// offersExit reports whether the node may be used as an exit node: both default
// routes lead to it.
func offersExit(p *control.Node) bool {
	var v4, v6 bool
	for _, r := range p.RoutablePrefixes() {
		if r.Bits() == 0 {
			v4 = v4 || r.Addr().Is4()
			v6 = v6 || r.Addr().Is6()
		}
	}
	return v4 && v6
}

// fillPeer adds what the plane knows.
func fillPeer(st *api.PeerStatus, live peerState) {
	st.CurAddr, st.RxBytes, st.TxBytes = live.CurAddr, live.RxBytes, live.TxBytes
	st.LastHandshake, st.LastWrite, st.Active = live.LastHandshake, live.LastWrite, live.Active
	st.InMagicSock, st.InEngine = true, true
	if live.RelayCode != "" {
		st.Relay = live.RelayCode
	}
}

// WhoIs returns who is behind an address, or behind a node key when addr is zero.
// With a port, the address may also be the local end of a connection that the node
// forwarded to a service on this host. Nil means nobody.
func (n *Node) WhoIs(addr netip.AddrPort, k key.NodePublic) *api.WhoIsResponse {
	m := n.view.Load().Map
	if m == nil {
		return nil
	}
	node := m.NodeByKey(k)
	if addr.Addr().IsValid() {
		node = m.NodeByIP(addr.Addr())
		if node == nil && addr.Port() != 0 {
			if peer, ok := n.plane.PeerOf(addr); ok {
				node = m.NodeByIP(peer.Addr())
			}
		}
	}
	if node == nil {
		return nil
	}
	out := &api.WhoIsResponse{Node: node}
	if u, ok := m.User(node.User); ok {
		out.UserProfile = &u
	}
	for _, own := range ownIPs(node) {
		if caps := n.plane.CapsFor(own); caps != nil {
			out.CapMap = caps
			break
		}
	}
	return out
}

// Map returns the present network map, or nil.
func (n *Node) Map() *netmap.Map { return n.view.Load().Map }

// State returns the life-cycle state.
func (n *Node) State() api.State { return n.view.Load().State }

// OperatorUser returns the local user who may change things beside root, or "".
func (n *Node) OperatorUser() string { return n.view.Load().Prefs.OperatorUser }

// Version returns the long version that the node was made with.
func (n *Node) Version() string { return n.options.Version }

// DebugPaths returns the candidate paths of all peers, for people to read.
func (n *Node) DebugPaths() any { return n.plane.Debug() }

// Netcheck finds out what the network allows.
func (n *Node) Netcheck(ctx context.Context) (*api.NetcheckReport, error) {
	return n.plane.Netcheck(ctx)
}

// resolve finds the address of a node by name.
func (n *Node) resolve(name string) (netip.Addr, bool) {
	m := n.view.Load().Map
	if m == nil {
		return netip.Addr{}, false
	}
	node := m.NodeByName(name)
	if node == nil {
		return netip.Addr{}, false
	}
	ips := ownIPs(node)
	if len(ips) == 0 {
		return netip.Addr{}, false
	}
	return ips[0], true
}
