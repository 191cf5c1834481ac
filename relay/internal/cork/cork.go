// Package cork is a socket that can gather writes: what is written between Cork and
// Uncork leaves in one system call. It sits under TLS, which writes every record by
// itself. It is not a buffered writer: uncorked, it writes through.
package cork

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// maxIdle is the most buffer kept between batches, in bytes.
const maxIdle = 80 << 10

// Conn is a connection with a cork. The zero cork is out.
type Conn struct {
	net.Conn

	mu     sync.Mutex // TLS also writes from its reading side
	corked bool
	buf    []byte
	stall  time.Duration
}

// New returns nc with the cork out.
func New(nc net.Conn) *Conn { return &Conn{Conn: nc} }

// NetConn returns the connection below.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// SetStallTimeout makes writes fail with os.ErrDeadlineExceeded when the other side
// takes in not a byte for so long, however long the whole write is. It takes the
// place of SetWriteDeadline; zero ends it.
func (c *Conn) SetStallTimeout(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stall = d
}

// Write writes through, or gathers when corked.
func (c *Conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.corked {
		return c.writeLocked(b)
	}
	c.buf = append(c.buf, b...)
	return len(b), nil
}

// writeLocked writes to the socket, giving up only when nothing moves.
func (c *Conn) writeLocked(b []byte) (int, error) {
	if c.stall == 0 {
		return c.Conn.Write(b)
	}
	written := 0
	for {
		if err := c.Conn.SetWriteDeadline(time.Now().Add(c.stall)); err != nil {
			return written, err
		}
		n, err := c.Conn.Write(b[written:])
		written += n
		if err == nil || n == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return written, err
		}
	}
}

// Cork begins to gather, in buf if it is given; the caller leaves it alone until
// Uncork.
func (c *Conn) Cork(buf []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.corked = true
	if buf != nil {
		c.buf = buf[:0]
	}
}

// Uncork writes what was gathered and returns to writing through. With giveBack it
// returns the buffer, grown perhaps, and keeps none.
func (c *Conn) Uncork(giveBack bool) (buf []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.corked = false
	if len(c.buf) > 0 {
		_, err = c.writeLocked(c.buf)
		c.buf = c.buf[:0]
	}
	if giveBack {
		buf, c.buf = c.buf, nil
	} else if cap(c.buf) > maxIdle {
		c.buf = nil
	}
	return buf, err
}
