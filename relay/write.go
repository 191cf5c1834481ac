package relay

import (
	"sync"
	"time"
)

// buffers holds what gathers small chunks, and what a corked socket gathers.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, gatherLen); return &b }}

// gatherLen is the size of a pooled gather buffer: what one batch makes of TLS
// records, with room for the overhead.
const gatherLen = 104 << 10

// write writes b within the deadline, which a corked socket keeps by itself.
func (c *client) write(b []byte) error {
	if c.cork != nil {
		_, err := c.nc.Write(b)
		return err
	}
	if err := c.nc.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return err
	}
	_, err := c.nc.Write(b)
	return err
}

// writeMany writes several chunks, or a long one, in as few system calls as it can.
// With a cork, every chunk becomes TLS records of its own and all of them leave in
// one call; without, small chunks are gathered first.
func (c *client) writeMany(chunks [][]byte) error {
	if c.cork == nil {
		return c.writeGathered(chunks)
	}
	buf := buffers.Get().(*[]byte)
	c.cork.Cork((*buf)[:0])
	var err error
	for _, b := range chunks {
		if err = c.write(b); err != nil {
			break
		}
	}
	out, uerr := c.cork.Uncork(true)
	if cap(out) >= gatherLen && cap(out) <= 2*gatherLen {
		*buf = out
	}
	buffers.Put(buf)
	if err == nil {
		err = uerr
	}
	return err
}

// writeGathered copies chunks together as long as they fit one buffer. Each write
// has its own deadline, so that a slow but live reader is not cut for the size of a
// batch.
func (c *client) writeGathered(chunks [][]byte) error {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	b := (*buf)[:0]
	for _, chunk := range chunks {
		if len(chunk) > maxTLSRecord || len(b)+len(chunk) > maxTLSRecord {
			if len(b) > 0 {
				if err := c.write(b); err != nil {
					return err
				}
				b = b[:0]
			}
		}
		if len(chunk) <= maxTLSRecord {
			b = append(b, chunk...)
			continue
		}
		if err := c.write(chunk); err != nil {
			return err
		}
	}
	if len(b) == 0 {
		return nil
	}
	return c.write(b)
}
