package vnet

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"
)

// connKey finds a TCP connection.
type connKey struct{ local, remote netip.AddrPort }

// Listener accepts TCP connections. It is a net.Listener.
type Listener struct {
	h       *Host
	key     socketKey
	pending []*TCPConn
	ready   gate
	closed  bool
}

// backlog is how many connections wait to be accepted.
const backlog = 4096

// ListenTCP accepts connections. The arguments are as for ListenUDP, with the networks
// "tcp4", "tcp6" and "tcp"; the latter without an address takes both families.
func (h *Host) ListenTCP(network string, ip netip.Addr, port uint16) (*Listener, error) {
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, opError("listen", network, syscall.ENETDOWN)
	}
	key, err := h.socketKey(network, ip, port)
	if err != nil {
		return nil, opError("listen", network, err)
	}
	if key.port == 0 {
		key.port = h.ephemeral(func(p uint16) bool {
			k := key
			k.port = p
			return h.listens[k] == nil
		})
	}
	both := network == "tcp" && !key.addr.IsValid()
	other := key
	other.v6 = !key.v6
	if h.listens[key] != nil || both && h.listens[other] != nil {
		return nil, opError("listen", network, syscall.EADDRINUSE)
	}
	l := &Listener{h: h, key: key}
	h.listens[key] = l
	if both {
		h.listens[other] = l
	}
	return l, nil
}

// Accept waits for a connection.
func (l *Listener) Accept() (net.Conn, error) {
	n := l.h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		if l.closed {
			return nil, opError("accept", "tcp", net.ErrClosed)
		}
		if len(l.pending) > 0 {
			c := l.pending[0]
			l.pending = l.pending[1:]
			return c, nil
		}
		changed := l.ready.wait()
		n.mu.Unlock()
		<-changed
		n.mu.Lock()
	}
}

// Close ends listening; connections that were not accepted are reset.
func (l *Listener) Close() error {
	n := l.h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if l.closed {
		return opError("close", "tcp", net.ErrClosed)
	}
	for k, other := range l.h.listens {
		if other == l {
			delete(l.h.listens, k)
		}
	}
	l.shut()
	return nil
}

// shut ends accepting.
func (l *Listener) shut() {
	l.closed = true
	for _, c := range l.pending {
		c.abort()
	}
	l.pending = nil
	l.ready.signal()
}

// Addr returns the bound address, which is a *net.TCPAddr.
func (l *Listener) Addr() net.Addr {
	ip := l.key.addr
	if !ip.IsValid() {
		if ip = netip.IPv4Unspecified(); l.key.v6 {
			ip = netip.IPv6Unspecified()
		}
	}
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, l.key.port))
}

// Dial opens a TCP connection, or a UDP one, to "host:port", resolving the name as the
// host does. It tries the addresses in turn.
func (h *Host) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	name, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, opError("dial", network, err)
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, opError("dial", network, fmt.Errorf("port %q: %w", service, err))
	}
	addrs, err := h.Lookup(ctx, name)
	if err != nil {
		return nil, opError("dial", network, err)
	}
	err = opError("dial", network, syscall.EAFNOSUPPORT)
	for _, a := range addrs {
		if last := network[len(network)-1]; last == '4' && !a.Is4() || last == '6' && a.Is4() {
			continue
		}
		var c net.Conn
		if network[0] == 'u' {
			c, err = h.dialUDP(netip.AddrPortFrom(a, uint16(port)))
		} else {
			c, err = h.DialTCP(ctx, netip.AddrPortFrom(a, uint16(port)))
		}
		if err == nil {
			return c, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, err
}

// DialTCP opens a TCP connection.
func (h *Host) DialTCP(ctx context.Context, to netip.AddrPort) (*TCPConn, error) {
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, opError("dial", "tcp", syscall.ENETDOWN)
	}
	src, err := h.source(to.Addr())
	if err != nil {
		return nil, opError("dial", "tcp", err)
	}
	port := h.ephemeral(func(p uint16) bool { return h.tcp[connKey{netip.AddrPortFrom(src, p), to}] == nil })
	c := h.newConn(connKey{netip.AddrPortFrom(src, port), to}, synSent)
	c.submit(func() { c.sendSyn() })
	for c.state == synSent && c.err == nil {
		changed := c.ready.wait()
		n.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		n.mu.Lock()
		if ctx.Err() != nil && c.state == synSent {
			c.remove()
			err := ctx.Err()
			if err == context.DeadlineExceeded {
				err = syscall.ETIMEDOUT
			}
			c.fail(err)
		}
	}
	if c.err != nil {
		return nil, opError("dial", "tcp", c.err)
	}
	return c, nil
}

// localTCP gives a segment to its connection.
func (h *Host) localTCP(pkt *Packet) {
	if c := h.tcp[connKey{pkt.Dst, pkt.Src}]; c != nil {
		c.input(pkt)
		return
	}
	if pkt.tcp.rst {
		return
	}
	if pkt.tcp.syn && !pkt.tcp.ok {
		if l := h.listener(pkt.Dst); l != nil && len(l.pending) < backlog {
			c := h.newConn(connKey{pkt.Dst, pkt.Src}, synReceived)
			c.listener = l
			c.input(pkt)
			return
		}
	}
	h.answer(&Packet{
		Proto: TCP, Src: pkt.Dst, Dst: pkt.Src, TTL: defaultTTL,
		tcp: tcpHeader{seq: pkt.tcp.ack, ack: pkt.tcp.seq, rst: true, ok: true},
	})
}

// listener returns who accepts connections to addr.
func (h *Host) listener(addr netip.AddrPort) *Listener {
	k := socketKey{v6: addr.Addr().Is6(), port: addr.Port(), addr: addr.Addr()}
	if l := h.listens[k]; l != nil {
		return l
	}
	k.addr = netip.Addr{}
	return h.listens[k]
}

// udpStream is a UDP socket with one correspondent. It is a net.Conn.
type udpStream struct {
	*UDPConn
	to netip.AddrPort
}

func (h *Host) dialUDP(to netip.AddrPort) (net.Conn, error) {
	network := "udp4"
	if to.Addr().Is6() {
		network = "udp6"
	}
	c, err := h.ListenUDP(network, netip.Addr{}, 0)
	if err != nil {
		return nil, err
	}
	return &udpStream{c, to}, nil
}

func (s *udpStream) Read(b []byte) (int, error) {
	for {
		n, from, err := s.ReadFromUDPAddrPort(b)
		if err != nil || from == s.to {
			return n, err
		}
	}
}

func (s *udpStream) Write(b []byte) (int, error) { return s.WriteToUDPAddrPort(b, s.to) }
func (s *udpStream) RemoteAddr() net.Addr        { return net.UDPAddrFromAddrPort(s.to) }

// minRTO and maxRTO bound the time after which a segment is sent again; synRetry is that
// of the first SYN. A connection gives up after maxRetries in a row.
const (
	minRTO     = 200 * time.Millisecond
	maxRTO     = time.Minute
	synRetry   = time.Second
	maxRetries = 15
	synRetries = 6
)
