package peerrelay_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ginnel/ginnel/node/peerrelay"
	"github.com/ginnel/ginnel/node/peerrelay/client"
	"github.com/ginnel/ginnel/node/peerrelay/peerrelaytest"
	"github.com/ginnel/ginnel/wire/disco"
	"github.com/ginnel/ginnel/wire/key"
	"github.com/ginnel/ginnel/wire/stun"
)

var (
	loopback4 = netip.MustParseAddr("127.0.0.1")
	loopback6 = netip.MustParseAddr("::1")
)

// start starts a server on loopback.
func start(t testing.TB, o peerrelay.Options) *peerrelay.Server {
	t.Helper()
	o.Key = key.NewDisco()
	s, err := peerrelay.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	s.SetAddresses(peerrelay.Addresses{Static: []netip.AddrPort{
		netip.AddrPortFrom(loopback4, s.Port(peerrelay.UDP4)), netip.AddrPortFrom(loopback6, s.Port(peerrelay.UDP6))}})
	return s
}

func listen(t testing.TB, ip netip.Addr) net.PacketConn {
	t.Helper()
	pc, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)))
	if err != nil {
		t.Fatal(err)
	}
	return pc
}

// couple starts two clients, one address each, that know each other and the server.
func couple(t testing.TB, s *peerrelay.Server, ips [2]netip.Addr) (x, y *peerrelaytest.Client) {
	x, y = peerrelaytest.New(), peerrelaytest.New()
	relay := key.NewNode().Public()
	byNode := map[key.NodePublic]*peerrelaytest.Client{x.Node: y, y.Node: x}
	for i, c := range []*peerrelaytest.Client{x, y} {
		other := byNode[c.Node]
		c.Servers = []key.NodePublic{relay}
		c.Peers[other.Disco.Public()] = other.Node
		c.Region = func(to key.NodePublic, inner []byte) {
			if to != relay {
				other.FromRegion(c.Peer(), inner)
				return
			}
			if answer := allocate(t, s, c.Disco.Public(), inner); answer != nil {
				c.FromRegion(client.Peer{Node: relay}, answer)
			}
		}
		c.Start(listen(t, ips[i]))
		t.Cleanup(c.Close)
	}
	return x, y
}

// allocate answers an allocation request as a node with a server does.
func allocate(t testing.TB, s *peerrelay.Server, from key.DiscoPublic, inner []byte) []byte {
	_, ver, body, _ := disco.Split(inner)
	var request disco.AllocateRequest
	if err := request.Parse(ver, body); err != nil {
		t.Error(err)
		return nil
	}
	answer, err := s.Answer(from, &request, func(key.DiscoPublic) bool { return true })
	if err != nil {
		return nil
	}
	return answer.Append(nil)
}

// await waits for a condition.
func await(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// connect has both clients find a path.
func connect(t testing.TB, x, y *peerrelaytest.Client) {
	t.Helper()
	x.Discover(y.Peer())
	await(t, "both have a path", func() bool {
		_, there := x.Ready(y.Node)
		_, back := y.Ready(x.Node)
		return there && back
	})
}

// exchange sends data both ways.
func exchange(t testing.TB, x, y *peerrelaytest.Client, text string) {
	t.Helper()
	for _, p := range [][2]*peerrelaytest.Client{{x, y}, {y, x}} {
		if err := p[0].Send(p[1].Node, text); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-p[1].Data():
			if got != text {
				t.Fatalf("got %q, want %q", got, text)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("data does not arrive")
		}
	}
}

func TestServer(t *testing.T) {
	for name, ips := range map[string][2]netip.Addr{
		"IPv4": {loopback4, loopback4}, "IPv6": {loopback6, loopback6}, "both": {loopback4, loopback6},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, peerrelay.Options{})
			x, y := couple(t, s, ips)
			connect(t, x, y)
			for n := range 20 {
				exchange(t, x, y, fmt.Sprint("packet ", n))
			}
			list := s.Sessions()
			if len(list) != 1 || !list[0].Open || list[0].Clients[0].Sent.Packets < 21 || list[0].Clients[1].Sent.Packets < 21 {
				t.Errorf("sessions %+v", list)
			}
			var b bytes.Buffer
			if err := s.WriteMetrics(&b); err != nil {
				t.Fatal(err)
			}
			c := s.Counters()
			want := []string{`tailscaled_peer_relay_endpoints{state="open"} 1`, `tailscaled_peer_relay_endpoints{state="connecting"} 0`}
			for in := range c.Forwarded {
				for out, n := range c.Forwarded[in] {
					label := fmt.Sprintf(`{transport_in="udp%c",transport_out="udp%c"}`, "46"[in], "46"[out])
					want = append(want, fmt.Sprintf("tailscaled_peer_relay_forwarded_packets_total%s %d", label, n.Packets),
						fmt.Sprintf("tailscaled_peer_relay_forwarded_bytes_total%s %d", label, n.Bytes))
				}
			}
			for _, w := range want {
				if !strings.Contains(b.String(), w+"\n") {
					t.Errorf("no line %q in\n%s", w, b.String())
				}
			}
			st := s.Status()
			if *st.UDPPort != s.Port(peerrelay.UDP4) || len(st.Sessions) != 1 || st.Sessions[0].VNI != 1 ||
				!st.Sessions[0].Client1.Endpoint.IsValid() || st.Sessions[0].Client2.PacketsTx < 21 {
				t.Errorf("status %+v", st)
			}
		})
	}
}

// TestManySessions runs several sessions at once over several sockets.
func TestManySessions(t *testing.T) {
	s := start(t, peerrelay.Options{Shards: 4})
	var wg sync.WaitGroup
	for i := range 8 {
		ips := [2]netip.Addr{loopback4, loopback6}
		if i%2 == 0 {
			ips[1] = loopback4
		}
		x, y := couple(t, s, ips)
		connect(t, x, y)
		wg.Go(func() {
			for n := range 50 {
				exchange(t, x, y, fmt.Sprint(i, " ", n))
			}
		})
	}
	wg.Wait()
}

func TestAnswer(t *testing.T) {
	s := start(t, peerrelay.Options{})
	a, b := key.NewDisco().Public(), key.NewDisco().Public()
	yes, no := func(key.DiscoPublic) bool { return true }, func(key.DiscoPublic) bool { return false }
	request := &disco.AllocateRequest{Clients: [2]key.DiscoPublic{b, a}, Generation: 77}
	if r, err := s.Answer(a, request, yes); err != nil || r.Generation != 77 || r.Endpoint.VNI != 1 || r.Endpoint.Server != s.Public() {
		t.Errorf("%+v, %v", r, err)
	}
	for _, c := range []struct {
		who   key.DiscoPublic
		admit func(key.DiscoPublic) bool
		want  error
	}{{a, no, peerrelay.ErrNotAdmitted}, {key.NewDisco().Public(), yes, peerrelay.ErrNotClient}, {key.DiscoPublic{}, yes, peerrelay.ErrNotClient}} {
		if _, err := s.Answer(c.who, request, c.admit); !errors.Is(err, c.want) {
			t.Errorf("error %v, want %v", err, c.want)
		}
	}
	if _, err := s.Answer(a, &disco.AllocateRequest{Clients: [2]key.DiscoPublic{a, a}}, yes); !errors.Is(err, peerrelay.ErrClients) {
		t.Errorf("a session with itself: %v", err)
	}
	s.SetAddresses(peerrelay.Addresses{})
	if _, err := s.Answer(a, request, yes); !errors.Is(err, peerrelay.ErrNotReady) {
		t.Errorf("without addresses: %v", err)
	}
}

func TestAddresses(t *testing.T) {
	s := start(t, peerrelay.Options{})
	p4, p6 := s.Port(peerrelay.UDP4), s.Port(peerrelay.UDP6)
	ap := netip.MustParseAddrPort
	at := func(ip string, port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(ip), port) }
	all := peerrelay.Addresses{
		Static: []netip.AddrPort{ap("192.0.2.1:40"), ap("192.0.2.1:40"), ap("0.0.0.0:40"), ap("192.0.2.1:0"), ap("[ff02::1]:4")},
		Mapped: []netip.AddrPort{ap("198.51.100.1:50"), ap("[::ffff:198.51.100.1]:60")}, Varies: true,
		Interfaces: []netip.Addr{netip.MustParseAddr("10.0.0.1"), loopback4, netip.MustParseAddr("fe80::1"), netip.MustParseAddr("2001:db8::1")},
	}
	want := []netip.AddrPort{ap("192.0.2.1:40"), ap("198.51.100.1:50"), ap("198.51.100.1:60"), at("198.51.100.1", p4),
		at("10.0.0.1", p4), at("2001:db8::1", p6)}
	only := all
	only.OnlyStatic = true
	for _, c := range []struct {
		a    peerrelay.Addresses
		want []netip.AddrPort
	}{{all, want}, {only, want[:1]}} {
		s.SetAddresses(c.a)
		e, err := s.Allocate(key.NewDisco().Public(), key.NewDisco().Public())
		if err != nil || !slices.Equal(e.Addrs, c.want) {
			t.Errorf("offered at %v (%v), want %v", e.Addrs, err, c.want)
		}
	}
}

// TestSTUN asks a STUN question by the server's socket and gets the answer from it.
func TestSTUN(t *testing.T) {
	got := make(chan netip.AddrPort, 1)
	s := start(t, peerrelay.Options{STUN: func(pkt []byte, from netip.AddrPort) {
		if _, addr, err := stun.ParseResponse(pkt); err == nil {
			got <- addr
		}
	}})
	asked := listen(t, loopback4)
	defer asked.Close()
	if err := s.Send(stun.AppendRequest(nil, stun.TxID{1}), asked.LocalAddr().(*net.UDPAddr).AddrPort()); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	_, from, err := asked.ReadFrom(buf)
	if err != nil {
		t.Fatal(err)
	}
	seen := from.(*net.UDPAddr).AddrPort()
	if _, err := asked.WriteTo(stun.AppendResponse(nil, stun.TxID{1}, seen), from); err != nil {
		t.Fatal(err)
	}
	if addr := <-got; addr != seen || addr.Port() != s.Port(peerrelay.UDP4) {
		t.Errorf("the server is %v, want %v on port %d", addr, seen, s.Port(peerrelay.UDP4))
	}
}

// TestOneFamily has a system without IPv6.
func TestOneFamily(t *testing.T) {
	s := start(t, peerrelay.Options{Listen: func(network string, port uint16) (net.PacketConn, error) {
		if network == "udp6" {
			return nil, errors.New("no IPv6")
		}
		return net.ListenPacket(network, fmt.Sprint("127.0.0.1:", port))
	}})
	if s.Port(peerrelay.UDP6) != 0 {
		t.Error("an IPv6 port")
	}
	if err := s.Send([]byte("x"), netip.MustParseAddrPort("[::1]:9")); err == nil {
		t.Error("sent over IPv6")
	}
	x, y := couple(t, s, [2]netip.Addr{loopback4, loopback4})
	connect(t, x, y)
	exchange(t, x, y, "hello")
	_, err := peerrelay.Start(peerrelay.Options{Config: peerrelay.Config{Key: key.NewDisco()},
		Listen: func(string, uint16) (net.PacketConn, error) { return nil, errors.New("nothing") }})
	if err == nil || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("without any socket: %v", err)
	}
}

// TestJunk sends the server's sockets what no client sends, and counts it.
func TestJunk(t *testing.T) {
	s := start(t, peerrelay.Options{})
	pc := listen(t, loopback4)
	defer pc.Close()
	to := net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback4, s.Port(peerrelay.UDP4)))
	for _, b := range [][]byte{[]byte("hello"), {0, 0, 0x7a, 0x12, 0, 0, 9, 0}, make([]byte, 20_000)} {
		if _, err := pc.WriteTo(b, to); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "all is counted", func() bool {
		d := s.Counters().Dropped
		return d[peerrelay.NoGeneve] == 1 && d[peerrelay.UnknownVNI] == 1 && d[peerrelay.TooLarge] == 1
	})
}
