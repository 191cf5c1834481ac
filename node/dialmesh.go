package node

import (
	"context"
	"fmt"
	"net"
	"net/netip"
)

// Dial connects to a host of the mesh, by name or address. The network is "tcp" or
// "udp".
func (n *Node) Dial(ctx context.Context, network, host string, port uint16) (net.Conn, error) {
	ip, err := netip.ParseAddr(host)
	if err != nil {
		var ok bool
		if ip, ok = n.resolve(host); !ok {
			return nil, fmt.Errorf("no node has the name %q", host)
		}
	}
	v := n.view.Load()
	if v.Map == nil || !engineOn(v.State) {
		return nil, fmt.Errorf("not connected: the state is %s", v.State)
	}
	if v.Map.PeerForIP(ip) == nil && v.Map.NodeByIP(ip) == nil {
		return nil, fmt.Errorf("no peer has the address %s", ip)
	}
	return n.plane.Dial(ctx, network, netip.AddrPortFrom(ip, port))
}
