package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

const (
	handshakeTimeout = 30 * time.Second
	dialTimeout      = 30 * time.Second
	maxConnections   = 4096
)

// DialFunc has the contract of net.Dialer.DialContext.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Server serves proxy listeners. Its fields must not be changed once it serves.
type Server struct {
	// Mesh dials literal addresses in the mesh.
	Mesh DialFunc
	// System dials everything else; nil for the operating system's dialer.
	System DialFunc
	// Resolve returns the mesh address of a name. Nil means that there are no
	// names.
	Resolve func(name string) (netip.Addr, bool)
	// InMesh reports whether an address is dialled through the mesh.
	InMesh func(netip.Addr) bool
	// Bad, if not nil, is called for each connection that speaks something else than its
	// protocol, ProtocolSOCKS5 or ProtocolHTTP, by several goroutines.
	Bad func(protocol string)
	// Logger may be nil.
	Logger *slog.Logger
}

// The protocols by their names for Server.Bad.
const (
	ProtocolSOCKS5 = "socks5"
	ProtocolHTTP   = "http_proxy"
)

func (s *Server) bad(protocol string) {
	if s.Bad != nil {
		s.Bad(protocol)
	}
}

// Dial connects to "host:port" by the rules of the Server.
func (s *Server) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("proxy: bad destination %q: %w", address, err)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return nil, fmt.Errorf("proxy: bad port in destination %q", address)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	ip, err := netip.ParseAddr(host)
	if err != nil {
		if s.Resolve == nil {
			return s.system(ctx, network, address)
		}
		var ok bool
		if ip, ok = s.Resolve(host); !ok {
			return s.system(ctx, network, address)
		}
	} else if ip = ip.Unmap(); s.InMesh == nil || !s.InMesh(ip) {
		return s.system(ctx, network, address)
	}
	return s.Mesh(ctx, network, net.JoinHostPort(ip.String(), port))
}

func (s *Server) system(ctx context.Context, network, address string) (net.Conn, error) {
	if s.System != nil {
		return s.System(ctx, network, address)
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

func (s *Server) log() *slog.Logger {
	if s.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Logger
}

// ServeSOCKS5 serves SOCKS5 on l until ctx ends. It closes l and all
// connections before it returns.
func (s *Server) ServeSOCKS5(ctx context.Context, l net.Listener) error {
	return s.accept(ctx, l, s.serveSOCKS5)
}

// ServeHTTP1 serves the HTTP proxy on l until ctx ends. It closes l and all
// connections before it returns.
func (s *Server) ServeHTTP1(ctx context.Context, l net.Listener) error {
	h := s.newHTTP(ctx, l.Addr())
	defer h.close()
	return s.accept(ctx, l, func(_ context.Context, c net.Conn) { h.serve(c) })
}

// ServeBoth serves SOCKS5 and the HTTP proxy on l until ctx ends.
func (s *Server) ServeBoth(ctx context.Context, l net.Listener) error {
	h := s.newHTTP(ctx, l.Addr())
	defer h.close()
	return s.accept(ctx, l, func(ctx context.Context, c net.Conn) {
		_ = c.SetReadDeadline(time.Now().Add(handshakeTimeout))
		p := &peeked{Conn: c, r: bufio.NewReaderSize(c, 512)}
		first, err := p.r.Peek(1)
		if err != nil {
			c.Close()
			return
		}
		_ = c.SetReadDeadline(time.Time{})
		if first[0] == socksVersion {
			s.serveSOCKS5(ctx, p)
		} else {
			h.serve(p)
		}
	})
}

// peeked is a connection whose first byte was looked at.
type peeked struct {
	net.Conn
	r *bufio.Reader
}

func (p *peeked) Read(b []byte) (int, error) { return p.r.Read(b) }

// CloseWrite passes on a half-close.
func (p *peeked) CloseWrite() error {
	if w, ok := p.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}

// accept runs handle for each connection, and returns when all have ended.
func (s *Server) accept(ctx context.Context, l net.Listener, handle func(context.Context, net.Conn)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer l.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	slots := make(chan struct{}, maxConnections)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		c, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				c.Close()
			}
			return nil
		}
		if err != nil {
			<-slots
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("proxy listener %v: %w", l.Addr(), err)
			}
			s.log().Warn("proxy: cannot accept", "addr", l.Addr().String(), "err", err)
			select { // such as too many open files: wait for some to close
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		wg.Go(func() {
			defer func() { <-slots }()
			stop := context.AfterFunc(ctx, func() { c.Close() })
			defer stop()
			handle(ctx, c)
		})
	}
}
