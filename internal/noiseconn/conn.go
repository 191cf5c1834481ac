// Package noiseconn puts a ts2021 session on a connection: Conn is a net.Conn
// whose bytes travel as Noise records, Upgrade is the client's way to get one
// through an HTTP/1.1 upgrade, and the early payload that a server may send in
// front of HTTP/2 is written and recognised here (wire document control,
// sections 3.3, 3.6 and 3.7).
//
// It is not the cryptography (package wire/noise), it dials nothing, and it does
// not choose between plain HTTP and TLS.
package noiseconn

import (
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/ginnel/ginnel/wire/key"
	"github.com/ginnel/ginnel/wire/noise"
)

const (
	// readBuffer holds two records, so that one read from the socket brings
	// more than the record at hand.
	readBuffer = 2 * noise.MaxFrame
	// recordsPerWrite is how many records go to the socket in one write: what
	// an HTTP/2 frame of the default size needs.
	recordsPerWrite = 5
)

var writeBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, recordsPerWrite*noise.MaxFrame)
	return &b
}}

// Conn is a net.Conn over a Noise session. One goroutine may read while another
// writes. Closing it closes the connection below; there is no close message.
type Conn struct {
	under   net.Conn
	session *noise.Session

	readMu  sync.Mutex
	readErr error  // the stream is out of step; every later read fails with it
	buf     []byte // from the socket, buf[start:end] not yet opened
	start   int
	end     int
	plain   []byte // opened, not yet read; lies inside buf

	writeMu  sync.Mutex
	writeErr error // an earlier write failed; every later write fails with it
}

// New returns a connection that carries the session's records over under.
// leftover holds bytes that were already read from under past the end of the
// handshake; it is copied.
func New(under net.Conn, session *noise.Session, leftover []byte) *Conn {
	c := &Conn{under: under, session: session, buf: make([]byte, max(readBuffer, len(leftover)))}
	c.end = copy(c.buf, leftover)
	return c
}

// Peer returns the machine key of the other side, proved by the handshake.
func (c *Conn) Peer() key.MachinePublic { return c.session.Peer() }

// Version returns the client's capability version as named in the handshake.
func (c *Conn) Version() uint16 { return c.session.Version() }

// HandshakeHash returns the hash that both sides of this session share.
func (c *Conn) HandshakeHash() [32]byte { return c.session.HandshakeHash() }

// Read reads plaintext. Records without any are skipped. A record that does not
// open ends the reading for good; a deadline that passes does not.
func (c *Conn) Read(p []byte) (int, error) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	if len(p) == 0 {
		return 0, c.readErr
	}
	for len(c.plain) == 0 {
		if c.readErr != nil {
			return 0, c.readErr
		}
		if err := c.openRecord(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.plain)
	c.plain = c.plain[n:]
	return n, nil
}

// openRecord opens the next record into c.plain.
func (c *Conn) openRecord() error {
	if err := c.fill(noise.HeaderSize); err != nil {
		return err
	}
	size, err := noise.RecordSize(c.buf[c.start:c.end])
	if err != nil {
		c.readErr = err
		return err
	}
	if err := c.fill(noise.HeaderSize + size); err != nil {
		return err
	}
	body := c.buf[c.start+noise.HeaderSize : c.start+noise.HeaderSize+size]
	c.start += noise.HeaderSize + size
	c.plain, err = c.session.AppendOpen(body[:0], body)
	c.readErr = err
	return err
}

// fill reads from the socket until n bytes are buffered. What it got before an
// error stays buffered. An end of the stream inside a record is unexpected.
func (c *Conn) fill(n int) error {
	if len(c.buf)-c.start < n {
		c.end = copy(c.buf, c.buf[c.start:c.end])
		c.start = 0
	} else if c.start == c.end {
		c.start, c.end = 0, 0
	}
	for c.end-c.start < n {
		got, err := c.under.Read(c.buf[c.end:])
		c.end += got
		if err != nil && c.end-c.start < n {
			if err == io.EOF && (c.end > c.start) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// Write seals p into records and writes them. After any error every later write
// fails: the other side would see a gap in the record numbers.
func (c *Conn) Write(p []byte) (int, error) {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if c.writeErr != nil {
		return 0, c.writeErr
	}
	pooled := writeBuffers.Get().(*[]byte)
	defer writeBuffers.Put(pooled)
	written := 0
	for len(p) > 0 {
		out, taken := (*pooled)[:0], 0
		for range recordsPerWrite {
			chunk := p[taken:min(taken+noise.MaxPlaintext, len(p))]
			if len(chunk) == 0 {
				break
			}
			var err error
			if out, err = c.session.AppendSeal(out, chunk); err != nil {
				c.writeErr = err
				return written, err
			}
			taken += len(chunk)
		}
		if _, err := c.under.Write(out); err != nil {
			c.writeErr = fmt.Errorf("noise connection is broken by an earlier write: %w", err)
			return written, err
		}
		written += taken
		p = p[taken:]
	}
	return written, nil
}

// Close closes the connection below.
func (c *Conn) Close() error { return c.under.Close() }

// LocalAddr returns the local address of the connection below.
func (c *Conn) LocalAddr() net.Addr { return c.under.LocalAddr() }

// RemoteAddr returns the remote address of the connection below.
func (c *Conn) RemoteAddr() net.Addr { return c.under.RemoteAddr() }

// SetDeadline sets both deadlines of the connection below.
func (c *Conn) SetDeadline(t time.Time) error { return c.under.SetDeadline(t) }

// SetReadDeadline sets the read deadline. Reading can go on after it passed.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.under.SetReadDeadline(t) }

// SetWriteDeadline sets the write deadline. A write that fails on it is the last.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.under.SetWriteDeadline(t) }
