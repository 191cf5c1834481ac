package path

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ginnel/ginnel/node/path/udpbatch"
)

// socket is the UDP socket of one family, which may be replaced at any time.
type socket struct {
	network string
	listen  func(network string, port uint16) (net.PacketConn, error)

	cur atomic.Pointer[openSocket] // nil while there is none

	mu       sync.Mutex
	changed  chan struct{} // closed when cur changes or reading is interrupted
	stopped  bool          // reads return at once
	finished bool          // closed for good
}

// openSocket is what a socket is at one time.
type openSocket struct {
	udpbatch.Conn
	port uint16
}

// errNoSocket is the error of sending over a family that the system does not have.
var errNoSocket = &net.OpError{Op: "write", Net: "udp", Err: syscall.EAFNOSUPPORT}

// init prepares a socket that is not open yet.
func (s *socket) init(network string, listen func(string, uint16) (net.PacketConn, error)) {
	s.network, s.listen, s.changed, s.stopped = network, listen, make(chan struct{}), true
}

// open opens or replaces the socket, on the first of the ports that is free.
func (s *socket) open(ports ...uint16) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.finished {
		return net.ErrClosed
	}
	if old := s.cur.Swap(nil); old != nil {
		old.Close()
	}
	var err error
	for _, port := range ports {
		var pc net.PacketConn
		if pc, err = s.listen(s.network, port); err == nil {
			c := udpbatch.New(pc)
			if s.stopped { // a reader may be just before its read
				_ = c.SetReadDeadline(time.Unix(1, 0))
			}
			s.cur.Store(&openSocket{Conn: c, port: c.LocalAddr().Port()})
			break
		}
	}
	s.signal()
	return err
}

// signal wakes whoever waits for a change. The lock is held.
func (s *socket) signal() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// port returns the local port, 0 if there is no socket.
func (s *socket) port() uint16 {
	if c := s.cur.Load(); c != nil {
		return c.port
	}
	return 0
}

// writeBatch sends datagrams to one address.
func (s *socket) writeBatch(pkts [][]byte, to netip.AddrPort) error {
	c := s.cur.Load()
	if c == nil {
		return errNoSocket
	}
	return c.WriteBatch(pkts, to)
}

// readBatch waits for datagrams. It returns net.ErrClosed after interrupt.
func (s *socket) readBatch(bufs [][]byte, sizes []int, from []netip.AddrPort) (int, error) {
	for {
		s.mu.Lock()
		stopped, changed := s.stopped, s.changed
		s.mu.Unlock()
		if stopped {
			return 0, net.ErrClosed
		}
		c := s.cur.Load()
		if c == nil {
			<-changed
			continue
		}
		n, err := c.ReadBatch(bufs, sizes, from)
		if err == nil {
			return n, nil
		}
		if errors.Is(err, net.ErrClosed) {
			s.await(c, changed)
			continue
		}
		s.mu.Lock()
		stopped = s.stopped
		s.mu.Unlock()
		if !stopped && s.cur.Load() == c {
			time.Sleep(readErrorPause) // an error of the network, such as ENOMEM
		}
	}
}

// readErrorPause keeps a socket that fails again and again from taking all the time.
const readErrorPause = 10 * time.Millisecond

// await waits until c, which is closed, is replaced.
func (s *socket) await(c *openSocket, changed chan struct{}) {
	if s.cur.Load() == c {
		<-changed
	}
}

// resume lets reads go on.
func (s *socket) resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.finished {
		return
	}
	s.stopped = false
	if c := s.cur.Load(); c != nil {
		_ = c.SetReadDeadline(time.Time{})
	}
}

// interrupt makes reads return net.ErrClosed until resume.
func (s *socket) interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	if c := s.cur.Load(); c != nil {
		_ = c.SetReadDeadline(time.Unix(1, 0))
	}
	s.signal()
}

// close closes the socket for good.
func (s *socket) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finished, s.stopped = true, true
	if c := s.cur.Swap(nil); c != nil {
		c.Close()
	}
	s.signal()
}
