package lab

import (
	"context"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/ginnel/ginnel/lab/vnet"
	"github.com/ginnel/ginnel/node"
	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/node/netmon"
	"github.com/ginnel/ginnel/node/path"
	"github.com/ginnel/ginnel/node/tun/tuntest"
)

// tunnelMTU is that of the nodes' tunnels, in bytes.
const tunnelMTU = 1280

// batchSize is how many packets nodes handle at once; each of several receivers per node
// has a buffer of 64 KiB for every one.
const batchSize = 4

// Node is a node of the tailnet on a host of its own.
type Node struct {
	*node.Node
	*vnet.Host
	// Port is the host's interface.
	Port *vnet.Port

	w       *World
	name    string
	site    *Site
	inner   *inner
	running bool
	source  *source
}

// Node starts a node on a new host of the site and logs it in.
func (s *Site) Node(name string) *Node {
	s.w.Helper()
	n := &Node{w: s.w, name: name, site: s}
	n.Host, n.Port = s.host(name)
	n.source = newSource(n.Host)
	s.w.nodes = append(s.w.nodes, n)
	n.Start()
	return n
}

// Start starts the node, again after Stop or Crash.
func (n *Node) Start() {
	n.w.Helper()
	dev := tuntest.New(tunnelMTU, batchSize)
	file := n.w.file(n.name + ".state")
	_, err := os.Stat(file)
	fresh := err != nil
	nd, err := node.New(node.Options{
		StatePath: file, Logger: n.w.logger(n.name), Version: "lab", DialContext: n.Host.Dial,
		System: node.System{
			Device: dev, BatchSize: batchSize, Dial: n.Host.Dial, Lookup: n.Lookup, Interfaces: n.interfaces, Network: n.source,
			ListenPacket: func(network string, port uint16) (net.PacketConn, error) {
				return n.ListenUDP(network, netip.Addr{}, port)
			},
			ListenFrom: func(network string, local netip.Addr) (net.PacketConn, error) {
				return n.ListenUDP(network, local, 0)
			},
			Gateways: n.gateways,
		},
	})
	if err != nil {
		n.w.Fatalf("start %s: %v", n.name, err)
	}
	n.Node, n.running = nd, true
	n.inner = newInner(n, dev)
	if !fresh {
		return
	}
	p := nd.Prefs()
	p.ControlURL, p.WantRunning, p.Hostname = n.w.Server.URL, true, n.name
	if err := nd.Start(n.w.ctx, api.StartOptions{UpdatePrefs: p, AuthKey: n.w.Server.authKey}); err != nil {
		n.w.Fatalf("log %s in: %v", n.name, err)
	}
}

// Name returns the node's name.
func (n *Node) Name() string { return n.name }

// stop ends the node if it runs.
func (n *Node) stop() {
	if !n.running {
		return
	}
	n.running = false
	if err := n.Node.Close(); err != nil {
		n.w.Errorf("close %s: %v", n.name, err)
	}
	n.inner.wait()
}

// Resume starts the node if it does not run.
func (n *Node) Resume() {
	if !n.running {
		n.Start()
	}
}

// Stop ends the node in good order.
func (n *Node) Stop() { n.stop() }

// Crash ends the node without a word to anyone.
func (n *Node) Crash() {
	n.Kill()
	n.stop()
}

// Up reports whether the node is connected to the server and has a network map.
func (n *Node) Up() bool {
	return n.running && n.State() == api.Running && n.Map() != nil
}

// IP returns the node's address in the tailnet.
func (n *Node) IP() netip.Addr { return n.Map().Self.Addresses[0].Addr() }

// roamGap is how long a machine that changes its network is in none.
const roamGap = 50 * time.Millisecond

// Roam moves the node to another site, as a laptop goes from one wireless network to
// another: for a moment it is in none. It returns when it has arrived.
func (n *Node) Roam(s *Site) {
	n.Port.SetUp(false)
	time.Sleep(roamGap)
	addrs, gateways := s.addrs()
	n.site = s
	s.resolve(n.Host)
	n.Port.Move(s.LAN, addrs, gateways...)
	n.Port.SetUp(true)
}

// Direct returns the address by which the node reaches a peer directly, not valid if it
// does not.
func (n *Node) Direct(peer *Node) netip.AddrPort {
	for _, p := range n.Status(true).Peer {
		if p.ID == peer.Map().Self.StableID {
			a, _ := netip.ParseAddrPort(p.CurAddr)
			return a
		}
	}
	return netip.AddrPort{}
}

// DirectTo returns a condition: the node reaches the peer directly.
func (n *Node) DirectTo(peer *Node) func() bool {
	return func() bool { return n.Direct(peer).IsValid() }
}

// Ping sends an ICMP echo through the tunnel and waits at most d for the answer.
func (n *Node) Ping(peer *Node, d time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(n.w.ctx, d)
	defer cancel()
	return n.inner.ping(ctx, peer.IP())
}

// Reaches returns a condition: an ICMP echo through the tunnel is answered within a
// second.
func (n *Node) Reaches(peer *Node) func() bool {
	return func() bool {
		_, err := n.Ping(peer, time.Second)
		return err == nil
	}
}

// interfaces lists the host's interfaces for the node.
func (n *Node) interfaces() (list []path.Interface, err error) {
	for _, i := range n.Interfaces() {
		list = append(list, path.Interface{Name: i.Name, Up: i.Up, Addrs: i.Addrs})
	}
	return list, nil
}

// gateways lists the ways out for the node.
func (n *Node) gateways() (g netmon.Gateways, err error) {
	for _, i := range n.Interfaces() {
		for _, at := range i.Gateways {
			for _, a := range i.Addrs {
				if way := (netmon.Gateway{Addr: at, Self: a.Addr(), Interface: i.Name}); i.Up && a.Addr().Is4() && at.Is4() {
					g.V4 = way
				} else if i.Up && a.Addr().Is6() && at.Is6() {
					g.V6 = way
				}
			}
		}
	}
	return g, nil
}

// source tells a node of changes of its host's network.
type source struct {
	host    *vnet.Host
	changed chan struct{}
}

func newSource(h *vnet.Host) *source {
	s := &source{host: h, changed: make(chan struct{}, 1)}
	h.Watch(func() {
		select {
		case s.changed <- struct{}{}:
		default:
		}
	})
	return s
}

// State implements netmon.Source.
func (s *source) State() (*netmon.State, error) {
	st := &netmon.State{Interfaces: map[string]netmon.Interface{}}
	for i, x := range s.host.Interfaces() {
		st.Interfaces[x.Name] = netmon.Interface{Index: i + 1, Up: x.Up, MTU: x.MTU, Addrs: x.Addrs}
		if !x.Up || st.DefaultInterface != "" || len(x.Gateways) == 0 {
			continue
		}
		st.DefaultInterface = x.Name
		st.Gateway = x.Gateways[0]
		for _, a := range x.Addrs {
			st.HaveV4, st.HaveV6 = st.HaveV4 || a.Addr().Is4(), st.HaveV6 || a.Addr().Is6()
		}
	}
	return st, nil
}

// Wait implements netmon.Source.
func (s *source) Wait(ctx context.Context) error {
	select {
	case <-s.changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
