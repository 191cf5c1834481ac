//go:build linux

package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/ginnel/ginnel/e2e/lab"
)

// lan is a server and nodes on one network.
type lan struct {
	lab    *lab.Lab
	sw     *lab.Switch
	server *server
	key    string
}

func newLAN(t *testing.T) *lan {
	t.Helper()
	l := lab.New(t)
	sw := l.Switch("lan")
	host := l.Host("server")
	host.Plug(sw, "10.9.0.1/24", "fd09::1/64")
	s := startServer(t, l, host, "10.9.0.1")
	return &lan{lab: l, sw: sw, server: s, key: s.authKey("--reusable")}
}

// host makes a machine on the network with the given last byte in its address.
func (n *lan) host(name, last string) *lab.Host {
	h := n.lab.Host(name)
	h.Plug(n.sw, "10.9.0."+last+"/24", "fd09::"+last+"/64")
	h.DefaultRoute("10.9.0.1")
	return h
}

// pair joins two nodes, which serve echoes.
func (n *lan) pair(t *testing.T) (a, b *node) {
	t.Helper()
	a = join(t, n.lab, n.server, n.host("a", "11"), n.key)
	b = join(t, n.lab, n.server, n.host("b", "12"), n.key)
	serveEcho(t, a.host)
	serveEcho(t, b.host)
	return a, b
}

func checkStreams(t *testing.T, a, b *node) {
	t.Helper()
	for _, to := range []netip.Addr{b.ip4, b.ip6} {
		openStream(t, a, to).bulk(2 << 20)
	}
	for _, to := range []netip.Addr{a.ip4, a.ip6} {
		openStream(t, b, to).bulk(2 << 20)
	}
}

func TestDirect(t *testing.T) {
	n := newLAN(t)
	a, b := n.pair(t)
	a.waitReach(b)
	b.waitReach(a)
	// Either family is direct; which one wins is the nodes' business.
	a.waitPath(b, "10.9.0.12:", "[fd09::12]:")
	b.waitPath(a, "10.9.0.11:", "[fd09::11]:")
	checkStreams(t, a, b)
	out := a.mustCLI("whois", b.ip4.String())
	if !strings.Contains(out, "b") || !strings.Contains(out, b.ip4.String()) {
		t.Errorf("whois of b says:\n%s", out)
	}
	if out := a.mustCLI("status"); !strings.Contains(out, "direct") {
		t.Errorf("status does not say that b is direct:\n%s", out)
	}
}

// TestFirstPacket has fresh nodes send exactly one packet each to a peer, the moment
// they are up, and expects the answer: nothing may be lost while a path is being
// found, or while the peer hears of the new node.
func TestFirstPacket(t *testing.T) {
	n := newLAN(t)
	a := join(t, n.lab, n.server, n.host("a", "11"), n.key)
	for i := range 5 {
		fresh := join(t, n.lab, n.server, n.host(fmt.Sprintf("fresh%d", i), fmt.Sprint(20+i)), n.key)
		if err := fresh.host.Ping(a.ip4); err != nil {
			t.Errorf("node %d: %v", i, err)
		}
	}
}

func TestRelayedWhenUDPIsBlocked(t *testing.T) {
	t.Parallel()
	n := newLAN(t)
	hostA := n.host("a", "11")
	hostA.BlockUDP()
	a := join(t, n.lab, n.server, hostA, n.key)
	b := join(t, n.lab, n.server, n.host("b", "12"), n.key)
	serveEcho(t, a.host)
	serveEcho(t, b.host)
	a.waitReach(b)
	a.waitPath(b, "DERP(")
	b.waitPath(a, "DERP(")
	checkStreams(t, a, b)

	// With UDP back, the nodes find the direct path by themselves.
	hostA.UnblockUDP()
	a.waitPath(b, "10.9.0.12:", "[fd09::12]:")
	// And with it gone again, they fall back to the relay.
	st := openStream(t, a, b.ip4)
	st.beat()
	hostA.BlockUDP()
	st.beat()
	a.waitPath(b, "DERP(")
}

func TestRelayKilledAndBack(t *testing.T) {
	t.Parallel()
	n := newLAN(t)
	hostA := n.host("a", "11")
	hostA.BlockUDP()
	a := join(t, n.lab, n.server, hostA, n.key)
	b := join(t, n.lab, n.server, n.host("b", "12"), n.key)
	serveEcho(t, b.host)
	a.waitReach(b)
	st := openStream(t, a, b.ip4)
	st.beat()
	n.server.proc.Kill() // the relay is inside
	if out, err := a.ping(b); err == nil {
		t.Errorf("a ping went through a relay that is dead: %s", out)
	}
	n.server.start()
	st.beat()
	a.waitPath(b, "DERP(")
}

func TestPortPreservingNAT(t *testing.T) {
	l := lab.New(t)
	internet := l.Switch("net")
	host := l.Host("server")
	host.Plug(internet, "203.0.113.1/24")
	s := startServer(t, l, host, "203.0.113.1")
	key := s.authKey("--reusable")
	a := join(t, l, s, homeHost(l, internet, "a", "203.0.113.11"), key)
	b := join(t, l, s, homeHost(l, internet, "b", "203.0.113.12"), key)
	serveEcho(t, b.host)
	a.waitReach(b)
	a.waitPath(b, "203.0.113.12:")
	b.waitPath(a, "203.0.113.11:")
	openStream(t, a, b.ip4).bulk(2 << 20)
}

// homeHost makes a machine behind a home router of its own, which has the given
// IPv4 address outside. The machine's IPv4 is translated, its IPv6 is routed.
func homeHost(l *lab.Lab, internet *lab.Switch, name, outside string) *lab.Host {
	last := outside[strings.LastIndexByte(outside, '.')+1:]
	prefix := "2001:db8:" + last + "::"
	inside := l.Switch("home-" + name)
	router := l.Host("router-" + name)
	router.Plug(inside, "192.168.1.1/24", prefix+"1/64")
	router.Masquerade(router.Plug(internet, outside+"/24", "2001:db8::"+last+"/64"))
	router.DefaultRoute("203.0.113.1")
	h := l.Host(name)
	h.Plug(inside, "192.168.1.2/24", prefix+"2/64")
	h.DefaultRoute("192.168.1.1")
	h.DefaultRoute(prefix + "1")
	return h
}

func TestIPv6Only(t *testing.T) {
	l := lab.New(t)
	sw := l.Switch("lan")
	host := l.Host("server")
	host.Plug(sw, "fd09::1/64")
	s := startServer(t, l, host, "fd09::1")
	key := s.authKey("--reusable")
	nodes := map[string]*node{}
	for _, name := range []string{"a", "b"} {
		h := l.Host(name)
		h.Plug(sw, "fd09::"+name+"/64")
		h.DefaultRoute("fd09::1")
		nodes[name] = join(t, l, s, h, key)
	}
	a, b := nodes["a"], nodes["b"]
	serveEcho(t, b.host)
	a.waitReach(b)
	a.waitPath(b, "[fd09::b]:")
	openStream(t, a, b.ip4).bulk(2 << 20)
	openStream(t, a, b.ip6).bulk(2 << 20)
}
