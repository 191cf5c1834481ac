package relay

import (
	"context"
	"net"
	"syscall"
	"time"

	"github.com/ginnel/ginnel/relay/internal/cork"
)

// Settings of accepted sockets: wire document relay, section 7.2.
const (
	tcpUserTimeout = 15 * time.Second
	tcpKeepAlive   = 10 * time.Minute
	// notSentLowat bounds, in bytes, what the kernel queues for a client beyond what
	// its window lets out, so that a slow client's backlog is here, where old
	// packets make room for new ones.
	notSentLowat = 256 << 10
)

// Listen opens a TCP listener made for relay connections; see WrapConn. TLS goes on
// top of it.
func Listen(ctx context.Context, network, addr string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAlive: tcpKeepAlive}
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return listener{l}, nil
}

// listener wraps what it accepts.
type listener struct{ net.Listener }

// Accept implements net.Listener.
func (l listener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return WrapConn(nc), nil
}

// WrapConn prepares an accepted TCP connection for TLS and the relay protocol: dead
// peers are noticed, and a batch of TLS records leaves in one system call. Whatever
// is between it and TLS must have a method NetConn that leads back to it. Relaying
// works without it, at a lower throughput.
func WrapConn(nc net.Conn) net.Conn {
	if sc, ok := nc.(syscall.Conn); ok {
		setSocketOptions(sc)
	}
	return cork.New(nc)
}
