package node

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/wire/control"
)

// maxPingSize is the largest disco ping, in bytes.
const maxPingSize = 65535 - 100

// Ping pings a peer once and waits for the answer or the end of ctx. What goes
// wrong with the peer is in the result; the error is for what cannot be tried.
func (n *Node) Ping(ctx context.Context, ip netip.Addr, kind api.PingType, size int) (*api.PingResult, error) {
	v := n.view.Load()
	out := &api.PingResult{IP: ip.String()}
	switch {
	case size < 0 || size > maxPingSize:
		return nil, fmt.Errorf("ping size %d is out of range", size)
	case v.Map == nil || !engineOn(v.State):
		out.Err = "not connected: the state is " + v.State.String()
		return out, nil
	case slices.Contains(ownIPs(v.Map.Self), ip):
		out.IsLocalIP, out.NodeIP, out.NodeName = true, ip.String(), v.Map.Self.DisplayName(v.Map.Self.MagicDNSSuffix())
		out.Err = fmt.Sprintf("%s is local Ginnel IP", ip)
		return out, nil
	}
	if kind == api.PingPeerAPI {
		out.Err = "this node has no peer API yet"
		return out, nil
	}
	peer := n.awaitPeer(ctx, ip)
	if peer == nil {
		out.Err = fmt.Sprintf("no peer has the address %s", ip)
		return out, nil
	}
	result, err := n.plane.Ping(ctx, peer, ip, kind, size)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		result.Err = err.Error()
	}
	result.IP = ip.String()
	result.NodeName = peer.DisplayName(v.Map.Self.MagicDNSSuffix())
	result.NodeIP = ip.String()
	if ips := ownIPs(peer); len(ips) > 0 {
		result.NodeIP = ips[0].String()
	}
	return &result, nil
}

// patienceForPeer is how long a ping waits for the peer, or for a way to it, to appear:
// the server may just be about to tell of a new peer or where it is, or the network may
// be changing. It is less than the command line waits, which thus hears the reason.
const patienceForPeer = 4 * time.Second

// peerPoll is the time between two looks for it.
const peerPoll = 50 * time.Millisecond

// awaitPeer returns the peer for ip, waiting a while for one that has just joined. Nil
// means that there is none.
func (n *Node) awaitPeer(ctx context.Context, ip netip.Addr) *control.Node {
	for begin := time.Now(); ; {
		if m := n.view.Load().Map; m != nil {
			if peer := m.PeerForIP(ip); peer != nil {
				return peer
			}
		}
		if time.Since(begin) > patienceForPeer {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-n.ctx.Done():
			return nil
		case <-time.After(peerPoll):
		}
	}
}
