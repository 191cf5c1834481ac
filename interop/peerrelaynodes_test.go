package interop

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"
	"testing"

	"tailscale.com/client/local"
	"tailscale.com/tailcfg"

	"github.com/ginnel/ginnel/node/peerrelay"
	"github.com/ginnel/ginnel/wire/disco"
	"github.com/ginnel/ginnel/wire/key"
)

// relayingNode is a node of the official test server that is nothing but our peer relay: it
// answers allocation requests that come through the relay region.
type relayingNode struct {
	*testing.T
	control *theirServer
	server  *peerrelay.Server
	disco   key.DiscoPrivate
}

// startRelayingNode puts the node into the network map and lets it answer.
func startRelayingNode(t *testing.T, c *theirServer, region *testRelay) *relayingNode {
	t.Helper()
	s, err := peerrelay.Start(peerrelay.Options{Config: peerrelay.Config{Key: key.NewDisco()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	s.SetAddresses(peerrelay.Addresses{Static: []netip.AddrPort{netip.AddrPortFrom(loopback4, s.Port(peerrelay.UDP4))}})
	n := &relayingNode{T: t, control: c, server: s, disco: key.NewDisco()}
	node := key.NewNode()
	conn := dialOurs(t, region, clientOptions{key: node})
	t.Cleanup(conn.close)
	go func() {
		for e := range conn.events {
			if answer := n.answer(e.peer, e.data); answer != nil {
				if err := conn.send(e.peer, answer); err != nil {
					return
				}
			}
		}
	}()
	addr := netip.MustParsePrefix("100.64.99.99/32")
	c.AddFakeNode() // the server makes its table of nodes with the first
	c.UpdateNode(&tailcfg.Node{ID: 9999, StableID: "relaying", Name: "relaying.example.net.", User: 9999, Key: theirNode(node.Public()),
		Machine: theirMachine(key.NewMachine().Public()), DiscoKey: theirDisco(n.disco.Public()), HomeDERP: testRegion,
		Cap: tailcfg.CurrentCapabilityVersion, Addresses: []netip.Prefix{addr}, AllowedIPs: []netip.Prefix{addr}, MachineAuthorized: true,
		Hostinfo: (&tailcfg.Hostinfo{Hostname: "relaying"}).View()})
	return n
}

// answer answers what came from a peer, nil for what is no allocation request.
func (n *relayingNode) answer(from key.NodePublic, pkt []byte) []byte {
	sender, ok := disco.Sender(pkt)
	peer := n.control.Node(theirNode(from))
	if !ok || peer == nil || peer.DiscoKey != theirDisco(sender) {
		return nil
	}
	inner, err := disco.Open(nil, pkt, n.disco.Shared(sender))
	if err != nil {
		return nil
	}
	typ, ver, body, err := disco.Split(inner)
	var request disco.AllocateRequest
	if err != nil || typ != disco.TypeAllocateRequest || request.Parse(ver, body) != nil {
		return nil
	}
	r, err := n.server.Answer(sender, &request, func(key.DiscoPublic) bool { return true })
	if err != nil {
		n.Error(err)
		return nil
	}
	var nonce disco.Nonce
	rand.Read(nonce[:])
	return disco.AppendSeal(nil, n.disco.Public(), n.disco.Shared(sender), nonce, r.Append(nil))
}

// TestOfficialNodesOurPeerRelay has two official nodes that find no direct path talk through
// our peer relay.
func TestOfficialNodesOurPeerRelay(t *testing.T) {
	region := startOurRelay(t, noMesh)
	c := startTheirServer(t, region)
	c.PeerRelayGrants = true
	n := startRelayingNode(t, c, region)
	a := joinOfficial(t, c.url, theirAuthKey, "a", relayed)
	b := joinOfficial(t, c.url, theirAuthKey, "b", relayed)
	eventually(t, "a ping goes through the peer relay", func() error {
		var via string
		var err error
		a.do("ping", func(ctx context.Context, lc *local.Client) error {
			r, pingErr := lc.Ping(ctx, b.ip4, tailcfg.PingDisco)
			if pingErr != nil {
				err = pingErr
				return nil
			}
			via = r.PeerRelay
			return nil
		})
		if err != nil {
			return err
		}
		want := fmt.Sprintf("127.0.0.1:%d:vni:", n.server.Port(peerrelay.UDP4))
		if len(via) < len(want) || via[:len(want)] != want {
			return fmt.Errorf("it went through %q, sessions %+v, counters %+v", via, n.server.Sessions(), n.server.Counters())
		}
		return nil
	})
	before := n.server.Counters().Forwarded[peerrelay.UDP4][peerrelay.UDP4]
	a.echo(b.ip4)
	b.echo(a.ip4)
	after := n.server.Counters().Forwarded[peerrelay.UDP4][peerrelay.UDP4]
	// Each echo is 1 MiB there and back.
	if n := after.Bytes - before.Bytes; n < 4<<20 {
		t.Errorf("only %d bytes went through the peer relay", n)
	}
	if s := n.server.Sessions(); len(s) != 1 || !s[0].Open {
		t.Errorf("sessions %+v", s)
	}
}
