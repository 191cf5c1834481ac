package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/ginnel/ginnel/relay/internal/cork"
	"github.com/ginnel/ginnel/wire/key"
	"github.com/ginnel/ginnel/wire/relay"
)

// Conn is an established connection to a relay. One goroutine calls Recv, and must,
// for pings to be answered; everything else is safe for concurrent use.
type Conn struct {
	opts   Options
	nc     net.Conn   // raw, or TLS over cork over raw
	cork   *cork.Conn // nil without TLS
	raw    net.Conn
	priv   key.NodePrivate
	server key.NodePublic
	local  netip.AddrPort

	in      frameReader
	limiter atomic.Pointer[rate.Limiter] // nil: the relay sets no limit
	ponging atomic.Bool                  // a pong is being written

	wmu  sync.Mutex
	wbuf []byte // batch being made, kept for the next

	pmu   sync.Mutex
	pings map[[relay.PingLen]byte]chan struct{}

	ended   chan struct{} // closed with the connection
	endOnce sync.Once
}

// errEnded is the error of what waits for a connection that has ended.
var errEnded = errors.New("the connection has ended")

// end closes the connection.
func (c *Conn) end() error {
	c.endOnce.Do(func() { close(c.ended) })
	return c.raw.Close()
}

// batchLen is the size in bytes at which a batch is written out, a few TLS records;
// a batch can be one packet longer.
const batchLen = 48 << 10

// ErrTooLong is the error of a packet longer than relays carry.
var ErrTooLong = errors.New("relay client: packet longer than 65536 bytes")

// SendBatch sends packets to the holder of dst, in order and in as few writes as
// they fit in. It returns once they are with the operating system, which takes as
// long as the relay is slow to read. Packets over the rate that the relay asked
// for are dropped without an error.
func (c *Conn) SendBatch(dst key.NodePublic, pkts [][]byte) error {
	for _, p := range pkts {
		if len(p) > relay.MaxPacketData {
			return ErrTooLong
		}
	}
	limiter := c.limiter.Load()
	c.wmu.Lock()
	defer c.wmu.Unlock()
	for _, p := range pkts {
		if limiter != nil && !limiter.AllowN(time.Now(), relay.HeaderLen+relay.KeyLen+len(p)) {
			continue
		}
		c.wbuf = relay.AppendSendPacket(c.wbuf, dst, p)
		if len(c.wbuf) >= batchLen {
			if err := c.flushLocked(); err != nil {
				return err
			}
		}
	}
	return c.flushLocked()
}

// Packet is a packet and the peer at its other end.
type Packet struct {
	Peer key.NodePublic
	Data []byte
}

// SendPackets is SendBatch for packets to several peers.
func (c *Conn) SendPackets(pkts []Packet) error {
	for _, p := range pkts {
		if len(p.Data) > relay.MaxPacketData {
			return ErrTooLong
		}
	}
	limiter := c.limiter.Load()
	c.wmu.Lock()
	defer c.wmu.Unlock()
	for _, p := range pkts {
		if limiter != nil && !limiter.AllowN(time.Now(), relay.HeaderLen+relay.KeyLen+len(p.Data)) {
			continue
		}
		c.wbuf = relay.AppendSendPacket(c.wbuf, p.Peer, p.Data)
		if len(c.wbuf) >= batchLen {
			if err := c.flushLocked(); err != nil {
				return err
			}
		}
	}
	return c.flushLocked()
}

// WriteFrames writes frames that the caller encoded, as mesh links do with
// forwarded packets. An error of a write is final: the connection is closed.
func (c *Conn) WriteFrames(frames []byte) error {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	return c.writeLocked(frames)
}

// flushLocked writes wbuf out.
func (c *Conn) flushLocked() error {
	err := c.writeLocked(c.wbuf)
	c.wbuf = c.wbuf[:0]
	return err
}

// writeLocked writes frames in one system call where it can.
func (c *Conn) writeLocked(frames []byte) error {
	if len(frames) == 0 {
		return nil
	}
	if t := c.opts.WriteTimeout; t > 0 {
		_ = c.raw.SetWriteDeadline(time.Now().Add(t)) // fails if the write does too
	}
	var err error
	if c.cork == nil || len(frames) <= maxTLSRecord {
		_, err = c.nc.Write(frames)
	} else {
		c.cork.Cork(nil)
		_, err = c.nc.Write(frames)
		if _, uerr := c.cork.Uncork(false); err == nil {
			err = uerr
		}
	}
	if err != nil {
		c.end() // a frame may be half written: the stream is of no more use
		return fmt.Errorf("relay client: write: %w", err)
	}
	return nil
}

// maxTLSRecord is the most data in one TLS record, in bytes.
const maxTLSRecord = 16 << 10

// writeSmall writes one frame made by appendTo.
func (c *Conn) writeSmall(appendTo func([]byte) []byte) error {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	c.wbuf = appendTo(c.wbuf)
	return c.flushLocked()
}

// NotePreferred tells the relay whether it is this client's home.
func (c *Conn) NotePreferred(home bool) error {
	return c.writeSmall(func(b []byte) []byte { return relay.AppendNotePreferred(b, home) })
}

// WatchConns asks for a PeerPresent message for every client now there, and for
// those that come and go from now on. The relay closes the connection of a client
// that did not show the mesh key.
func (c *Conn) WatchConns() error { return c.writeSmall(relay.AppendWatchConns) }

// ClosePeer makes the relay close all connections of a client. It needs the mesh
// key, like WatchConns.
func (c *Conn) ClosePeer(peer key.NodePublic) error {
	return c.writeSmall(func(b []byte) []byte { return relay.AppendClosePeer(b, peer) })
}

// ServerPublicKey returns the relay's key.
func (c *Conn) ServerPublicKey() key.NodePublic { return c.server }

// LocalAddr returns the address that the connection goes out from, zero if it is no
// TCP connection.
func (c *Conn) LocalAddr() netip.AddrPort { return c.local }

// Close closes the connection and makes a blocked Recv or send fail.
func (c *Conn) Close() error { return c.end() }

// Ping measures a round trip to the relay, waiting at most five seconds, and no longer
// than the connection lasts. Somebody must be calling Recv meanwhile.
func (c *Conn) Ping(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, maxPingTimeout)
	defer cancel()
	data, done := c.newPing()
	defer c.forgetPing(data)
	sent := time.Now()
	if err := c.writeSmall(func(b []byte) []byte { return relay.AppendPing(b, data) }); err != nil {
		return 0, err
	}
	select {
	case <-done:
		return time.Since(sent), nil
	case <-c.ended:
		return 0, fmt.Errorf("relay client: ping: %w", errEnded)
	case <-ctx.Done():
		return 0, fmt.Errorf("relay client: ping: %w", ctx.Err())
	}
}
