// Package connlimit bounds the connections of strangers: those at whose other end
// nobody has proved to be known yet. When there are too many, of one source or of
// all, the oldest of the source that has the most is closed, so that whoever is
// quick to prove itself gets in however many others only hold connections open.
//
// Connections that were admitted do not count: a company's thousands of nodes may
// come from one address.
package connlimit

import (
	"container/heap"
	"container/list"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
)

// Limits say how many connections strangers may hold.
type Limits struct {
	PerSource int // of one IPv4 address or IPv6 /64 network
	Total     int
}

// Limiter counts the connections of strangers. Its methods are safe for concurrent
// use.
type Limiter struct {
	limits  Limits
	evicted atomic.Uint64

	mu      sync.Mutex
	total   int
	sources map[netip.Prefix]*source
	heavy   heaviest
}

// New returns a Limiter. Both limits must be above 0.
func New(l Limits) *Limiter {
	return &Limiter{limits: l, sources: map[netip.Prefix]*source{}}
}

// source is where strangers come from.
type source struct {
	from  netip.Prefix
	conns *list.List // of *Conn, the oldest in front
	at    int        // index in heaviest
}

// Conn is a connection that its Limiter knows.
type Conn struct {
	net.Conn
	limiter *Limiter

	// Guarded by limiter.mu.
	source *source // nil once it no longer counts
	elem   *list.Element
}

// Add counts a new connection as a stranger's. Others may have to go for it.
func (l *Limiter) Add(nc net.Conn) *Conn {
	c := &Conn{Conn: nc, limiter: l}
	var from netip.Prefix
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		from = Source(a.AddrPort().Addr())
	}
	var gone []*Conn
	l.mu.Lock()
	s := l.sources[from]
	if s == nil {
		s = &source{from: from, conns: list.New()}
		l.sources[from] = s
		heap.Push(&l.heavy, s)
	}
	for s.conns.Len() >= l.limits.PerSource {
		gone = append(gone, l.dropOldest(s))
	}
	for l.total >= l.limits.Total {
		gone = append(gone, l.dropOldest(l.heavy[0]))
	}
	if l.sources[from] != s { // its last one has just gone
		l.sources[from] = s
		heap.Push(&l.heavy, s)
	}
	c.source, c.elem = s, s.conns.PushBack(c)
	l.total++
	heap.Fix(&l.heavy, s.at)
	l.mu.Unlock()
	for _, old := range gone {
		l.evicted.Add(1)
		if tc, ok := old.Conn.(*net.TCPConn); ok {
			tc.SetLinger(0) // nobody is owed what is still on its way
		}
		old.Conn.Close()
	}
	return c
}

// dropOldest stops counting the oldest connection of a source, which has one.
func (l *Limiter) dropOldest(s *source) *Conn {
	c := s.conns.Front().Value.(*Conn)
	l.drop(c)
	return c
}

// drop stops counting a connection. The caller holds mu.
func (l *Limiter) drop(c *Conn) {
	s := c.source
	if s == nil {
		return
	}
	s.conns.Remove(c.elem)
	c.source, c.elem = nil, nil
	l.total--
	if s.conns.Len() == 0 {
		heap.Remove(&l.heavy, s.at)
		delete(l.sources, s.from)
		return
	}
	heap.Fix(&l.heavy, s.at)
}

// Strangers returns how many connections count now.
func (l *Limiter) Strangers() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// Evicted returns how many connections were closed for newer ones.
func (l *Limiter) Evicted() uint64 { return l.evicted.Load() }

// Close closes the connection.
func (c *Conn) Close() error {
	c.Admit()
	return c.Conn.Close()
}

// SyscallConn implements syscall.Conn for connections of the system.
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	sc, ok := c.Conn.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return sc.SyscallConn()
}

// Admit says that whoever is at the other end is known: the connection no longer
// counts.
func (c *Conn) Admit() {
	c.limiter.mu.Lock()
	defer c.limiter.mu.Unlock()
	c.limiter.drop(c)
}

// Admit admits the Conn inside of nc, which may be wrapped in others that tell by a
// method NetConn what is below them. Of any other connection it does nothing.
func Admit(nc net.Conn) {
	for nc != nil {
		if c, ok := nc.(*Conn); ok {
			c.Admit()
			return
		}
		outer, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			return
		}
		nc = outer.NetConn()
	}
}

// Source is what counts as one source: an IPv4 address, and with IPv6 a customer's
// whole /64 network. It is zero for no address.
func Source(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits)
	return p
}

// heaviest is a heap of sources, the one with the most connections in front.
type heaviest []*source

func (h heaviest) Len() int           { return len(h) }
func (h heaviest) Less(i, j int) bool { return h[i].conns.Len() > h[j].conns.Len() }
func (h heaviest) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

// Push implements heap.Interface.
func (h *heaviest) Push(x any) {
	s := x.(*source)
	s.at = len(*h)
	*h = append(*h, s)
}

// Pop implements heap.Interface.
func (h *heaviest) Pop() any {
	last := len(*h) - 1
	s := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return s
}
