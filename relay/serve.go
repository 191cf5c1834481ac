package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/ginnel/ginnel/internal/connlimit"
	"github.com/ginnel/ginnel/relay/internal/cork"
	wire "github.com/ginnel/ginnel/wire/relay"
)

// netConner is a connection around another, such as TLS.
type netConner interface{ NetConn() net.Conn }

// rawConn returns the innermost connection of nc.
func rawConn(nc net.Conn) net.Conn {
	for {
		outer, ok := nc.(netConner)
		if !ok {
			return nc
		}
		nc = outer.NetConn()
	}
}

// corkOf returns the corked connection inside nc, or nil. Only one under another
// connection counts: without TLS there is nothing to gather.
func corkOf(nc net.Conn) *cork.Conn {
	for {
		outer, ok := nc.(netConner)
		if !ok {
			return nil
		}
		nc = outer.NetConn()
		if c, ok := nc.(*cork.Conn); ok {
			return c
		}
	}
}

// serve runs one connection from the first frame to its end.
func (s *Server) serve(nc, raw net.Conn, st start) {
	s.stats.accepts.Add(1)
	c, rest, err := s.handshake(nc, raw, st)
	if err != nil {
		s.stats.refused.Add(1)
		s.log.Debug("relay handshake failed", "addr", st.addr, "error", err)
		return
	}
	s.log.Debug("relay client connected", "client", c.key.ShortString(), "addr", st.addr, "mesh", c.mesh)
	s.register(c)
	c.out.Start() // only now the ServerInfo leaves: who has seen it can be reached
	c.startKeepAlive()
	err = c.readLoop(rest)
	s.unregister(c)
	c.end()
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		s.stats.failed.Add(1)
		s.log.Debug("relay client failed", "client", c.key.ShortString(), "addr", st.addr, "error", err)
	} else {
		s.log.Debug("relay client disconnected", "client", c.key.ShortString(), "addr", st.addr)
	}
}

// handshake sends the relay's key, reads who the client is, decides whether to admit
// it and tells it so. rest is what was read beyond the client's first frame.
func (s *Server) handshake(nc, raw net.Conn, st start) (c *client, rest []byte, err error) {
	if err := nc.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return nil, nil, err
	}
	if _, err := nc.Write(wire.AppendServerKey(st.greeting, s.pub)); err != nil {
		return nil, nil, fmt.Errorf("sending the server key: %w", err)
	}
	deadline := time.Now().Add(handshakeTimeout)
	if err := nc.SetDeadline(deadline); err != nil {
		return nil, nil, err
	}
	payload, rest, err := readClientInfo(nc, st.early)
	if err != nil {
		return nil, nil, err
	}
	k, info, err := wire.ParseClientInfo(payload, s.priv)
	if err != nil {
		return nil, nil, err
	}
	c = &client{
		s: s, nc: nc, raw: raw, cork: corkOf(nc),
		key: k, addr: st.addr, info: info,
		mesh:     s.cfg.MeshKey.Equal(info.MeshKey),
		notIdeal: st.notIdeal,
		timeout:  s.cfg.WriteTimeout,
		since:    time.Now(),
	}
	if c.mesh {
		c.timeout = meshWriteTimeout
	} else if err := s.admit(c, deadline); err != nil {
		return nil, nil, fmt.Errorf("client %s not admitted: %w", k.ShortString(), err)
	}
	connlimit.Admit(st.outer)
	hello, err := wire.AppendServerInfo(nil, s.priv, k, wire.ServerInfo{Version: wire.ProtocolVersion})
	if err != nil {
		return nil, nil, err
	}
	if err := nc.SetDeadline(time.Time{}); err != nil {
		return nil, nil, err
	}
	if c.cork != nil {
		c.cork.SetStallTimeout(c.timeout)
	}
	c.out.Init(&s.limits, c)
	c.out.Preload(hello)
	return c, rest, nil
}

// admit asks whether a client that does not hold the mesh key may use the relay.
func (s *Server) admit(c *client, deadline time.Time) error {
	if s.cfg.Verify == nil {
		return nil
	}
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	return s.cfg.Verify(ctx, c.key, c.addr.Addr())
}

// readClientInfo reads the first frame, which begins with early.
func readClientInfo(r io.Reader, early []byte) (payload, rest []byte, err error) {
	buf := early
	for {
		typ, n, ok := wire.ParseHeader(buf)
		if ok {
			if typ != wire.FrameClientInfo {
				return nil, nil, fmt.Errorf("first frame is %v, want %v", typ, wire.FrameClientInfo)
			}
			if n < wire.MinClientInfo || n > wire.MaxClientInfo {
				return nil, nil, fmt.Errorf("frame %v of %d bytes, allowed are %d to %d", typ, n, wire.MinClientInfo, wire.MaxClientInfo)
			}
			if end := wire.HeaderLen + int(n); len(buf) >= end {
				return buf[wire.HeaderLen:end], buf[end:], nil
			}
		}
		at := len(buf)
		buf = append(buf, make([]byte, clientInfoChunk)...)
		m, err := r.Read(buf[at:])
		buf = buf[:at+m]
		if m == 0 && err != nil {
			return nil, nil, fmt.Errorf("reading frame %v: %w", wire.FrameClientInfo, err)
		}
	}
}

// clientInfoChunk is how much is read at a time of a first frame, so that what a
// stranger announces costs no memory before it comes.
const clientInfoChunk = 1 << 10
