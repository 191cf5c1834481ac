package node

import (
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ginnel/ginnel/wire/control"
)

// sockets opens the UDP sockets as the server's attributes for this node allow (wire
// documents control, section 9.1, and paths, sections 14.7 and 18).
type sockets struct {
	listen func(network string, port uint16) (net.PacketConn, error)
	fixed  []uint16 // ports that this machine asks for
	rules  atomic.Pointer[socketRules]
}

// socketRules are the attributes about UDP sockets.
type socketRules struct {
	relayOnly  bool // no UDP at all
	randomPort bool // no port that could be foreseen
	plain      bool // no segmentation offload, which some kernels get wrong
}

func newSockets(listen func(string, uint16) (net.PacketConn, error), fixed ...uint16) *sockets {
	s := &sockets{listen: listen, fixed: fixed}
	s.rules.Store(&socketRules{})
	return s
}

// follow makes the attributes of self the rules, and reports whether the sockets have to be
// opened anew for that.
func (s *sockets) follow(self *control.Node) bool {
	next := socketRules{
		relayOnly:  self.HasCap(control.AttrOnlyTCP443),
		randomPort: self.HasCap(control.AttrRandomizePort),
		plain:      self.HasCap(control.AttrDisableUDPGRO) || self.HasCap(control.AttrDisableUDPGSO),
	}
	if *s.rules.Load() == next {
		return false
	}
	s.rules.Store(&next)
	return true
}

// open opens a socket for network "udp4" or "udp6".
func (s *sockets) open(network string, port uint16) (net.PacketConn, error) {
	rules := s.rules.Load()
	if rules.relayOnly {
		return newMuteConn(), nil
	}
	if rules.randomPort && slices.Contains(s.fixed, port) {
		port = 0
	}
	pc, err := s.listen(network, port)
	if err == nil && rules.plain {
		pc = struct{ net.PacketConn }{pc} // what it can do beyond that is out of sight
	}
	return pc, err
}

// muteConn is a socket to which nothing comes and from which nothing goes. It has no port,
// so that nobody is told of one.
type muteConn struct {
	mu       sync.Mutex
	deadline chan struct{} // closed and replaced when the deadline changes
	at       time.Time
	closed   bool
}

func newMuteConn() *muteConn { return &muteConn{deadline: make(chan struct{})} }

// ReadFrom waits for the deadline or the end.
func (c *muteConn) ReadFrom([]byte) (int, net.Addr, error) {
	for {
		c.mu.Lock()
		closed, at, changed := c.closed, c.at, c.deadline
		c.mu.Unlock()
		var due <-chan time.Time
		switch {
		case closed:
			return 0, nil, net.ErrClosed
		case !at.IsZero() && !time.Now().Before(at):
			return 0, nil, os.ErrDeadlineExceeded
		case !at.IsZero():
			timer := time.NewTimer(time.Until(at))
			defer timer.Stop()
			due = timer.C
		}
		select {
		case <-changed:
		case <-due:
		}
	}
}

// WriteTo loses the datagram, as a network may.
func (c *muteConn) WriteTo(b []byte, _ net.Addr) (int, error) { return len(b), nil }

// Close ends reading.
func (c *muteConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.wake()
	return nil
}

// wake has readers look again. The lock is held.
func (c *muteConn) wake() {
	close(c.deadline)
	c.deadline = make(chan struct{})
}

// LocalAddr returns an address without a port.
func (c *muteConn) LocalAddr() net.Addr { return &net.UDPAddr{IP: net.IPv4zero} }

// SetReadDeadline sets when reading ends.
func (c *muteConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = t
	c.wake()
	return nil
}

// SetDeadline is SetReadDeadline: writing never waits.
func (c *muteConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetWriteDeadline does nothing.
func (c *muteConn) SetWriteDeadline(time.Time) error { return nil }
