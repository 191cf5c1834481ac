package connlimit

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"
)

// bed is a listener whose connections a Limiter counts.
type bed struct {
	t *testing.T
	l net.Listener
	*Limiter
}

func newBed(t *testing.T, limits Limits) *bed {
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &bed{t, l, New(limits)}
}

// connect makes a connection from a loopback address and returns both its ends.
func (b *bed) connect(from string) (client net.Conn, server *Conn) {
	b.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
	_, port, _ := net.SplitHostPort(b.l.Addr().String())
	client, err := d.Dial("tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { client.Close() })
	nc, err := b.l.Accept()
	if err != nil {
		b.t.Fatal(err)
	}
	server = b.Add(nc.(*net.TCPConn))
	b.t.Cleanup(func() { server.Close() })
	return client, server
}

// wantCut checks that the other end of a connection was closed.
func (b *bed) wantCut(client net.Conn) {
	b.t.Helper()
	client.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := client.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		b.t.Errorf("connection is not cut: %v", err)
	}
}

// wantAlive checks that bytes still pass.
func (b *bed) wantAlive(client net.Conn, server net.Conn) {
	b.t.Helper()
	server.SetWriteDeadline(time.Now().Add(10 * time.Second))
	if _, err := server.Write([]byte{7}); err != nil {
		b.t.Errorf("connection is cut: %v", err)
		return
	}
	client.SetReadDeadline(time.Now().Add(10 * time.Second))
	var got [1]byte
	if _, err := io.ReadFull(client, got[:]); err != nil || got[0] != 7 {
		b.t.Errorf("connection is cut: %v", err)
	}
}

func (b *bed) want(strangers int, evicted uint64) {
	b.t.Helper()
	if s, e := b.Strangers(), b.Evicted(); s != strangers || e != evicted {
		b.t.Errorf("%d strangers and %d evicted, want %d and %d", s, e, strangers, evicted)
	}
	if len(b.heavy) != len(b.sources) {
		b.t.Errorf("%d sources in the heap, %d in the map", len(b.heavy), len(b.sources))
	}
	for i, s := range b.heavy {
		if s.at != i || s.conns.Len() == 0 || b.heavy[0].conns.Len() < s.conns.Len() {
			b.t.Errorf("heap is out of order at %d", i)
		}
	}
}

// The newest strangers of a source stay, and those who proved themselves stay
// however many there are.
func TestPerSource(t *testing.T) {
	b := newBed(t, Limits{PerSource: 3, Total: 100})
	var known []net.Conn
	var knownServers []*Conn
	for range 10 {
		c, s := b.connect("127.0.0.1")
		s.Admit()
		known, knownServers = append(known, c), append(knownServers, s)
	}
	b.want(0, 0)
	first, _ := b.connect("127.0.0.1")
	second, _ := b.connect("127.0.0.1")
	third, thirdServer := b.connect("127.0.0.1")
	b.want(3, 0)
	fourth, fourthServer := b.connect("127.0.0.1")
	b.wantCut(first)
	b.want(3, 1)
	thirdServer.Admit()
	fifth, fifthServer := b.connect("127.0.0.1") // fits
	b.want(3, 1)
	sixth, sixthServer := b.connect("127.0.0.1")
	b.wantCut(second)
	b.want(3, 2)
	b.wantAlive(third, thirdServer)
	b.wantAlive(fourth, fourthServer)
	b.wantAlive(fifth, fifthServer)
	b.wantAlive(sixth, sixthServer)
	for i := range known {
		b.wantAlive(known[i], knownServers[i])
	}
	for _, s := range []*Conn{fourthServer, fifthServer, sixthServer, sixthServer} {
		s.Close()
	}
	b.want(0, 2)
}

// When all strangers together are too many, the source with the most loses its
// oldest, and no other.
func TestHeaviestSourceGivesWay(t *testing.T) {
	b := newBed(t, Limits{PerSource: 100, Total: 8})
	a, as := b.connect("127.0.0.2")
	var flood []net.Conn
	var floodServers []*Conn
	for range 7 {
		c, s := b.connect("127.0.0.3")
		flood, floodServers = append(flood, c), append(floodServers, s)
	}
	b.want(8, 0)
	c, cs := b.connect("127.0.0.4")
	d, ds := b.connect("127.0.0.2")
	e, es := b.connect("127.0.0.3")
	b.want(8, 3)
	for i := range 3 {
		b.wantCut(flood[i])
	}
	for i := 3; i < len(flood); i++ {
		b.wantAlive(flood[i], floodServers[i])
	}
	b.wantAlive(a, as)
	b.wantAlive(c, cs)
	b.wantAlive(d, ds)
	b.wantAlive(e, es)
}

// With room for one only, the newest has it.
func TestRoomForOne(t *testing.T) {
	b := newBed(t, Limits{PerSource: 1, Total: 1})
	for range 3 {
		old, _ := b.connect("127.0.0.1")
		newer, newerServer := b.connect("127.0.0.2")
		b.wantCut(old)
		b.wantAlive(newer, newerServer)
	}
	b.want(1, 5)
}

// Admit finds the connection below TLS and other wrappers.
func TestAdmitBelowTLS(t *testing.T) {
	b := newBed(t, Limits{PerSource: 1, Total: 1})
	_, s := b.connect("127.0.0.1")
	Admit(tls.Server(wrapped{s}, &tls.Config{}))
	b.want(0, 0)
	Admit(&net.TCPConn{}) // not ours
	Admit(nil)
}

type wrapped struct{ net.Conn }

func (w wrapped) NetConn() net.Conn { return w.Conn }

// A counted connection still has its socket options.
func TestSyscallConn(t *testing.T) {
	b := newBed(t, Limits{PerSource: 1, Total: 1})
	_, s := b.connect("127.0.0.1")
	if _, ok := net.Conn(s).(syscall.Conn); !ok {
		t.Error("no socket below")
	}
}

func TestSource(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.7":        "192.0.2.7/32",
		"::ffff:192.0.2.7": "192.0.2.7/32",
		"2001:db8:1:2::9":  "2001:db8:1:2::/64",
		"fe80::1%eth0":     "fe80::/64",
	} {
		if got := Source(netip.MustParseAddr(in)).String(); got != want {
			t.Errorf("source of %s is %s, want %s", in, got, want)
		}
	}
	if Source(netip.Addr{}).IsValid() {
		t.Error("no address has a source")
	}
}

// The connection below a taken-over request is found again.
func TestHijacked(t *testing.T) {
	b := newBed(t, Limits{PerSource: 2, Total: 2})
	conns := make(chan net.Conn, 1)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := &Hijacked{ResponseWriter: w}
		if h.Conn() != nil {
			t.Error("there is a connection already")
		}
		if _, _, err := h.Hijack(); err != nil {
			t.Error(err)
		}
		conns <- h.Conn()
	})}
	defer srv.Close()
	client, s := b.connect("127.0.0.1")
	go srv.Serve(&oneConn{conn: s, addr: b.l.Addr(), done: make(chan struct{})})
	if _, err := io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	Admit(<-conns)
	b.want(0, 0)
}

// oneConn is a listener with one connection.
type oneConn struct {
	conn net.Conn
	addr net.Addr
	done chan struct{}
}

func (o *oneConn) Accept() (net.Conn, error) {
	if c := o.conn; c != nil {
		o.conn = nil
		return c, nil
	}
	<-o.done
	return nil, net.ErrClosed
}

func (o *oneConn) Close() error   { close(o.done); return nil }
func (o *oneConn) Addr() net.Addr { return o.addr }
