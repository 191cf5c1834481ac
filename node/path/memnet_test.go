package path

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ginnel/ginnel/relay/client"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
	"github.com/ginnel/ginnel/wire/relay"
	"github.com/ginnel/ginnel/wire/stun"
)

// memnet is a network in memory: hosts with one address each, a STUN server, and relays.
// It works in a synctest bubble.
type memnet struct {
	mu         sync.Mutex
	socks      map[netip.AddrPort]*memSocket
	relays     map[int]*memRelay
	udpCut     bool          // UDP packets vanish
	refused    netip.Addr    // sending there is not permitted
	stunDelay  time.Duration // of answers
	frozen     bool          // relays take everything and pass nothing on
	relayCut   bool          // relays cannot be dialled
	dialDelay  time.Duration // of relays
	udpSent    int
	sentBySize map[int]int // packets by size, if not nil
	relaySent  int
}

var stunServer = netip.MustParseAddrPort("198.51.100.1:3478")

func newMemnet(regions ...int) *memnet {
	n := &memnet{socks: map[netip.AddrPort]*memSocket{}, relays: map[int]*memRelay{}}
	for _, id := range regions {
		n.relays[id] = &memRelay{net: n, conns: map[key.NodePublic]*memRelayConn{}}
	}
	return n
}

// derpMap describes the relays.
func (n *memnet) derpMap() *control.DERPMap {
	m := &control.DERPMap{Regions: map[int]*control.DERPRegion{}}
	for id := range n.relays {
		m.Regions[id] = &control.DERPRegion{RegionID: id, RegionCode: "mem", Nodes: []*control.DERPNode{
			{Name: "a", RegionID: id, HostName: "relay.test", IPv4: stunServer.Addr().String(), IPv6: "none"},
		}}
	}
	return m
}

func (n *memnet) set(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}

// memSocket is a UDP socket.
type memSocket struct {
	net   *memnet
	local netip.AddrPort
	in    chan memPacket

	mu       sync.Mutex
	expired  chan struct{} // closed when the read deadline has passed
	closed   chan struct{}
	isClosed bool
}

type memPacket struct {
	data []byte
	from netip.AddrPort
}

// listen returns the ListenPacket of a host.
func (n *memnet) listen(ip netip.Addr) func(string, uint16) (net.PacketConn, error) {
	return func(network string, port uint16) (net.PacketConn, error) {
		if network == "udp6" {
			return nil, errors.New("no IPv6 here")
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		if port == 0 {
			for port = 20000; n.socks[netip.AddrPortFrom(ip, port)] != nil; port++ {
			}
		}
		s := &memSocket{net: n, local: netip.AddrPortFrom(ip, port), in: make(chan memPacket, 1024),
			expired: make(chan struct{}), closed: make(chan struct{})}
		if n.socks[s.local] != nil {
			return nil, errors.New("address in use")
		}
		n.socks[s.local] = s
		return s, nil
	}
}

func (s *memSocket) ReadFrom(b []byte) (int, net.Addr, error) {
	s.mu.Lock()
	expired := s.expired
	s.mu.Unlock()
	select {
	case p := <-s.in:
		return copy(b, p.data), net.UDPAddrFromAddrPort(p.from), nil
	case <-expired:
		return 0, nil, os.ErrDeadlineExceeded
	case <-s.closed:
		return 0, nil, net.ErrClosed
	}
}

func (s *memSocket) WriteTo(b []byte, to net.Addr) (int, error) {
	dst := to.(*net.UDPAddr).AddrPort()
	data := append([]byte(nil), b...)
	s.net.mu.Lock()
	defer s.net.mu.Unlock()
	s.net.udpSent++
	if s.net.sentBySize != nil {
		s.net.sentBySize[len(b)]++
	}
	if dst.Addr() == s.net.refused {
		return 0, &net.OpError{Op: "write", Net: "udp", Err: syscall.EPERM}
	}
	if s.net.udpCut {
		return len(b), nil
	}
	if dst == stunServer {
		if tx, err := stun.ParseRequest(data); err == nil {
			time.AfterFunc(s.net.stunDelay, func() { s.put(memPacket{stun.AppendResponse(nil, tx, s.local), stunServer}) })
		}
		return len(b), nil
	}
	if d := s.net.socks[dst]; d != nil {
		d.put(memPacket{data, s.local})
	}
	return len(b), nil
}

// put delivers a packet unless the socket is full.
func (s *memSocket) put(p memPacket) {
	select {
	case s.in <- p:
	default:
	}
}

func (s *memSocket) Close() error {
	s.net.mu.Lock()
	delete(s.net.socks, s.local)
	s.net.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.isClosed {
		s.isClosed = true
		close(s.closed)
	}
	return nil
}

func (s *memSocket) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(s.local) }

// SetReadDeadline takes only times in the past and the zero time.
func (s *memSocket) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expired = make(chan struct{})
	if !t.IsZero() {
		close(s.expired)
	}
	return nil
}

func (s *memSocket) SetDeadline(time.Time) error      { return nil }
func (s *memSocket) SetWriteDeadline(time.Time) error { return nil }

// memRelay is a relay region.
type memRelay struct {
	net   *memnet
	conns map[key.NodePublic]*memRelayConn
	dials int
}

// memRelayConn is a connection to a relay; it implements RelayConn.
type memRelayConn struct {
	relay  *memRelay
	self   key.NodePublic
	in     chan client.Message
	closed chan struct{}
	once   sync.Once
}

// dial is the DialRelay of all hosts.
func (n *memnet) dial(ctx context.Context, o client.Options) (RelayConn, error) {
	n.mu.Lock()
	delay := n.dialDelay
	n.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	r := n.relays[o.Region.RegionID]
	if r.dials++; n.relayCut {
		return nil, errors.New("relay is down")
	}
	c := &memRelayConn{relay: r, self: o.PrivateKey.Public(), in: make(chan client.Message, 4096), closed: make(chan struct{})}
	r.conns[c.self] = c
	return c, nil
}

func (c *memRelayConn) SendPackets(pkts []client.Packet) error {
	c.relay.net.mu.Lock()
	defer c.relay.net.mu.Unlock()
	select {
	case <-c.closed:
		return net.ErrClosed
	default:
	}
	for _, p := range pkts {
		c.relay.net.relaySent++
		if c.relay.net.frozen {
			continue
		}
		if d := c.relay.conns[p.Peer]; d != nil {
			d.in <- client.Message{Kind: client.KindPacket, Peer: c.self, Data: append([]byte(nil), p.Data...)}
		} else {
			c.in <- client.Message{Kind: client.KindPeerGone, Peer: p.Peer, Reason: relay.GoneNotHere}
		}
	}
	return nil
}

func (c *memRelayConn) Recv() (client.Message, error) {
	select {
	case m := <-c.in:
		return m, nil
	case <-c.closed:
		return client.Message{}, net.ErrClosed
	}
}

func (c *memRelayConn) Buffered() bool            { return len(c.in) > 0 }
func (c *memRelayConn) NotePreferred(bool) error  { return nil }
func (c *memRelayConn) LocalAddr() netip.AddrPort { return netip.AddrPort{} }

func (c *memRelayConn) Ping(ctx context.Context) (time.Duration, error) {
	c.relay.net.mu.Lock()
	frozen := c.relay.net.frozen
	c.relay.net.mu.Unlock()
	if frozen {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	select {
	case <-c.closed:
		return 0, net.ErrClosed
	default:
		return time.Millisecond, nil
	}
}

func (c *memRelayConn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.relay.net.mu.Lock()
		defer c.relay.net.mu.Unlock()
		if c.relay.conns[c.self] == c {
			delete(c.relay.conns, c.self)
		}
	})
	return nil
}

// host is an engine on the network together with who reads from it.
type host struct {
	*Engine
	t    testing.TB
	net  *memnet
	priv key.NodePrivate
	got  chan string // data packets
	from chan *Source
	wg   sync.WaitGroup
	cfg  Config
	eps  chan []Endpoint
	info chan *control.NetInfo
}

func (n *memnet) host(t testing.TB, ip string, tweak ...func(*Options)) *host {
	t.Helper()
	h := &host{t: t, net: n, priv: key.NewNode(), got: make(chan string, 4096), from: make(chan *Source, 4096),
		eps: make(chan []Endpoint, 64), info: make(chan *control.NetInfo, 64)}
	o := Options{
		Port: 41641, ListenPacket: n.listen(netip.MustParseAddr(ip)), DialRelay: n.dial,
		Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no TCP here") },
		Interfaces: func() ([]Interface, error) {
			return []Interface{{Name: "mem0", Up: true, Addrs: []netip.Prefix{netip.MustParsePrefix(ip + "/24")}}}, nil
		},
		OnEndpoints: func(l []Endpoint) { h.eps <- l },
		OnNetInfo:   func(i *control.NetInfo) { h.info <- i },
	}
	for _, f := range tweak {
		f(&o)
	}
	e, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	h.Engine = e
	h.cfg = Config{PrivateKey: h.priv, DERPMap: n.derpMap(), ControlConnected: true}
	h.read()
	return h
}

// read starts reading.
func (h *host) read() {
	for _, f := range h.Receivers() {
		h.wg.Go(func() {
			bufs, sizes, from := make([][]byte, BatchSize), make([]int, BatchSize), make([]*Source, BatchSize)
			for i := range bufs {
				bufs[i] = make([]byte, 2048)
			}
			for {
				n, err := f(bufs, sizes, from)
				if err != nil {
					return
				}
				for i := range n {
					if sizes[i] > 0 {
						h.from <- from[i]
						h.got <- string(bufs[i][:sizes[i]])
					}
				}
			}
		})
	}
}

// stop closes the engine and waits for the readers.
func (h *host) stop() {
	h.Close()
	h.wg.Wait()
}

// peer is how others see the host.
func (h *host) peer(endpoints ...netip.AddrPort) Peer {
	return Peer{ID: 1, Key: h.priv.Public(), Disco: h.DiscoKey(), HomeRegion: 1, Endpoints: endpoints, Name: "peer"}
}

// apply configures the host with peers.
func (h *host) apply(peers ...Peer) {
	h.t.Helper()
	h.cfg.Peers = peers
	if err := h.Apply(h.cfg); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) addr() netip.AddrPort {
	return h.sock4.cur.Load().LocalAddr()
}

// send sends one data packet.
func (h *host) send(to *host, text string) {
	h.t.Helper()
	if err := h.Send(to.priv.Public(), [][]byte{[]byte(text)}); err != nil {
		h.t.Fatalf("send %q: %v", text, err)
	}
}

// want waits for a data packet and returns where it came from.
func (h *host) want(text string) *Source {
	h.t.Helper()
	for {
		select {
		case got := <-h.got:
			src := <-h.from
			if got == text {
				return src
			}
		case <-time.After(time.Minute):
			h.t.Fatalf("%q did not come", text)
		}
	}
}

// direct returns the direct address in use for another host.
func (h *host) direct(to *host) netip.AddrPort { return h.Status().Peers[to.priv.Public()].CurAddr }
