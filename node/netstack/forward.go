package netstack

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

const (
	// maxHandshakes bounds connections whose destination is being dialled,
	// maxClientHandshakes those of one peer (wire document node, section 2.7).
	maxHandshakes       = 8192
	maxClientHandshakes = maxHandshakes * 2 / 3
	dialTimeout         = 30 * time.Second

	maxUDPSessions = 512
	udpIdle        = 2 * time.Minute
	udpIdleDNS     = 30 * time.Second
)

// Forward says where flows to own addresses go.
type Forward struct {
	// Dial connects to the loopback interface; nil for the system's dialer.
	// Tests have theirs.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// forwarder connects flows from peers to services on the loopback interface.
type forwarder struct {
	stack  *Stack
	dial   func(ctx context.Context, network, address string) (net.Conn, error)
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	dialing map[netip.Addr]int // handshakes by peer
	udp     int                // UDP sessions
	peers   map[netip.AddrPort]netip.AddrPort
	pending map[chan struct{}]bool // dials whose local address is not known yet
}

func newForwarder(s *Stack, c Forward) *forwarder {
	f := &forwarder{
		stack: s, dial: c.Dial,
		dialing: map[netip.Addr]int{}, peers: map[netip.AddrPort]netip.AddrPort{}, pending: map[chan struct{}]bool{},
	}
	if f.dial == nil {
		f.dial = new(net.Dialer).DialContext
	}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	t := tcp.NewForwarder(s.stack, 0, maxHandshakes, f.acceptTCP)
	s.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, t.HandlePacket)
	u := udp.NewForwarder(s.stack, f.acceptUDP)
	s.stack.SetTransportProtocolHandler(udp.ProtocolNumber, u.HandlePacket)
	return f
}

func (f *forwarder) close() { f.cancel() }

// peerWait is how long PeerOf waits for dials in progress.
const peerWait = time.Second

// PeerOf returns the peer behind a forwarded connection, by the address that the
// service on the loopback interface sees as its client. A service may ask before
// our dialling returned; then PeerOf waits for that, a second at most.
func (s *Stack) PeerOf(local netip.AddrPort) (peer netip.AddrPort, ok bool) {
	if s.forward == nil {
		return peer, false
	}
	peer, ok, pending := s.forward.lookup(local)
	if ok || len(pending) == 0 {
		return peer, ok
	}
	timeout := time.NewTimer(peerWait)
	defer timeout.Stop()
	for _, done := range pending {
		select {
		case <-done:
		case <-timeout.C:
			return peer, false
		}
	}
	peer, ok, _ = s.forward.lookup(local)
	return peer, ok
}

func (f *forwarder) lookup(local netip.AddrPort) (peer netip.AddrPort, ok bool, pending []chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if peer, ok = f.peers[local]; ok {
		return peer, true, nil
	}
	return peer, false, slices.Collect(maps.Keys(f.pending))
}

// connect dials the service at port for peer, and remembers who that is until
// forget is called.
func (f *forwarder) connect(ctx context.Context, network string, v6 bool, port uint16, peer netip.AddrPort) (conn net.Conn, forget func(), err error) {
	done := make(chan struct{})
	f.mu.Lock()
	f.pending[done] = true
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.pending, done)
		f.mu.Unlock()
		close(done)
	}()
	if conn, err = f.dialLoopback(ctx, network, v6, port); err != nil {
		return nil, nil, err
	}
	return conn, f.remember(conn, peer), nil
}

// remember notes which peer is behind conn; the returned function forgets it.
func (f *forwarder) remember(conn net.Conn, peer netip.AddrPort) func() {
	local, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil {
		return func() {}
	}
	f.mu.Lock()
	f.peers[local] = peer
	f.mu.Unlock()
	return func() {
		f.mu.Lock()
		delete(f.peers, local)
		f.mu.Unlock()
	}
}

// dialLoopback connects to the port on the loopback interface: for a flow over
// IPv6 by IPv6 if something listens there.
func (f *forwarder) dialLoopback(ctx context.Context, network string, v6 bool, port uint16) (net.Conn, error) {
	p := strconv.Itoa(int(port))
	if v6 {
		if c, err := f.dial(ctx, network, net.JoinHostPort("::1", p)); err == nil {
			return c, nil
		}
	}
	return f.dial(ctx, network, net.JoinHostPort("127.0.0.1", p))
}

func addrPort(a tcpip.Address, port uint16) netip.AddrPort {
	ip, _ := netip.AddrFromSlice(a.AsSlice())
	return netip.AddrPortFrom(ip, port)
}

func ends(id stack.TransportEndpointID) (peer, own netip.AddrPort) {
	return addrPort(id.RemoteAddress, id.RemotePort), addrPort(id.LocalAddress, id.LocalPort)
}

// begin counts a handshake of the peer, and reports false if it has too many.
func (f *forwarder) begin(peer netip.Addr) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dialing[peer] >= maxClientHandshakes {
		return false
	}
	f.dialing[peer]++
	return true
}

func (f *forwarder) end(peer netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dialing[peer]--; f.dialing[peer] <= 0 {
		delete(f.dialing, peer)
	}
}

// acceptTCP dials the service first and completes the peer's handshake only
// then, so that a peer sees a refused connection as refused.
func (f *forwarder) acceptTCP(r *tcp.ForwarderRequest) {
	peer, own := ends(r.ID())
	if !f.begin(peer.Addr()) {
		r.Complete(false)
		return
	}
	ctx, cancel := context.WithTimeout(f.ctx, dialTimeout)
	local, forget, err := f.connect(ctx, "tcp", own.Addr().Is6(), own.Port(), peer)
	cancel()
	f.end(peer.Addr())
	if err != nil {
		f.stack.log.Debug("forwarded connection refused", "peer", peer, "port", own.Port(), "err", err)
		r.Complete(true)
		return
	}
	defer forget()
	var wq waiter.Queue
	ep, terr := r.CreateEndpoint(&wq)
	if terr != nil {
		r.Complete(true)
		local.Close()
		return
	}
	r.Complete(false)
	ep.SocketOptions().SetKeepAlive(true)
	Splice(f.ctx, gonet.NewTCPConn(&wq, ep), local)
}

// copyBuffers are for Splice.
var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// Splice carries bytes between two stream connections until both directions
// have ended, one has failed, or ctx ends. It passes on half-closes, and closes
// both connections.
func Splice(ctx context.Context, a, b net.Conn) {
	closeBoth := func() { a.Close(); b.Close() }
	stop := context.AfterFunc(ctx, closeBoth)
	defer stop()
	defer closeBoth()
	var wg sync.WaitGroup
	half := func(dst, src net.Conn) {
		buf := copyBuffers.Get().(*[]byte)
		defer copyBuffers.Put(buf)
		// Hiding ReadFrom and WriteTo keeps to our buffer.
		_, err := io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, *buf)
		w, ok := dst.(interface{ CloseWrite() error })
		if err != nil || !ok || w.CloseWrite() != nil {
			closeBoth()
		}
	}
	wg.Go(func() { half(a, b) })
	half(b, a)
	wg.Wait()
}

// acceptUDP opens a session for the first datagram of a flow.
func (f *forwarder) acceptUDP(r *udp.ForwarderRequest) bool {
	peer, own := ends(r.ID())
	f.mu.Lock()
	full := f.udp >= maxUDPSessions || f.ctx.Err() != nil
	if !full {
		f.udp++
	}
	f.mu.Unlock()
	if full {
		return true // dropped: the network may do so, and the peer tries again
	}
	var wq waiter.Queue
	ep, err := r.CreateEndpoint(&wq)
	if err != nil {
		f.endUDP()
		return true
	}
	go func() {
		defer f.endUDP()
		f.serveUDP(gonet.NewUDPConn(&wq, ep), peer, own)
	}()
	return true
}

func (f *forwarder) endUDP() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.udp--
}

// serveUDP carries datagrams until the flow is idle or the service is not there.
func (f *forwarder) serveUDP(mesh net.Conn, peer, own netip.AddrPort) {
	defer mesh.Close()
	local, forget, err := f.connect(f.ctx, "udp", own.Addr().Is6(), own.Port(), peer)
	if err != nil {
		return
	}
	defer forget()
	defer local.Close()
	idle := udpIdle
	if own.Port() == 53 {
		idle = udpIdleDNS
	}
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	timer := time.AfterFunc(idle, cancel)
	defer timer.Stop()
	stop := context.AfterFunc(ctx, func() { mesh.Close(); local.Close() })
	defer stop()
	carry := func(dst, src net.Conn) {
		defer cancel()
		buf := make([]byte, 64<<10)
		for {
			n, err := src.Read(buf)
			if err != nil {
				return
			}
			timer.Reset(idle)
			if _, err := dst.Write(buf[:n]); err != nil && errors.Is(err, net.ErrClosed) {
				return
			}
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() { carry(local, mesh) })
	carry(mesh, local)
	wg.Wait()
}
