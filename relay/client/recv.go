package client

import (
	"fmt"
	"net/netip"

	"golang.org/x/time/rate"

	"github.com/ginnel/ginnel/wire/key"
	"github.com/ginnel/ginnel/wire/relay"
)

// Kind says what a Message is.
type Kind uint8

// Kinds of Message, and the fields that each sets.
const (
	KindPacket      Kind = iota + 1 // Peer is the source, Data the packet
	KindConnected                   // the relay has admitted this client; Info
	KindKeepAlive                   // the relay is alive
	KindPeerGone                    // Peer, Reason
	KindPeerPresent                 // Peer, Addr, Flags; only after WatchConns
	KindHealth                      // Data is the text; empty means well again
	KindRestarting                  // Restarting
)

// Message is one thing that a relay said.
type Message struct {
	Kind       Kind
	Peer       key.NodePublic
	Data       []byte
	Reason     relay.GoneReason
	Addr       netip.AddrPort
	Flags      relay.PresentFlags
	Info       relay.ServerInfo
	Restarting relay.Restarting
}

// Buffered reports whether a whole frame has been read ahead. Then the next Recv
// leaves the Data of earlier messages alone, so that a batch of them can be
// gathered; the first Recv called while Buffered is false makes them invalid. It is
// for the goroutine that calls Recv.
func (c *Conn) Buffered() bool { return c.in.ready() }

// Recv waits for the next message. It answers pings, takes in pongs and skips what
// it does not know. Data is valid as Buffered tells. An error is final: silence of
// two minutes, a broken connection, or a relay that breaks the protocol. The
// connection is then closed.
func (c *Conn) Recv() (Message, error) {
	for {
		if !c.in.ready() {
			if err := c.nc.SetReadDeadline(deadline()); err != nil {
				return Message{}, fmt.Errorf("relay client: %w", err)
			}
		}
		typ, payload, err := c.in.frame(c.nc)
		if err != nil {
			c.end()
			return Message{}, fmt.Errorf("relay client: read: %w", err)
		}
		m, err := c.message(typ, payload)
		if err != nil {
			c.end()
			return Message{}, err
		}
		if m.Kind != 0 {
			return m, nil
		}
	}
}

// message makes a Message of a frame. A zero Kind means that there is nothing to
// tell; an error is fatal.
func (c *Conn) message(typ relay.FrameType, payload []byte) (m Message, err error) {
	switch typ {
	case relay.FrameRecvPacket:
		m.Kind = KindPacket
		m.Peer, m.Data, err = relay.ParseRecvPacket(payload)
	case relay.FrameKeepAlive:
		m.Kind = KindKeepAlive
	case relay.FramePing, relay.FramePong:
		err = c.pingOrPong(typ, payload)
	case relay.FrameServerInfo:
		m.Kind = KindConnected
		if m.Info, err = relay.ParseServerInfo(payload, c.priv, c.server); err != nil {
			return m, fmt.Errorf("relay client: %w", err)
		}
		c.setLimit(m.Info)
	case relay.FramePeerGone:
		m.Kind = KindPeerGone
		m.Peer, m.Reason, err = relay.ParsePeerGone(payload)
	case relay.FramePeerPresent:
		var p relay.PeerPresent
		m.Kind = KindPeerPresent
		p, err = relay.ParsePeerPresent(payload)
		m.Peer, m.Addr, m.Flags = p.Key, p.Addr, p.Flags
	case relay.FrameHealth:
		m.Kind, m.Data = KindHealth, payload
	case relay.FrameRestarting:
		m.Kind = KindRestarting
		m.Restarting, err = relay.ParseRestarting(payload)
	}
	if err != nil { // a short frame: skipped, as section 6 says
		c.opts.Logger.Debug("relay sent a malformed frame", "error", err)
		return Message{}, nil
	}
	return m, nil
}

// pingOrPong takes a Ping or Pong frame.
func (c *Conn) pingOrPong(typ relay.FrameType, payload []byte) error {
	data, err := relay.ParsePing(payload)
	if err != nil {
		return err
	}
	if typ == relay.FramePing {
		c.answer(data)
	} else {
		c.gotPong(data)
	}
	return nil
}

// setLimit takes over the rate that the relay asks for.
func (c *Conn) setLimit(info relay.ServerInfo) {
	if info.TokenBucketBytesPerSecond <= 0 {
		c.limiter.Store(nil)
		return
	}
	c.limiter.Store(rate.NewLimiter(rate.Limit(info.TokenBucketBytesPerSecond), info.TokenBucketBytesBurst))
}
