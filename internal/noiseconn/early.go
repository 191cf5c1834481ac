package noiseconn

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"github.com/ginnel/ginnel/wire/control"
)

// earlyHeaderSize is what precedes the payload's JSON: the magic and a length,
// in all as many bytes as an HTTP/2 frame header has.
const earlyHeaderSize = len(control.EarlyPayloadMagic) + 4

// AppendEarlyPayload appends the framed payload to dst. Only clients of
// control.VersionEarlyPayload and later understand it.
func AppendEarlyPayload(dst []byte, p control.EarlyNoise) ([]byte, error) {
	body, err := json.Marshal(p)
	if err != nil {
		return dst, fmt.Errorf("encode early payload: %w", err)
	}
	dst = append(dst, control.EarlyPayloadMagic...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(body)))
	return append(dst, body...), nil
}

// ClientConn is the client's end of a Conn on which HTTP/2 is to be spoken: the
// first read takes an early payload off the stream if the server sent one. It
// never waits for one, so that the client may send its HTTP/2 preface at once.
type ClientConn struct {
	*Conn

	mu      sync.Mutex
	head    []byte // what has been read of the first bytes, then what of it is HTTP/2's
	settled bool
	err     error
	payload *control.EarlyNoise
}

// NewClientConn returns conn with the early payload, if any, taken off.
func NewClientConn(conn *Conn) *ClientConn { return &ClientConn{Conn: conn} }

// EarlyPayload returns what the server sent, once the first read is done; nil
// means nothing, or not yet.
func (c *ClientConn) EarlyPayload() *control.EarlyNoise {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.payload
}

// Read reads the stream that follows the early payload.
func (c *ClientConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	if !c.settled {
		if err := c.settle(); err != nil {
			c.mu.Unlock()
			return 0, err
		}
	}
	if len(c.head) > 0 {
		n := copy(p, c.head)
		c.head = c.head[n:]
		c.mu.Unlock()
		return n, nil
	}
	c.mu.Unlock()
	return c.Conn.Read(p)
}

// settle reads the first bytes and decides what they are.
func (c *ClientConn) settle() error {
	if c.err != nil {
		return c.err
	}
	if err := c.need(earlyHeaderSize); err != nil {
		return err
	}
	if string(c.head[:len(control.EarlyPayloadMagic)]) != control.EarlyPayloadMagic {
		c.settled = true
		return nil
	}
	size := binary.BigEndian.Uint32(c.head[len(control.EarlyPayloadMagic):])
	if size > control.MaxEarlyPayload {
		c.err = fmt.Errorf("early payload of %d bytes, at most %d are allowed", size, control.MaxEarlyPayload)
		return c.err
	}
	if err := c.need(earlyHeaderSize + int(size)); err != nil {
		return err
	}
	var p control.EarlyNoise
	if err := json.Unmarshal(c.head[earlyHeaderSize:], &p); err != nil {
		c.err = fmt.Errorf("decode early payload: %w", err)
		return c.err
	}
	c.payload, c.head, c.settled = &p, nil, true
	return nil
}

// need reads until head holds n bytes. It grows head as bytes arrive, not by
// what the other side says, and keeps them when a read fails.
func (c *ClientConn) need(n int) error {
	var chunk [512]byte
	for len(c.head) < n {
		got, err := c.Conn.Read(chunk[:min(len(chunk), n-len(c.head))])
		c.head = append(c.head, chunk[:got]...)
		if err != nil {
			if err == io.EOF && len(c.head) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}
