package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginnel/ginnel/lab/vnet"
	"github.com/ginnel/ginnel/node/peerrelay"
	"github.com/ginnel/ginnel/node/peerrelay/client"
	"github.com/ginnel/ginnel/node/peerrelay/peerrelaytest"
	"github.com/ginnel/ginnel/wire/disco"
	"github.com/ginnel/ginnel/wire/key"
)

// relayedPair is two nodes that nothing but a peer relay can connect, in an internet of
// their own.
type relayedPair struct {
	*testing.T
	net    *vnet.Network
	core   *vnet.Segment
	server *peerrelay.Server
	relay  key.NodePublic
	x, y   *peerrelaytest.Client
	hosts  map[*peerrelaytest.Client]*vnet.Host
	ports  map[*peerrelaytest.Client]*vnet.Port
}

// hop is the latency of each line.
var hop = vnet.Link{Latency: 10 * time.Millisecond}

// withRelay runs a test in a bubble, with a peer relay on an open host.
func withRelay(t *testing.T, seed uint64, f func(p *relayedPair)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &relayedPair{T: t, net: vnet.New(seed), relay: key.NewNode().Public(),
			hosts: map[*peerrelaytest.Client]*vnet.Host{}, ports: map[*peerrelaytest.Client]*vnet.Port{}}
		defer p.net.Close()
		p.core = p.net.Internet("internet")
		open := p.net.Host("relay")
		open.Plug(p.core, hop, netip.MustParsePrefix("198.51.100.1/24"), netip.MustParsePrefix("2001:db8::1/64"))
		s, err := peerrelay.Start(peerrelay.Options{Config: peerrelay.Config{Key: key.NewDisco()}, Port: 7777,
			Listen: func(network string, port uint16) (net.PacketConn, error) {
				return open.ListenUDP(network, netip.Addr{}, port)
			}})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		p.server = s
		var own []netip.Addr
		for _, i := range open.Interfaces() {
			for _, a := range i.Addrs {
				own = append(own, a.Addr())
			}
		}
		s.SetAddresses(peerrelay.Addresses{Interfaces: own})
		f(p)
	})
}

// behind makes a node behind a NAT, plugged in and with a socket.
func (p *relayedPair) behind(name string, n byte, kind vnet.NAT) *peerrelaytest.Client {
	p.Helper()
	c, h := peerrelaytest.New(), p.net.Host(name)
	lan, gateway := p.home(name, n, kind)
	p.hosts[c] = h
	p.ports[c] = h.Plug(lan, vnet.Link{}, netip.MustParsePrefix("192.168.1.10/24")).Via(gateway)
	return c
}

// home makes a LAN behind a NAT.
func (p *relayedPair) home(name string, n byte, kind vnet.NAT) (*vnet.Segment, netip.Addr) {
	r, lan := p.net.Router(name+"'s router"), p.net.LAN(name+"'s LAN")
	r.Outside(p.core, hop, netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, n}), 24))
	r.Inside(lan, netip.MustParsePrefix("192.168.1.1/24"))
	r.Translate(kind)
	return lan, netip.MustParseAddr("192.168.1.1")
}

// open makes a node with a public IPv6 address only.
func (p *relayedPair) open(name string) *peerrelaytest.Client {
	c, h := peerrelaytest.New(), p.net.Host(name)
	p.hosts[c] = h
	p.ports[c] = h.Plug(p.core, hop, netip.MustParsePrefix("2001:db8::99/64"))
	return c
}

// socket opens a socket for a node.
func (p *relayedPair) socket(c *peerrelaytest.Client, network string) net.PacketConn {
	p.Helper()
	pc, err := p.hosts[c].ListenUDP(network, netip.Addr{}, 0)
	if err != nil {
		p.Fatal(err)
	}
	return pc
}

// start lets both nodes know each other. Messages through relay regions take 40 ms.
func (p *relayedPair) start(x, y *peerrelaytest.Client, networks ...string) (stop func()) {
	p.x, p.y = x, y
	pair := [2]*peerrelaytest.Client{x, y}
	for i, c := range pair {
		other := pair[1-i]
		c.Servers = []key.NodePublic{p.relay}
		c.Peers[other.Disco.Public()] = other.Node
		c.Region = func(to key.NodePublic, inner []byte) {
			time.AfterFunc(40*time.Millisecond, func() {
				if to != p.relay {
					other.FromRegion(c.Peer(), inner)
				} else if answer := p.answer(c, inner); answer != nil {
					time.AfterFunc(40*time.Millisecond, func() { c.FromRegion(client.Peer{Node: p.relay}, answer) })
				}
			})
		}
		c.Start(p.socket(c, networks[i]))
	}
	return func() {
		x.Close()
		y.Close()
	}
}

// answer answers an allocation request at the relay's node.
func (p *relayedPair) answer(c *peerrelaytest.Client, inner []byte) []byte {
	_, ver, body, _ := disco.Split(inner)
	var request disco.AllocateRequest
	if err := request.Parse(ver, body); err != nil {
		p.Error(err)
		return nil
	}
	r, err := p.server.Answer(c.Disco.Public(), &request, func(k key.DiscoPublic) bool { return k == c.Disco.Public() })
	if errors.Is(err, peerrelay.ErrNotReady) {
		return nil
	}
	if err != nil {
		p.Error(err)
		return nil
	}
	return r.Append(nil)
}

// connected waits until both have a path, and returns how long that took.
func (p *relayedPair) connected(limit time.Duration) time.Duration {
	p.Helper()
	began := time.Now()
	for {
		_, there := p.x.Ready(p.y.Node)
		_, back := p.y.Ready(p.x.Node)
		if there && back {
			return time.Since(began)
		}
		if time.Since(began) > limit {
			p.Fatalf("no path after %v; given up: %v and %v\n%s", limit, p.x.Failed(), p.y.Failed(), p.net.Last(30))
		}
		time.Sleep(time.Millisecond)
	}
}

// arrives reports whether data from one node reaches the other.
func (p *relayedPair) arrives(from, to *peerrelaytest.Client, text string) bool {
	p.Helper()
	if err := from.Send(to.Node, text); err != nil {
		p.Fatal(err)
	}
	select {
	case got := <-to.Data():
		return got == text
	case <-time.After(time.Second):
		return false
	}
}

// talk has both nodes send.
func (p *relayedPair) talk(text string) {
	p.Helper()
	if !p.arrives(p.x, p.y, text+" there") || !p.arrives(p.y, p.x, text+" back") {
		p.Fatalf("%s: data does not arrive\n%s", text, p.net.Last(20))
	}
}

// TestPeerRelay lets two nodes behind symmetric NATs talk through a peer relay.
func TestPeerRelay(t *testing.T) {
	withRelay(t, 1, func(p *relayedPair) {
		stop := p.start(p.behind("alice", 1, vnet.Symmetric), p.behind("bob", 2, vnet.Symmetric), "udp4", "udp4")
		defer stop()
		p.x.Discover(p.y.Peer())
		// Request and response 80 ms, the call 40 ms, bind, challenge and the answer with a
		// ping to the peer 100 ms, whose ping and our pong 80 ms.
		if took := p.connected(5 * time.Second); took > 320*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		a, _ := p.x.Ready(p.y.Node)
		if a.Latency.Round(time.Millisecond) != 80*time.Millisecond || a.To.AddrPort != netip.MustParseAddrPort("198.51.100.1:7777") || a.To.VNI != 1 {
			t.Errorf("path %v VNI %d, %v", a.To.AddrPort, a.To.VNI, a.Latency)
		}
		for n := range 10 {
			p.talk(fmt.Sprint("packet ", n))
		}
		s := p.server.Sessions()
		if len(s) != 1 || !s[0].Open || s[0].Clients[0].Addr.Addr() == s[0].Clients[1].Addr.Addr() {
			t.Errorf("sessions %+v", s)
		}
	})
}

// TestPeerRelayAcrossFamilies has one node that knows IPv4 only and one IPv6 only.
func TestPeerRelayAcrossFamilies(t *testing.T) {
	withRelay(t, 2, func(p *relayedPair) {
		stop := p.start(p.behind("alice", 1, vnet.Symmetric), p.open("bob"), "udp4", "udp6")
		defer stop()
		p.x.Discover(p.y.Peer())
		p.y.Discover(p.x.Peer())
		p.connected(5 * time.Second)
		p.talk("across")
		c := p.server.Counters()
		if c.Forwarded[peerrelay.UDP4][peerrelay.UDP6].Packets == 0 || c.Forwarded[peerrelay.UDP6][peerrelay.UDP4].Packets == 0 {
			t.Errorf("counted %+v", c.Forwarded)
		}
		if len(p.server.Sessions()) != 1 {
			t.Error("two requests made two sessions")
		}
	})
}

// TestPeerRelayRoaming moves a node to another NAT: its packets are dropped until it binds
// again, and then the other one need do nothing.
func TestPeerRelayRoaming(t *testing.T) {
	withRelay(t, 3, func(p *relayedPair) {
		stop := p.start(p.behind("alice", 1, vnet.Symmetric), p.behind("bob", 2, vnet.Symmetric), "udp4", "udp4")
		defer stop()
		p.x.Discover(p.y.Peer())
		p.connected(5 * time.Second)
		p.talk("before")
		lan, gateway := p.home("the café", 3, vnet.Symmetric)
		p.ports[p.x].Move(lan, []netip.Prefix{netip.MustParsePrefix("192.168.1.77/24")}, gateway)
		if p.arrives(p.x, p.y, "from an address that proved nothing") {
			t.Error("data from another address was forwarded")
		}
		if n := p.server.Counters().Dropped[peerrelay.WrongSource]; n != 1 {
			t.Errorf("%d packets of wrong sources counted", n)
		}
		old, _ := p.y.Ready(p.x.Node)
		p.x.Lost(p.y.Node)
		p.x.Discover(p.y.Peer())
		p.connected(5 * time.Second)
		p.talk("after")
		s := p.server.Sessions()
		now, _ := p.y.Ready(p.x.Node)
		moved := netip.MustParseAddr("203.0.113.3")
		if len(s) != 1 || now.To != old.To || s[0].Clients[0].Addr.Addr() != moved && s[0].Clients[1].Addr.Addr() != moved {
			t.Errorf("sessions %+v, path %v, before %v", s, now.To, old.To)
		}
	})
}

// TestPeerRelayExpiry lets a session end because one side is silent, and begin again.
func TestPeerRelayExpiry(t *testing.T) {
	withRelay(t, 4, func(p *relayedPair) {
		stop := p.start(p.behind("alice", 1, vnet.Symmetric), p.behind("bob", 2, vnet.Symmetric), "udp4", "udp4")
		defer stop()
		p.x.Discover(p.y.Peer())
		p.connected(5 * time.Second)
		for range 20 { // for 20 minutes
			time.Sleep(time.Minute)
			p.talk("still there")
		}
		for range 6 {
			time.Sleep(time.Minute)
			if err := p.x.Send(p.y.Node, "are you there?"); err != nil {
				t.Fatal(err)
			}
		}
		for len(p.y.Data()) > 0 {
			<-p.y.Data()
		}
		if n := len(p.server.Sessions()); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
		if p.arrives(p.x, p.y, "over") {
			t.Error("an expired session still forwards")
		}
		p.x.Lost(p.y.Node)
		p.y.Lost(p.x.Node)
		p.x.Discover(p.y.Peer())
		p.connected(5 * time.Second)
		p.talk("again")
		if s := p.server.Sessions(); len(s) != 1 || s[0].VNI != 2 || s[0].Lamport != 2 {
			t.Errorf("sessions %+v", s)
		}
	})
}

// TestPeerRelayNotReady asks a server that learns its addresses two seconds later.
func TestPeerRelayNotReady(t *testing.T) {
	withRelay(t, 5, func(p *relayedPair) {
		p.server.SetAddresses(peerrelay.Addresses{})
		stop := p.start(p.behind("alice", 1, vnet.Symmetric), p.behind("bob", 2, vnet.Symmetric), "udp4", "udp4")
		defer stop()
		p.x.Discover(p.y.Peer())
		time.AfterFunc(2*time.Second, func() {
			p.server.SetAddresses(peerrelay.Addresses{Static: []netip.AddrPort{netip.MustParseAddrPort("198.51.100.1:7777")}})
		})
		if took := p.connected(5 * time.Second); took < client.AllocateRetry {
			t.Errorf("it took only %v", took)
		}
		p.talk("late")
	})
}

// TestPeerRelayLoss has lines that lose one datagram in ten.
func TestPeerRelayLoss(t *testing.T) {
	for seed := range uint64(10) {
		withRelay(t, seed, func(p *relayedPair) {
			stop := p.start(p.behind("alice", 1, vnet.Symmetric), p.behind("bob", 2, vnet.Symmetric), "udp4", "udp4")
			defer stop()
			for _, port := range p.ports {
				port.SetLink(func(l *vnet.Link) { l.Loss = 0.1 })
			}
			p.x.Discover(p.y.Peer())
			p.connected(25 * time.Second)
		})
	}
}
