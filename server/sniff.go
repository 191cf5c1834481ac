package server

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/ginnel/ginnel/internal/connlimit"
)

// sniffTimeout is how long a new connection may take for its first byte.
const sniffTimeout = 10 * time.Second

// tlsHandshakeByte begins every TLS connection.
const tlsHandshakeByte = 0x16

// sniffer splits what a TCP listener accepts by the first byte of each
// connection. Where the system can, it looks at the byte without taking it, so that
// both sides get the plain TCP connection. All connections begin as those of
// strangers.
type sniffer struct {
	l     net.Listener
	log   *slog.Logger
	limit *connlimit.Limiter
	http  *chanListener
	tls   *chanListener
	wg    sync.WaitGroup
	mu    sync.Mutex
	done  bool
	fresh map[net.Conn]struct{} // connections whose first byte is awaited
}

func newSniffer(l net.Listener, limit *connlimit.Limiter, log *slog.Logger) *sniffer {
	s := &sniffer{
		l:     l,
		log:   log,
		limit: limit,
		http:  newChanListener(l.Addr()),
		tls:   newChanListener(l.Addr()),
		fresh: map[net.Conn]struct{}{},
	}
	s.wg.Go(s.run)
	return s
}

func (s *sniffer) run() {
	var pause time.Duration
	for {
		c, err := s.l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of file descriptors, most likely: it passes.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.log.Error("accepting a connection failed", "addr", s.l.Addr(), "err", err, "retry", pause)
			time.Sleep(pause)
			continue
		}
		pause = 0
		if c := s.limit.Add(c); s.add(c) {
			s.wg.Go(func() { s.sort(c) })
		}
	}
}

// add notes a new connection; after close it refuses it.
func (s *sniffer) add(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		c.Close()
		return false
	}
	s.fresh[c] = struct{}{}
	return true
}

// sort hands a connection to the listener that its first byte calls for.
func (s *sniffer) sort(c net.Conn) {
	c.SetReadDeadline(time.Now().Add(sniffTimeout))
	first, whole, err := peek(c)
	s.mu.Lock()
	delete(s.fresh, c)
	s.mu.Unlock()
	if err != nil {
		c.Close()
		return
	}
	c.SetReadDeadline(time.Time{})
	if first == tlsHandshakeByte {
		s.tls.deliver(whole)
	} else {
		s.http.deliver(whole)
	}
}

// close ends the listener and both sides of it.
func (s *sniffer) close() {
	s.l.Close()
	s.mu.Lock()
	s.done = true
	for c := range s.fresh {
		c.Close()
	}
	s.mu.Unlock()
	s.http.Close()
	s.tls.Close()
	s.wg.Wait()
}

// errNoByte says that a connection ended before its first byte.
var errNoByte = errors.New("connection ended before its first byte")

// peekByReading returns the first byte of a connection, and a connection that has
// that byte still to be read.
func peekByReading(c net.Conn) (byte, net.Conn, error) {
	var b [1]byte
	n, err := c.Read(b[:])
	switch {
	case n == 1:
		return b[0], &unreadConn{Conn: c, first: b[:]}, nil
	case err == nil, errors.Is(err, io.EOF):
		err = errNoByte
	}
	return 0, nil, err
}

// unreadConn is a connection one byte of which was read and given back.
type unreadConn struct {
	net.Conn
	first []byte
}

// NetConn returns the connection below.
func (c *unreadConn) NetConn() net.Conn { return c.Conn }

// Read returns the byte that was given back, then what follows.
func (c *unreadConn) Read(p []byte) (int, error) {
	if len(c.first) > 0 && len(p) > 0 {
		n := copy(p, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// chanListener is a listener that is fed.
type chanListener struct {
	addr  net.Addr
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newChanListener(addr net.Addr) *chanListener {
	return &chanListener{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *chanListener) deliver(c net.Conn) {
	select {
	case l.conns <- c:
	case <-l.done:
		c.Close()
	}
}

// Accept waits for the next connection.
func (l *chanListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (l *chanListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr returns the address of the real listener.
func (l *chanListener) Addr() net.Addr { return l.addr }
