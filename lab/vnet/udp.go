package vnet

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// udpQueue is how many bytes wait in a UDP socket before more are dropped.
const udpQueue = 1 << 20

// UDPConn is a UDP socket of a host. It is a net.PacketConn.
type UDPConn struct {
	h   *Host
	key socketKey
	seq uint64

	queue  []*Packet
	queued int
	ready  gate
	read   deadline
	closed bool
}

// opError wraps an error as package net does.
func opError(op, network string, err error) error {
	return &net.OpError{Op: op, Net: network, Err: err}
}

// ListenUDP opens a UDP socket. network is "udp4", "udp6" or "udp"; the latter takes the
// family of ip. ip may be the unspecified or no address, for all of the host's, and port
// 0, for any.
func (h *Host) ListenUDP(network string, ip netip.Addr, port uint16) (*UDPConn, error) {
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
			return h.udp[k] == nil
		})
	}
	if h.udp[key] != nil {
		return nil, opError("listen", network, syscall.EADDRINUSE)
	}
	c := &UDPConn{h: h, key: key}
	h.udp[key] = c
	return c, nil
}

// socketKey checks where a socket is to be bound.
func (h *Host) socketKey(network string, ip netip.Addr, port uint16) (socketKey, error) {
	k := socketKey{port: port}
	switch network[len(network)-1] {
	case '6':
		k.v6 = true
	case '4':
	default:
		k.v6 = ip.Is6() && !ip.Is4In6()
	}
	ip = ip.Unmap()
	if ip.IsValid() && !ip.IsUnspecified() {
		if ip.Is6() != k.v6 {
			return k, syscall.EAFNOSUPPORT
		}
		if !h.owns(ip) {
			return k, syscall.EADDRNOTAVAIL
		}
		k.addr = ip
	}
	if k.v6 && !h.has6() {
		return k, syscall.EAFNOSUPPORT
	}
	return k, nil
}

// has6 reports whether the host knows IPv6 at all.
func (h *Host) has6() bool {
	for _, p := range h.ports {
		if p.addr(false).IsValid() {
			return true
		}
	}
	return false
}

// ephemeral picks a local port.
func (h *Host) ephemeral(free func(uint16) bool) uint16 {
	for {
		if p := uint16(32768 + h.dice.below(0, 28232)); free(p) {
			return p
		}
	}
}

// LocalAddr returns the bound address, which is a *net.UDPAddr.
func (c *UDPConn) LocalAddr() net.Addr {
	ip := c.key.addr
	if !ip.IsValid() {
		if ip = netip.IPv4Unspecified(); c.key.v6 {
			ip = netip.IPv6Unspecified()
		}
	}
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, c.key.port))
}

// WriteTo sends a datagram. Like a kernel it reports only what is known at once.
func (c *UDPConn) WriteTo(b []byte, to net.Addr) (int, error) {
	ua, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, opError("write", "udp", fmt.Errorf("%T is not a UDP address", to))
	}
	return c.WriteToUDPAddrPort(b, ua.AddrPort())
}

// WriteToUDPAddrPort is WriteTo without the conversions.
func (c *UDPConn) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	n := c.h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	if c.closed {
		return 0, opError("write", "udp", net.ErrClosed)
	}
	if to.Addr().Is6() != c.key.v6 {
		return 0, opError("write", "udp", syscall.EAFNOSUPPORT)
	}
	src := c.key.addr
	if !src.IsValid() {
		var err error
		if src, err = c.h.source(to.Addr()); err != nil {
			return 0, opError("write", "udp", err)
		}
	}
	pkt := &Packet{Proto: UDP, Src: netip.AddrPortFrom(src, c.key.port), Dst: to, TTL: defaultTTL, Data: append([]byte(nil), b...)}
	if err := c.h.check(pkt); err != nil {
		return 0, opError("write", "udp", err)
	}
	c.seq++
	// Goroutines that share a socket may race; not so towards one destination.
	socket := uint64(UDP)<<32 | uint64(c.key.port) | hashAddr(to)<<40
	n.submit(outgoing{c.h.index, socket, c.seq, func() { _ = c.h.send(pkt) }})
	return len(b), nil
}

// check returns the error that the kernel knows of before a packet leaves.
func (h *Host) check(pkt *Packet) error {
	if h.owns(pkt.Dst.Addr()) {
		return nil
	}
	p, _ := h.way(pkt.Dst.Addr())
	if p == nil {
		return syscall.ENETUNREACH
	}
	if pkt.Size() > p.out.mtu() {
		return syscall.EMSGSIZE
	}
	if known, ok := h.mtus[pkt.Dst.Addr()]; ok && pkt.Size() > known {
		return syscall.EMSGSIZE
	}
	return nil
}

// localUDP gives a datagram to its socket.
func (h *Host) localUDP(pkt *Packet) {
	k := socketKey{v6: pkt.Dst.Addr().Is6(), port: pkt.Dst.Port(), addr: pkt.Dst.Addr()}
	c := h.udp[k]
	if c == nil {
		k.addr = netip.Addr{}
		c = h.udp[k]
	}
	if c == nil {
		if !pkt.Dst.Addr().IsMulticast() {
			h.answer(icmpError(pkt.Dst.Addr(), pkt, portUnreachable, 0))
		}
		return
	}
	if c.queued+len(pkt.Data) > udpQueue {
		return
	}
	c.queue = append(c.queue, pkt)
	c.queued += len(pkt.Data)
	c.ready.signal()
}

// answer sends a packet that answers another, if it is not nil.
func (h *Host) answer(pkt *Packet) {
	if pkt != nil {
		_ = h.send(pkt)
	}
}

// ReadFrom waits for a datagram. What does not fit into b is lost.
func (c *UDPConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.ReadFromUDPAddrPort(b)
	if err != nil {
		return 0, nil, err
	}
	return n, net.UDPAddrFromAddrPort(from), nil
}

// ReadFromUDPAddrPort is ReadFrom without the conversions.
func (c *UDPConn) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	n := c.h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, netip.AddrPort{}, opError("read", "udp", net.ErrClosed)
		case c.read.passed:
			return 0, netip.AddrPort{}, opError("read", "udp", os.ErrDeadlineExceeded)
		case len(c.queue) > 0:
			pkt := c.queue[0]
			c.queue[0] = nil
			c.queue = c.queue[1:]
			c.queued -= len(pkt.Data)
			return copy(b, pkt.Data), pkt.Src, nil
		}
		changed := c.ready.wait()
		n.mu.Unlock()
		<-changed
		n.mu.Lock()
	}
}

// Close closes the socket.
func (c *UDPConn) Close() error {
	n := c.h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if c.closed {
		return opError("close", "udp", net.ErrClosed)
	}
	if c.h.udp[c.key] == c {
		delete(c.h.udp, c.key)
	}
	c.shut()
	return nil
}

// shut ends reading and writing.
func (c *UDPConn) shut() {
	c.closed = true
	n := c.h.net
	n.cancel(c.read.timer)
	c.ready.signal()
}

// SetReadDeadline implements net.PacketConn.
func (c *UDPConn) SetReadDeadline(t time.Time) error {
	n := c.h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	c.read.set(n, t, &c.ready)
	return nil
}

// SetDeadline implements net.PacketConn. Writing never waits.
func (c *UDPConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetWriteDeadline implements net.PacketConn. Writing never waits.
func (c *UDPConn) SetWriteDeadline(time.Time) error { return nil }
