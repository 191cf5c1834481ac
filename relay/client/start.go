package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"

	"github.com/ginnel/ginnel/relay/internal/cork"
	"github.com/ginnel/ginnel/wire/relay"
)

// Dial connects to a relay and introduces the client. It takes at most ten seconds
// and returns without waiting for the relay to admit the client: a refusal shows as
// an error of Recv before any message.
func Dial(ctx context.Context, o Options) (*Conn, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	o.fill()
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	raw, t, err := dial(ctx, &o)
	if err != nil {
		return nil, err
	}
	// Reads and writes of the start know no context; closing the socket ends them.
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	c, err := start(ctx, &o, t, raw)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		raw.Close()
		if ctx.Err() != nil {
			err = fmt.Errorf("%w (%w)", context.Cause(ctx), err)
		}
		return nil, fmt.Errorf("relay client: %s: %w", t.hostPort(), err)
	}
	return c, nil
}

// start runs TLS, the HTTP request and the handshake on an open TCP connection.
func start(ctx context.Context, o *Options, t *target, raw net.Conn) (*Conn, error) {
	c := &Conn{opts: *o, nc: raw, raw: raw, priv: o.PrivateKey, local: localAddr(raw), ended: make(chan struct{})}
	c.in.init()
	if t.useTLS {
		corked := cork.New(raw)
		tc, server, err := startTLS(ctx, o, t, corked)
		if err != nil {
			return nil, err
		}
		c.nc, c.cork, c.server = tc, corked, server
	}
	request := appendRequest(nil, t, !c.server.IsZero())
	if c.server.IsZero() {
		if err := c.slowStart(t, request); err != nil {
			return nil, err
		}
		request = nil
	}
	hello, err := c.appendHello(request)
	if err != nil {
		return nil, err
	}
	if _, err := c.nc.Write(hello); err != nil {
		return nil, fmt.Errorf("introduction: %w", err)
	}
	return c, nil
}

// appendRequest appends the HTTP request: wire document relay, sections 3.1 and 3.2.
func appendRequest(dst []byte, t *target, fast bool) []byte {
	dst = fmt.Appendf(dst, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: ginnel\r\nConnection: Upgrade\r\nUpgrade: %s\r\n",
		relay.Path, t.hostHeader(), relay.UpgradeProtocol)
	if t.ideal != "" {
		dst = fmt.Appendf(dst, "%s: %s\r\n", relay.IdealNodeHeader, headerSafe(t.ideal))
	}
	if fast {
		dst = append(dst, relay.FastStartHeader+": 1\r\n"...)
	}
	return append(dst, "\r\n"...)
}

// headerSafe drops what would end a header line; the text comes from the map.
func headerSafe(s string) string {
	out := make([]byte, 0, len(s))
	for i := range len(s) {
		if s[i] >= ' ' && s[i] != 0x7f {
			out = append(out, s[i])
		}
	}
	return string(out)
}

// slowStart sends the request, waits for the switch of protocols and reads the
// relay's key.
func (c *Conn) slowStart(t *target, request []byte) error {
	if _, err := c.nc.Write(request); err != nil {
		return fmt.Errorf("HTTP upgrade: %w", err)
	}
	br := bufio.NewReaderSize(io.LimitReader(c.nc, maxResponseHead), maxResponseHead)
	res, err := http.ReadResponse(br, &http.Request{Method: http.MethodGet})
	if err != nil {
		return fmt.Errorf("HTTP upgrade: %w", err)
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("HTTP upgrade: status %s: %s is no relay, or its relay is off", res.Status, t.hostPort())
	}
	early, err := br.Peek(br.Buffered())
	if err != nil {
		return fmt.Errorf("HTTP upgrade: %w", err)
	}
	c.in.prepend(early)
	typ, payload, err := c.in.frame(c.nc)
	if err != nil {
		return fmt.Errorf("reading the relay's key: %w", err)
	}
	if typ != relay.FrameServerKey {
		return fmt.Errorf("relay began with frame %v, want %v", typ, relay.FrameServerKey)
	}
	if c.server, err = relay.ParseServerKey(payload); err != nil {
		return err
	}
	if c.server.IsZero() {
		return errors.New("relay's key is zero")
	}
	return nil
}

// maxResponseHead bounds the HTTP response to the upgrade request, in bytes.
const maxResponseHead = 16 << 10

// appendHello appends the client's introduction and first wishes.
func (c *Conn) appendHello(dst []byte) ([]byte, error) {
	dst, err := relay.AppendClientInfo(dst, c.priv, c.server, relay.ClientInfo{
		MeshKey:     c.opts.MeshKey,
		Version:     relay.ProtocolVersion,
		CanAckPings: c.opts.CanAckPings,
		IsProber:    c.opts.IsProber,
		AppName:     c.opts.AppName,
	})
	if err != nil {
		return nil, err
	}
	if c.opts.Home {
		dst = relay.AppendNotePreferred(dst, true)
	}
	if c.opts.WatchConns {
		dst = relay.AppendWatchConns(dst)
	}
	return dst, nil
}

// localAddr is the local address of a TCP connection, or zero.
func localAddr(nc net.Conn) netip.AddrPort {
	a, ok := nc.LocalAddr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := a.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
