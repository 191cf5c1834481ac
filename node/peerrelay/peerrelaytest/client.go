// Package peerrelaytest has a node for tests that knows nothing but peer relays: the
// client's state machine over one socket, with a function in place of the relay regions.
package peerrelaytest

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/ginnel/ginnel/node/peerrelay/client"
	"github.com/ginnel/ginnel/wire/disco"
	"github.com/ginnel/ginnel/wire/key"
)

// Client is a node. All of its fields are set before Start.
type Client struct {
	// Node and Disco are its keys.
	Node  key.NodePublic
	Disco key.DiscoPrivate
	// Servers are the nodes that may relay.
	Servers []key.NodePublic
	// Region carries a message to a node through a relay region, opened.
	Region func(to key.NodePublic, inner []byte)
	// Peers are the nodes whose packets are opened, by disco key.
	Peers map[key.DiscoPublic]key.NodePublic
	// Alter, if not nil, sees each datagram before it is sent, and drops it by returning
	// false.
	Alter func(act *client.Action) bool

	mu      sync.Mutex
	conns   []net.PacketConn // the last one of each family sends
	machine *client.Machine
	timer   *time.Timer
	ready   map[key.NodePublic]client.Action
	failed  []client.Action
	data    chan string
	done    sync.WaitGroup
}

// New returns a client with keys of its own.
func New() *Client {
	return &Client{Node: key.NewNode().Public(), Disco: key.NewDisco(), Peers: map[key.DiscoPublic]key.NodePublic{},
		ready: map[key.NodePublic]client.Action{}, data: make(chan string, 1024)}
}

// Peer returns the client as others know it.
func (c *Client) Peer() client.Peer { return client.Peer{Node: c.Node, Disco: c.Disco.Public()} }

// Start lets the client work, over the given sockets.
func (c *Client) Start(conns ...net.PacketConn) {
	c.machine = client.New(client.Config{Self: c.Disco.Public(), Servers: c.Servers, Usable: netip.AddrPort.IsValid})
	c.timer = time.AfterFunc(time.Hour, c.tick)
	for _, pc := range conns {
		c.Use(pc)
	}
}

// Use adds a socket, which sends from now on.
func (c *Client) Use(pc net.PacketConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns = append(c.conns, pc)
	c.done.Go(func() { c.read(pc) })
}

// Close closes the sockets and waits.
func (c *Client) Close() {
	c.mu.Lock()
	for _, pc := range c.conns {
		pc.Close()
	}
	c.timer.Stop()
	c.mu.Unlock()
	c.done.Wait()
}

// drive lets an event happen and carries out what follows.
func (c *Client) drive(event func(now time.Time, acts []client.Action) []client.Action) {
	c.mu.Lock()
	acts := event(time.Now(), nil)
	d := c.machine.Deadline()
	if !d.IsZero() {
		c.timer.Reset(max(0, time.Until(d)))
	}
	var later []func()
	for i := range acts {
		if f := c.carryOut(&acts[i]); f != nil {
			later = append(later, f)
		}
	}
	c.mu.Unlock()
	for _, f := range later {
		f()
	}
}

func (c *Client) tick() { c.drive(c.machine.Tick) }

// carryOut carries out an action. What it returns is to be done without the lock.
func (c *Client) carryOut(a *client.Action) func() {
	if c.Alter != nil && !c.Alter(a) {
		return nil
	}
	inner, to, ok := a.Message(nil, c.Node)
	switch header, geneve := a.Header(); {
	case geneve:
		c.write(a.To.AddrPort, c.seal(header.Append(nil), to, inner))
	case a.Kind == client.SendAllocate:
		return func() { c.Region(a.Server, inner) }
	case ok:
		return func() { c.Region(a.Peer.Node, inner) }
	case a.Kind == client.Ready:
		c.ready[a.Peer.Node] = *a
	case a.Kind == client.GaveUp:
		c.failed = append(c.failed, *a)
	}
	return nil
}

func (c *Client) seal(dst []byte, to key.DiscoPublic, inner []byte) []byte {
	var nonce disco.Nonce
	rand.Read(nonce[:])
	return disco.AppendSeal(dst, c.Disco.Public(), c.Disco.Shared(to), nonce, inner)
}

// write sends a datagram by the newest socket that takes it.
func (c *Client) write(to netip.AddrPort, pkt []byte) {
	for i := len(c.conns) - 1; i >= 0; i-- {
		if _, err := c.conns[i].WriteTo(pkt, net.UDPAddrFromAddrPort(to)); err == nil {
			return
		}
	}
}

// Discover looks for sessions with a peer that is reached by nothing yet.
func (c *Client) Discover(peer client.Peer) {
	c.drive(func(now time.Time, acts []client.Action) []client.Action {
		return c.machine.Discover(now, peer, client.Path{}, acts)
	})
}

// FromRegion takes a message of a node that came through a relay region, opened. who is
// that node, with its disco key if it is a peer.
func (c *Client) FromRegion(who client.Peer, inner []byte) {
	typ, ver, body, err := disco.Split(inner)
	if err != nil {
		return
	}
	c.drive(func(now time.Time, acts []client.Action) []client.Action {
		switch typ {
		case disco.TypeAllocateResponse:
			var m disco.AllocateResponse
			if m.Parse(ver, body) == nil {
				acts = c.machine.Allocated(now, who.Node, &m, acts)
			}
		case disco.TypeCallMeMaybeVia:
			var m disco.CallMeMaybeVia
			if m.Parse(ver, body) == nil {
				acts = c.machine.Called(now, who, client.Path{}, &m, acts)
			}
		}
		return acts
	})
}

// read takes what comes from a socket until it is closed.
func (c *Client) read(pc net.PacketConn) {
	buf := make([]byte, 65535)
	for {
		n, from, err := pc.ReadFrom(buf)
		if err != nil {
			return
		}
		ap := from.(*net.UDPAddr).AddrPort()
		c.receive(netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), buf[:n])
	}
}

// receive takes a datagram.
func (c *Client) receive(from netip.AddrPort, pkt []byte) {
	header, ok := disco.ParseGeneve(pkt)
	if !ok {
		return
	}
	if header.Protocol == disco.ProtocolWireGuard {
		c.data <- string(pkt[disco.GeneveLen:])
		return
	}
	sealed := pkt[disco.GeneveLen:]
	sender, _ := disco.Sender(sealed)
	node, isPeer := c.Peers[sender]
	inner, err := disco.Open(nil, sealed, c.Disco.Shared(sender))
	if err != nil {
		return
	}
	typ, _, body, err := disco.Split(inner)
	if err != nil {
		return
	}
	at, who := client.Addr{AddrPort: from, VNI: header.VNI}, client.Peer{Node: node, Disco: sender}
	c.drive(func(now time.Time, acts []client.Action) []client.Action {
		var bind disco.Bind
		var ping disco.Ping
		var pong disco.Pong
		switch {
		case header.Control && typ == disco.TypeChallenge && c.machine.Expects(sender) && bind.Parse(body) == nil:
			return c.machine.Challenged(now, sender, at, &bind, acts)
		case !header.Control && isPeer && typ == disco.TypePing && ping.Parse(body) == nil:
			return c.machine.Pinged(now, who, at, ping.TxID, acts)
		case !header.Control && isPeer && typ == disco.TypePong && pong.Parse(body) == nil:
			return c.machine.Ponged(now, who, at, pong.TxID, acts)
		}
		return acts
	})
}

// Ready returns the path to a peer, once there is one.
func (c *Client) Ready(node key.NodePublic) (client.Action, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, ok := c.ready[node]
	return a, ok
}

// Lost forgets the path to a peer and all that is known of it, so that Discover starts
// anew.
func (c *Client) Lost(node key.NodePublic) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.ready, node)
	c.machine.Forget(node)
}

// Failed returns what was given up.
func (c *Client) Failed() []client.Action {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

// Send sends data to a peer through its session.
func (c *Client) Send(node key.NodePublic, data string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, ok := c.ready[node]
	if !ok {
		return fmt.Errorf("no session with %s", node.ShortString())
	}
	c.write(a.To.AddrPort, append(disco.Geneve{Protocol: disco.ProtocolWireGuard, VNI: a.To.VNI}.Append(nil), data...))
	return nil
}

// Data returns what peers sent.
func (c *Client) Data() <-chan string { return c.data }
