package control

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ginnel/ginnel/internal/connlimit"
	"github.com/ginnel/ginnel/internal/noiseconn"
	"github.com/ginnel/ginnel/wire/key"
	"github.com/ginnel/ginnel/wire/noise"
)

const (
	// maxMachineConns is how many connections one machine may have. A client has
	// two or three (wire document control, section 3.8); those that it lost with
	// its network stay until pings notice.
	maxMachineConns = 64
	// maxReading is how many request bodies of one connection are read at a time.
	maxReading = 4
)

// nodeConn is a Noise connection of a node.
type nodeConn struct {
	*noiseconn.Conn
	from netip.Addr // where it comes from, as far as the listener knows
	base string     // scheme and host by which the node reached the server

	outer   net.Conn      // what the listener gave, perhaps under TLS
	reading chan struct{} // held while a request body is read
	known   atomic.Bool   // see admit
	table   *connTable

	garbled    atomic.Bool // a record did not open
	badRecords prometheus.Counter
}

// newConn returns the connection of a node that c is, made of what the listener
// gave.
func (s *Server) newConn(c *noiseconn.Conn, outer net.Conn) *nodeConn {
	return &nodeConn{Conn: c, outer: outer, reading: make(chan struct{}, maxReading), table: &s.machines, badRecords: s.metrics.badRecords}
}

// admit notes that the machine at the other end owns a node: the connection is no
// stranger's any more.
func (c *nodeConn) admit() {
	if c.known.CompareAndSwap(false, true) {
		connlimit.Admit(c.outer)
	}
}

// Read implements net.Conn. Records that do not open are counted.
func (c *nodeConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if errors.Is(err, noise.ErrRecord) && !c.garbled.Swap(true) {
		c.badRecords.Inc()
	}
	return n, err
}

// Close implements net.Conn.
func (c *nodeConn) Close() error {
	c.table.remove(c)
	return c.Conn.Close()
}

// connTable knows the connections of each machine.
type connTable struct {
	mu sync.Mutex
	m  map[key.MachinePublic][]*nodeConn // oldest first
}

func (t *connTable) init() { t.m = map[key.MachinePublic][]*nodeConn{} }

// add notes a connection. It returns the oldest of the machine when there are too
// many, for the caller to close.
func (t *connTable) add(c *nodeConn) (old *nodeConn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := append(t.m[c.Peer()], c)
	if len(list) > maxMachineConns {
		old = list[0]
	}
	t.m[c.Peer()] = list
	return old
}

func (t *connTable) remove(c *nodeConn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := slices.DeleteFunc(t.m[c.Peer()], func(d *nodeConn) bool { return d == c })
	if len(list) == 0 {
		delete(t.m, c.Peer())
		return
	}
	t.m[c.Peer()] = list
}

func (t *connTable) count() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, list := range t.m {
		n += len(list)
	}
	return n
}

// handlers counts the requests being answered.
type handlers struct {
	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup
}

// begin counts a request in, unless the server is closed.
func (h *handlers) begin() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.wg.Add(1)
	}
	return !h.closed
}

func (h *handlers) end() { h.wg.Done() }

// close lets no more requests in and waits for those under way.
func (h *handlers) close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.wg.Wait()
}
