package vnet

import (
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// tcpState is how far a connection is.
type tcpState uint8

const (
	synSent tcpState = iota
	synReceived
	established
	closed
)

// Buffers of a connection in bytes.
const (
	sendBuffer    = 512 << 10
	receiveBuffer = 512 << 10
)

// TCPConn is a TCP connection. It is a net.Conn.
type TCPConn struct {
	h        *Host
	key      connKey
	state    tcpState
	listener *Listener // until accepted
	seq      uint64    // of what was submitted
	err      error     // why the connection ended, once it has
	ready    gate      // anything changed

	// Sending. Data starts at sequence 1.
	out       []byte // from una on
	una, next uint64
	finWanted bool
	finSeq    uint64 // of the FIN, once all data before it is known
	mss       int
	cwnd      int
	ssthresh  int
	window    int // of the other side
	dupAcks   int
	recover   uint64 // fast recovery until this is acknowledged
	rto, srtt time.Duration
	rttvar    time.Duration
	timedSeq  uint64 // a segment whose acknowledgement is timed, 0 for none
	timedAt   time.Time
	retries   int
	timer     *event

	// Receiving.
	in       []byte
	expected uint64
	early    map[uint64]*Packet
	finAt    uint64 // sequence of the other side's FIN, 0 if not seen
	ended    bool   // everything before the FIN is in

	readEnd, writeEnd deadline
	userClosed        bool
}

func (h *Host) newConn(key connKey, state tcpState) *TCPConn {
	c := &TCPConn{
		h: h, key: key, state: state, mss: 1380, ssthresh: sendBuffer, window: receiveBuffer, rto: synRetry,
		early: map[uint64]*Packet{}, finSeq: 1 << 62,
	}
	if p, _ := h.way(key.remote.Addr()); p != nil {
		c.mss = p.out.mtu() - 72
	}
	c.cwnd = 10 * c.mss
	h.tcp[key] = c
	return c
}

// submit has do called in the order of things.
func (c *TCPConn) submit(do func()) {
	c.seq++
	socket := uint64(TCP)<<32 | uint64(c.key.local.Port()) | hashAddr(c.key.remote)<<40
	c.h.net.submit(outgoing{c.h.index, socket, c.seq, do})
}

// LocalAddr returns a *net.TCPAddr.
func (c *TCPConn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(c.key.local) }

// RemoteAddr returns a *net.TCPAddr.
func (c *TCPConn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.key.remote) }

// Read implements net.Conn.
func (c *TCPConn) Read(b []byte) (int, error) {
	n := c.h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		switch {
		case c.userClosed:
			return 0, opError("read", "tcp", net.ErrClosed)
		case c.readEnd.passed:
			return 0, opError("read", "tcp", os.ErrDeadlineExceeded)
		case len(c.in) > 0:
			full := c.room() < c.mss
			k := copy(b, c.in)
			c.in = c.in[k:]
			if full && c.room() >= c.mss && c.state == established {
				c.submit(c.sendAck)
			}
			return k, nil
		case c.ended:
			return 0, io.EOF
		case c.err != nil:
			return 0, opError("read", "tcp", c.err)
		case len(b) == 0:
			return 0, nil
		}
		c.await()
	}
}

// Write implements net.Conn.
func (c *TCPConn) Write(b []byte) (total int, err error) {
	n := c.h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		switch {
		case c.userClosed:
			return total, opError("write", "tcp", net.ErrClosed)
		case c.err != nil:
			return total, opError("write", "tcp", c.err)
		case c.finWanted:
			return total, opError("write", "tcp", syscall.EPIPE)
		case c.writeEnd.passed:
			return total, opError("write", "tcp", os.ErrDeadlineExceeded)
		case len(b) == 0:
			return total, nil
		}
		if room := sendBuffer - len(c.out); room > 0 {
			k := min(room, len(b))
			c.out = append(c.out, b[:k]...)
			b, total = b[k:], total+k
			c.submit(c.output)
			continue
		}
		c.await()
	}
}

// await waits for a change. The network is locked before and after.
func (c *TCPConn) await() {
	changed := c.ready.wait()
	c.h.net.mu.Unlock()
	<-changed
	c.h.net.mu.Lock()
}

// CloseWrite tells the other side that no more data comes.
func (c *TCPConn) CloseWrite() error {
	n := c.h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if c.userClosed || c.err != nil {
		return opError("close", "tcp", net.ErrClosed)
	}
	c.finish()
	return nil
}

// Close implements net.Conn. Data that was written still leaves.
func (c *TCPConn) Close() error {
	n := c.h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if c.userClosed {
		return opError("close", "tcp", net.ErrClosed)
	}
	c.userClosed = true
	n.cancel(c.readEnd.timer)
	n.cancel(c.writeEnd.timer)
	c.ready.signal()
	if c.err != nil {
		return nil
	}
	if len(c.in) > 0 {
		c.submit(c.abort) // as kernels do: what was not read is lost, and the other side is to know
		return nil
	}
	c.finish()
	c.submit(c.settle)
	return nil
}

// finish queues the FIN.
func (c *TCPConn) finish() {
	if !c.finWanted {
		c.finWanted = true
		c.submit(c.output)
	}
}

// abort resets the connection.
func (c *TCPConn) abort() {
	if c.err == nil {
		c.transmit(tcpHeader{seq: c.next, ack: c.expected, rst: true, ok: true}, nil)
	}
	c.fail(syscall.ECONNABORTED)
}

// fail ends the connection at once.
func (c *TCPConn) fail(err error) {
	if c.err == nil {
		c.err = err
	}
	c.remove()
	c.ready.signal()
}

// remove forgets the connection; nothing is received for it any more.
func (c *TCPConn) remove() {
	n := c.h.net
	n.cancel(c.timer)
	c.timer = nil
	c.state = closed
	if c.h.tcp[c.key] == c {
		delete(c.h.tcp, c.key)
	}
}

// SetDeadline implements net.Conn.
func (c *TCPConn) SetDeadline(t time.Time) error {
	n := c.h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	c.readEnd.set(n, t, &c.ready)
	c.writeEnd.set(n, t, &c.ready)
	return nil
}

// SetReadDeadline implements net.Conn.
func (c *TCPConn) SetReadDeadline(t time.Time) error {
	n := c.h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	c.readEnd.set(n, t, &c.ready)
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *TCPConn) SetWriteDeadline(t time.Time) error {
	n := c.h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	c.writeEnd.set(n, t, &c.ready)
	return nil
}
