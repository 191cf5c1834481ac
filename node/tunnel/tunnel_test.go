package tunnel

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/ginnel/ginnel/node/path"
	"github.com/ginnel/ginnel/node/tun/tuntest"
	"github.com/ginnel/ginnel/relay"
	"github.com/ginnel/ginnel/relay/client"
	"github.com/ginnel/ginnel/relay/stunserver"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// lan is a relay and a STUN server on loopback.
type lan struct {
	derpMap *control.DERPMap
	url     string
}

func newLAN(t testing.TB) *lan {
	t.Helper()
	srv, err := relay.New(relay.Config{PrivateKey: key.NewNode()})
	if err != nil {
		t.Fatal(err)
	}
	hs := httptest.NewServer(srv.Handler())
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = stunserver.Serve(ctx, pc, slog.New(slog.DiscardHandler), nil)
	}()
	t.Cleanup(func() {
		cancel()
		pc.Close()
		<-served
		srv.Close()
		hs.Close()
	})
	return &lan{url: hs.URL, derpMap: &control.DERPMap{Regions: map[int]*control.DERPRegion{900: {
		RegionID: 900, RegionCode: "test", Nodes: []*control.DERPNode{{Name: "900a", RegionID: 900, HostName: "127.0.0.1",
			IPv4: "127.0.0.1", IPv6: "none", STUNPort: pc.LocalAddr().(*net.UDPAddr).Port}},
	}}}}
}

// dial connects to the relay without TLS.
func (l *lan) dial(ctx context.Context, o client.Options) (path.RelayConn, error) {
	o.Region, o.URL = nil, l.url
	return client.Dial(ctx, o)
}

// node is a tunnel over an engine.
type node struct {
	t      testing.TB
	priv   key.NodePrivate
	ip     netip.Addr
	engine *path.Engine
	tunnel *Tunnel
	dev    *tuntest.Device
	peers  []*node
	lan    *lan
}

func (l *lan) node(t testing.TB, ip string, noUDP bool) *node {
	t.Helper()
	n := &node{t: t, priv: key.NewNode(), ip: netip.MustParseAddr(ip), dev: tuntest.New(1280, 32), lan: l}
	var err error
	n.engine, err = path.New(path.Options{NoUDP: noUDP, DialRelay: l.dial, Interfaces: func() ([]path.Interface, error) {
		return []path.Interface{{Name: "lo", Up: true, Loopback: true, Addrs: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}}}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if n.tunnel, err = New(n.dev, n.engine, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.tunnel.Close()
		n.engine.Close()
	})
	return n
}

// apply configures the node with peers.
func (n *node) apply(peers ...*node) {
	n.t.Helper()
	n.peers = peers
	pc := path.Config{PrivateKey: n.priv, DERPMap: n.lan.derpMap, ControlConnected: true}
	tc := Config{PrivateKey: n.priv}
	for i, p := range peers {
		pc.Peers = append(pc.Peers, path.Peer{ID: control.NodeID(i), Key: p.priv.Public(), Disco: p.engine.DiscoKey(), HomeRegion: 900})
		tc.Peers = append(tc.Peers, PeerConfig{Key: p.priv.Public(), AllowedIPs: []netip.Prefix{netip.PrefixFrom(p.ip, p.ip.BitLen())}})
	}
	if err := n.engine.Apply(pc); err != nil {
		n.t.Fatal(err)
	}
	if err := n.tunnel.Apply(tc); err != nil {
		n.t.Fatal(err)
	}
}

// connected waits until the node is at its relay.
func (n *node) connected() {
	n.t.Helper()
	eventually(n.t, "connect to the relay", func() bool {
		r := n.engine.Status().Relays
		return len(r) == 1 && r[0].Connected
	})
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("did not %s in 20 s", what)
		}
	}
}

// packet is an IPv4 UDP packet with a payload.
func (n *node) packet(to *node, payload string) []byte {
	b := make([]byte, 28, 28+len(payload))
	b[0], b[8], b[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(b[2:], uint16(28+len(payload)))
	src, dst := n.ip.As4(), to.ip.As4()
	copy(b[12:], src[:])
	copy(b[16:], dst[:])
	return append(b, payload...)
}

func (n *node) send(to *node, payload string) {
	n.t.Helper()
	if !n.dev.Send(n.packet(to, payload)) {
		n.t.Fatal("device is closed")
	}
}

// want waits for a packet with the payload.
func (n *node) want(payload string) {
	n.t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case pkt := <-n.dev.Received():
			if len(pkt) >= 28 && string(pkt[28:]) == payload {
				return
			}
		case <-timeout:
			n.t.Fatalf("%q did not come", payload)
		}
	}
}

// twoNodes returns two nodes that are at the relay and know each other.
func twoNodes(t testing.TB, noUDP bool) (a, b *node) {
	l := newLAN(t)
	a, b = l.node(t, "100.64.0.1", noUDP), l.node(t, "100.64.0.2", noUDP)
	a.apply(b)
	b.apply(a)
	a.connected()
	b.connected()
	return a, b
}

// TestPair sends packets both ways, of which the very first arrives, over the relay and
// then directly.
func TestPair(t *testing.T) {
	a, b := twoNodes(t, false)
	a.send(b, "first")
	b.want("first")
	b.send(a, "answer")
	a.want("answer")
	eventually(t, "find direct paths", func() bool {
		return a.engine.Status().Peers[b.priv.Public()].CurAddr.IsValid() && b.engine.Status().Peers[a.priv.Public()].CurAddr.IsValid()
	})
	before := a.engine.Status().Peers[b.priv.Public()].Tx
	a.send(b, "direct")
	b.want("direct")
	var after path.Traffic
	eventually(t, "count a direct packet", func() bool { // the packet arrives before it is counted
		after = a.engine.Status().Peers[b.priv.Public()].Tx
		return after.DirectIPv4.Packets > before.DirectIPv4.Packets
	})
	if after.Relay != before.Relay {
		t.Errorf("counters went from %+v to %+v though there is a direct path", before, after)
	}
	s := a.tunnel.Stats()[b.priv.Public()]
	if s.TxBytes == 0 || s.RxBytes == 0 || time.Since(s.LastHandshake) > time.Minute {
		t.Errorf("stats %+v", s)
	}
}

// TestRelayOnly has nodes without UDP.
func TestRelayOnly(t *testing.T) {
	a, b := twoNodes(t, true)
	for range 100 {
		a.send(b, "over")
		b.want("over")
		b.send(a, "back")
		a.want("back")
	}
	if s := a.engine.Status().Peers[b.priv.Public()]; s.Tx.Relay.Packets < 100 || s.CurAddr.IsValid() {
		t.Errorf("status %+v", s)
	}
}

// TestApplyKeepsSessions adds and removes other peers while packets flow.
func TestApplyKeepsSessions(t *testing.T) {
	a, b := twoNodes(t, false)
	a.send(b, "first")
	b.want("first")
	session := a.tunnel.Stats()[b.priv.Public()].LastHandshake
	c := a.lan.node(t, "100.64.0.3", false)
	for range 3 {
		a.apply(b, c)
		a.send(b, "with another")
		b.want("with another")
		a.apply(b)
		a.send(b, "without")
		b.want("without")
	}
	if got := a.tunnel.Stats(); len(got) != 1 || got[b.priv.Public()].LastHandshake != session {
		t.Errorf("stats %+v, want the session of %v only", got, session)
	}
}

// TestNewKey rotates a node's key.
func TestNewKey(t *testing.T) {
	a, b := twoNodes(t, false)
	a.send(b, "first")
	b.want("first")
	a.priv = key.NewNode()
	b.apply(a)
	a.apply(b)
	a.connected()
	a.send(b, "new key")
	b.want("new key")
	if len(b.tunnel.Stats()) != 1 {
		t.Error("the old key stayed")
	}
}

func TestForeignSourceAddress(t *testing.T) {
	a, b := twoNodes(t, false)
	c := &node{t: t, ip: netip.MustParseAddr("100.64.0.9")}
	a.dev.Send(c.packet(b, "forged"))
	a.send(b, "honest")
	timeout := time.After(20 * time.Second)
	for {
		select {
		case pkt := <-b.dev.Received():
			switch string(pkt[28:]) {
			case "forged":
				t.Fatal("a packet from an address that is not the peer's came through")
			case "honest":
				return
			}
		case <-timeout:
			t.Fatal("nothing came")
		}
	}
}

// deaf is a transport that only counts.
type deaf struct {
	sent chan key.NodePublic
	stop chan struct{}
}

func newDeaf() *deaf { return &deaf{sent: make(chan key.NodePublic, 1024), stop: make(chan struct{})} }

func (d *deaf) Receivers() []path.ReceiveFunc {
	return []path.ReceiveFunc{func([][]byte, []int, []*path.Source) (int, error) {
		<-d.stop
		return 0, net.ErrClosed
	}}
}
func (d *deaf) BatchSize() int { return path.BatchSize }

func (d *deaf) StopReceiving() {
	select {
	case <-d.stop:
	default:
		close(d.stop)
	}
}
func (d *deaf) Send(k key.NodePublic, _ [][]byte) error { d.sent <- k; return nil }
func (d *deaf) SendTo(*path.Source, []byte) error       { return errors.New("nobody there") }

// TestManyPeers configures 2000 peers at once, and then changes one of them.
func TestManyPeers(t *testing.T) {
	d := newDeaf()
	dev := tuntest.New(1280, 1)
	tun, err := New(dev, d, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tun.Close()
	cfg := Config{PrivateKey: key.NewNode()}
	for i := range 2000 {
		ip := netip.AddrFrom4([4]byte{100, 64, byte(i >> 8), byte(i)})
		cfg.Peers = append(cfg.Peers, PeerConfig{Key: key.NewNode().Public(), AllowedIPs: []netip.Prefix{netip.PrefixFrom(ip, 32)}})
	}
	start := time.Now()
	if err := tun.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	t.Logf("2000 peers in %v", time.Since(start))
	cfg.Peers[7].AllowedIPs = []netip.Prefix{netip.MustParsePrefix("100.99.0.0/16")}
	start = time.Now()
	if err := tun.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	t.Logf("one change in %v", time.Since(start))
	a := &node{ip: netip.MustParseAddr("100.64.100.100")}
	dev.Send(a.packet(&node{ip: netip.MustParseAddr("100.99.1.2")}, "x"))
	select {
	case k := <-d.sent:
		if k != cfg.Peers[7].Key {
			t.Errorf("the handshake went to %v", k)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("no handshake")
	}
}
