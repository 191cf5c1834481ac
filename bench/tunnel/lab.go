//go:build linux

package tunnel

import (
	"context"
	"net/netip"

	"github.com/ginnel/ginnel/bench/mesh"
	"github.com/ginnel/ginnel/bench/rig"
)

// A contender is a pair of daemons that tunnel between two hosts.
type contender struct {
	name    string
	hosts   [2]*rig.Host
	addrs   [2]netip.Addr // inside the tunnel
	daemons [2]*rig.Process
	relay   *rig.Process                    // nil without one
	check   func(ctx context.Context) error // that the path is the wanted one; may be nil
}

// lab is the rig with the programs to run on it.
type lab struct {
	rig *rig.Rig
	bin mesh.Programs
}

func newLab(bin mesh.Programs) (*lab, error) {
	r, err := rig.New()
	if err != nil {
		return nil, err
	}
	return &lab{rig: r, bin: bin}, nil
}

// site is a server's host and two hosts for nodes, each linked to it.
type site struct {
	server *rig.Host
	nodes  [2]*rig.Host
}

// newSite makes hosts whose names begin with prefix. The server's address is
// 10.7n.1.1 on the link of the first node, by which the second reaches it too.
func (l *lab) newSite(prefix string) (*site, error) {
	s := &site{}
	var err error
	if s.server, err = l.rig.Host(prefix + "server"); err != nil {
		return nil, err
	}
	for i, end := range []struct{ name, addr, gateway string }{{"a", "10.71.1.2", "10.71.1.1"}, {"b", "10.71.2.2", "10.71.2.1"}} {
		if s.nodes[i], err = l.rig.Host(prefix + end.name); err != nil {
			return nil, err
		}
		if err = l.rig.Join(s.server, end.gateway+"/24", s.nodes[i], end.addr+"/24"); err != nil {
			return nil, err
		}
		// Only the server is beyond the gateway: it does not forward.
		if err = s.nodes[i].Run("ip", "route", "replace", "default", "via", end.gateway); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// serverAddr is where nodes reach the server of their site.
const serverAddr = "10.71.1.1"

// direct sets up the pairs for direct paths: all on the same two hosts, which a
// link of their own joins.
func (l *lab) direct(ctx context.Context, mtu int) ([]*contender, error) {
	s, err := l.newSite("")
	if err != nil {
		return nil, err
	}
	outer := [2]string{"10.70.0.1", "10.70.0.2"}
	if err := l.rig.Join(s.nodes[0], outer[0]+"/24", s.nodes[1], outer[1]+"/24"); err != nil {
		return nil, err
	}
	wg, err := startWireGuard(ctx, s.nodes, outer, mtu)
	if err != nil {
		return nil, err
	}
	ours, err := l.ginnel(ctx, s, false)
	if err != nil {
		return nil, err
	}
	return []*contender{wg, ours}, nil
}

// relayed sets up the pairs for relayed paths: ours and, if there are programs
// for it, the official one, each with hosts and a server of its own.
func (l *lab) relayed(ctx context.Context, official mesh.Programs) ([]*contender, error) {
	var list []*contender
	if official != "" {
		c, err := l.official(ctx, official)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	s, err := l.newSite("")
	if err != nil {
		return nil, err
	}
	ours, err := l.ginnel(ctx, s, true)
	if err != nil {
		return nil, err
	}
	return append(list, ours), nil
}

// ginnel runs our server and our nodes.
func (l *lab) ginnel(ctx context.Context, s *site, relayed bool) (*contender, error) {
	server, err := mesh.StartServer(ctx, l.bin, l.rig, s.server, "ginnel-server", serverAddr)
	if err != nil {
		return nil, err
	}
	c, err := l.pair(ctx, mesh.Ginnel, l.bin, server, s, relayed)
	if err != nil {
		return nil, err
	}
	c.name = "ginnel"
	if relayed {
		c.relay = server.Process
	}
	return c, nil
}

// official runs official nodes and their relay. What coordinates them is our
// server, without a relay.
func (l *lab) official(ctx context.Context, official mesh.Programs) (*contender, error) {
	s, err := l.newSite("o-")
	if err != nil {
		return nil, err
	}
	derper, derpMap, err := mesh.StartDerper(ctx, official, l.rig, s.server, serverAddr)
	if err != nil {
		return nil, err
	}
	server, err := mesh.StartServer(ctx, l.bin, l.rig, s.server, "o-ginnel-server", serverAddr, "--relay=false", "--stun=", "--derp-map", derpMap)
	if err != nil {
		return nil, err
	}
	c, err := l.pair(ctx, mesh.Official, official, server, s, true)
	if err != nil {
		return nil, err
	}
	c.name, c.relay = "official", derper
	return c, nil
}

// pair joins two nodes to the server.
func (l *lab) pair(ctx context.Context, kind mesh.Kind, bin mesh.Programs, server *mesh.Server, s *site, relayed bool) (*contender, error) {
	if relayed {
		for _, h := range s.nodes {
			if err := h.BlockUDP(); err != nil {
				return nil, err
			}
		}
	}
	p, err := mesh.StartPair(ctx, kind, bin, l.rig, server, s.nodes, relayed)
	if err != nil {
		return nil, err
	}
	return &contender{
		hosts:   s.nodes,
		addrs:   [2]netip.Addr{p.Nodes[0].Addr, p.Nodes[1].Addr},
		daemons: [2]*rig.Process{p.Nodes[0].Process, p.Nodes[1].Process},
		check:   p.Check,
	}, nil
}
