package peerrelay

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ginnel/ginnel/wire/disco"
	"github.com/ginnel/ginnel/wire/key"
)

var (
	serverAddr = netip.MustParseAddrPort("192.0.2.1:7777")
	aliceAddr  = netip.MustParseAddrPort("198.51.100.1:1000")
	bobAddr    = netip.MustParseAddrPort("[2001:db8::b]:2000")
	otherAddr  = netip.MustParseAddrPort("203.0.113.9:3000")
)

// bench is a table with two clients, and a clock.
type bench struct {
	testing.TB
	*Table
	now        time.Time
	alice, bob key.DiscoPrivate
	vni        uint32
	shared     map[key.DiscoPublic]key.DiscoShared
}

// newBench returns a table that is ready and has no session.
func newBench(t testing.TB, cfg Config) *bench {
	cfg.Key = key.NewDisco()
	now := time.Unix(1_000_000, 0)
	b := &bench{TB: t, Table: NewTable(now, cfg), now: now, alice: key.NewDisco(), bob: key.NewDisco(),
		shared: map[key.DiscoPublic]key.DiscoShared{}}
	b.SetAddrs([]netip.AddrPort{serverAddr})
	return b
}

func (b *bench) sleep(d time.Duration) { b.now = b.now.Add(d) }

// allocate makes the session of the two clients.
func (b *bench) allocate() disco.RelayEndpoint {
	b.Helper()
	e, err := b.Allocate(b.now, b.alice.Public(), b.bob.Public())
	if err != nil {
		b.Fatal(err)
	}
	b.vni = e.VNI
	return e
}

// message returns a sealed control message from one client about the other.
func (b *bench) message(from, remote key.DiscoPrivate, typ disco.Type, m disco.Bind) []byte {
	vni := m.VNI
	if m.Remote.IsZero() {
		m.Remote = remote.Public()
	}
	pkt := disco.Geneve{Control: true, Protocol: disco.ProtocolDisco, VNI: vni}.Append(nil)
	return disco.AppendSeal(pkt, from.Public(), b.sharedBy(from), disco.Nonce{1}, m.Append(nil, typ))
}

// sharedBy returns the key that a client shares with the server.
func (b *bench) sharedBy(k key.DiscoPrivate) key.DiscoShared {
	s, ok := b.shared[k.Public()]
	if !ok {
		s = k.Shared(b.Public())
		b.shared[k.Public()] = s
	}
	return s
}

// input gives the table a datagram and holds what comes of it to the rules that always
// hold.
func (b *bench) input(from netip.AddrPort, pkt []byte) Verdict {
	b.Helper()
	before := slices.Clone(pkt)
	v := b.Input(b.now, from, pkt, make([]byte, 0, 256))
	if !bytes.Equal(before, pkt) {
		b.Fatal("the datagram was changed")
	}
	if len(v.Packet) > len(pkt) {
		b.Fatalf("%d bytes answered to %d", len(v.Packet), len(pkt))
	}
	switch {
	case v.Why == Forwarded && !bytes.Equal(v.Packet, pkt), v.Why > Answered && v.Packet != nil,
		v.Why == Answered && v.Packet != nil && v.To != from:
		b.Fatalf("verdict %v: %d bytes to %v", v.Why, len(v.Packet), v.To)
	}
	return v
}

// challenge opens the answer to a bind request.
func (b *bench) challenge(client key.DiscoPrivate, v Verdict) disco.Bind {
	b.Helper()
	if v.Why != Answered {
		b.Fatalf("bind request: %v", v.Why)
	}
	g, ok := disco.ParseGeneve(v.Packet)
	inner, err := disco.Open(nil, v.Packet[disco.GeneveLen:], b.sharedBy(client))
	if !ok || !g.Control || g.VNI != b.vni || g.Protocol != disco.ProtocolDisco || err != nil {
		b.Fatalf("challenge behind %+v does not open: %v", g, err)
	}
	typ, _, body, _ := disco.Split(inner)
	var m disco.Bind
	if err := m.Parse(body); err != nil || typ != disco.TypeChallenge || m.VNI != b.vni {
		b.Fatalf("%v message %+v, %v", typ, m, err)
	}
	return m
}

// bind binds a client to an address.
func (b *bench) bind(client, remote key.DiscoPrivate, from netip.AddrPort, generation uint32) {
	b.Helper()
	v := b.input(from, b.message(client, remote, disco.TypeBind, disco.Bind{VNI: b.vni, Generation: generation}))
	m := b.challenge(client, v)
	if v := b.input(from, b.message(client, remote, disco.TypeAnswer, m)); v.Why != Answered || v.Packet != nil {
		b.Fatalf("answer: %v, %d bytes", v.Why, len(v.Packet))
	}
}

// open makes a session and binds both clients.
func (b *bench) open() {
	b.Helper()
	b.allocate()
	b.bind(b.alice, b.bob, aliceAddr, 1)
	b.bind(b.bob, b.alice, bobAddr, 1)
}

// data returns a data packet.
func (b *bench) data() []byte {
	return append(disco.Geneve{Protocol: disco.ProtocolWireGuard, VNI: b.vni}.Append(nil), "four\x00\x00\x00data"...)
}

// expect gives the table a datagram that is to be dropped.
func (b *bench) expect(want Drop, from netip.AddrPort, pkt []byte) {
	b.Helper()
	if v := b.input(from, pkt); v.Why != want {
		b.Errorf("%v, want %v", v.Why, want)
	}
}

func TestAllocate(t *testing.T) {
	b := newBench(t, Config{})
	first := b.allocate()
	if first.VNI != 1 || first.LamportID != 1 || first.Server != b.Public() || first.BindLifetime != 30*time.Second ||
		first.SteadyLifetime != 5*time.Minute || !slices.Equal(first.Addrs, []netip.AddrPort{serverAddr}) {
		t.Errorf("first session %+v", first)
	}
	if first.Clients[0].Compare(first.Clients[1]) >= 0 {
		t.Error("clients are not in order")
	}
	b.SetAddrs([]netip.AddrPort{bobAddr})
	again, err := b.Allocate(b.now, b.bob.Public(), b.alice.Public())
	if err != nil || again.VNI != 1 || again.LamportID != 1 || again.Clients != first.Clients || again.Addrs[0] != bobAddr {
		t.Errorf("the same pair: %+v, %v", again, err)
	}
	next, err := b.Allocate(b.now, b.alice.Public(), key.NewDisco().Public())
	if err != nil || next.VNI != 2 || next.LamportID != 2 {
		t.Errorf("another pair: %+v, %v", next, err)
	}
	a := b.alice.Public()
	for _, pair := range [][2]key.DiscoPublic{{a, a}, {a, b.Public()}, {b.Public(), a}, {a, {}}} {
		if _, err := b.Allocate(b.now, pair[0], pair[1]); !errors.Is(err, ErrClients) {
			t.Errorf("%v: %v", pair, err)
		}
	}
	b.SetAddrs(nil)
	if _, err := b.Allocate(b.now, a, b.bob.Public()); !errors.Is(err, ErrNotReady) {
		t.Errorf("without addresses: %v", err)
	}
}

func TestVNIsAreSkippedAndWrap(t *testing.T) {
	b := newBench(t, Config{})
	b.allocate() // 1
	b.lastVNI = maxVNI - 1
	for i, want := range []uint32{maxVNI, 2, 3} {
		e, err := b.Allocate(b.now, b.alice.Public(), key.NewDisco().Public())
		if err != nil || e.VNI != want || e.LamportID != uint64(i+2) {
			t.Errorf("VNI %#x Lamport %d, %v, want VNI %#x", e.VNI, e.LamportID, err, want)
		}
	}
	if b.index.get(maxVNI) == nil || b.index.get(1) == nil || b.index.get(0) != nil || b.index.get(4) != nil {
		t.Error("the index does not have what was put")
	}
	b.sleep(BindLifetime + 1)
	if n := b.Collect(b.now); n != 4 {
		t.Errorf("%d sessions ended, want 4", n)
	}
	for i := range b.index.root {
		if b.index.root[i].Load() != nil {
			t.Fatal("the index keeps empty nodes")
		}
	}
	if len(b.perClient) != 0 || len(b.sessions) != 0 {
		t.Errorf("%d clients and %d sessions are left", len(b.perClient), len(b.sessions))
	}
}

func TestBounds(t *testing.T) {
	b := newBench(t, Config{MaxSessions: 3, MaxPerClient: 2})
	a := b.alice.Public()
	fresh := func() key.DiscoPublic { return key.NewDisco().Public() }
	for _, c := range []struct {
		x, y key.DiscoPublic
		want error
	}{{a, fresh(), nil}, {a, fresh(), nil}, {a, fresh(), ErrClientFull}, {fresh(), a, ErrClientFull},
		{fresh(), fresh(), nil}, {fresh(), fresh(), ErrFull}} {
		if _, err := b.Allocate(b.now, c.x, c.y); !errors.Is(err, c.want) {
			t.Errorf("error %v, want %v", err, c.want)
		}
	}
	b.sleep(BindLifetime + 1)
	b.Collect(b.now)
	if _, err := b.Allocate(b.now, a, fresh()); err != nil {
		t.Errorf("after the others ended: %v", err)
	}
}

func TestForwarding(t *testing.T) {
	b := newBench(t, Config{})
	b.allocate()
	b.expect(NotBound, aliceAddr, b.data())
	b.bind(b.alice, b.bob, aliceAddr, 1)
	b.expect(NotBound, aliceAddr, b.data())
	b.bind(b.bob, b.alice, bobAddr, 0xffffffff)
	there, back := b.input(aliceAddr, b.data()), b.input(bobAddr, b.data())
	if there.Why != Forwarded || there.To != bobAddr || back.Why != Forwarded || back.To != aliceAddr {
		t.Errorf("forwarded to %v (%v) and %v (%v)", there.To, there.Why, back.To, back.Why)
	}
	b.expect(WrongSource, otherAddr, b.data())
	b.expect(WrongSource, netip.AddrPortFrom(aliceAddr.Addr(), 1), b.data())
	sealed := disco.Geneve{Protocol: disco.ProtocolDisco, VNI: b.vni}.Append(nil)
	if v := b.input(aliceAddr, sealed); v.Why != Forwarded {
		t.Errorf("a relayed disco message: %v", v.Why)
	}
	c := b.Counters()
	if n := uint64(len(b.data()) + len(sealed)); c.Forwarded[UDP4][UDP6] != (Traffic{2, n}) ||
		c.Forwarded[UDP6][UDP4] != (Traffic{1, uint64(len(b.data()))}) || c.Forwarded[UDP4][UDP4] != (Traffic{}) {
		t.Errorf("counted %+v", c.Forwarded)
	}
	if c.Dropped[NotBound] != 2 || c.Dropped[WrongSource] != 2 || len(c.Dropped) != 2 {
		t.Errorf("dropped %v", c.Dropped)
	}
	list := b.Sessions(b.now.Add(time.Second))
	i := slices.IndexFunc(list[0].Clients[:], func(c Client) bool { return c.Key == b.alice.Public() })
	if len(list) != 1 || !list[0].Open || list[0].Clients[i].Addr != aliceAddr || list[0].Clients[i].Heard != time.Second ||
		list[0].Clients[i].Sent.Packets != 2 {
		t.Errorf("sessions %+v", list)
	}
}

func TestBindAgainElsewhere(t *testing.T) {
	b := newBench(t, Config{})
	b.open()
	b.bind(b.alice, b.bob, otherAddr, 2)
	if v := b.input(otherAddr, b.data()); v.To != bobAddr {
		t.Errorf("from the new address to %v", v.To)
	}
	if v := b.input(bobAddr, b.data()); v.To != otherAddr {
		t.Errorf("to %v, want the new address", v.To)
	}
	b.expect(WrongSource, aliceAddr, b.data())
	// A bind request alone moves nothing.
	b.input(aliceAddr, b.message(b.alice, b.bob, disco.TypeBind, disco.Bind{VNI: b.vni, Generation: 3}))
	if v := b.input(bobAddr, b.data()); v.To != otherAddr {
		t.Errorf("a request without an answer moved the client to %v", v.To)
	}
}

func TestExpiry(t *testing.T) {
	for _, c := range []struct {
		name   string
		live   func(b *bench) // called each minute
		wait   time.Duration
		open   bool
		exists bool
	}{
		{"not bound, in time", nil, BindLifetime, false, true},
		{"not bound", nil, BindLifetime + 1, false, false},
		{"quiet, in time", nil, SteadyLifetime, true, true},
		{"quiet", nil, SteadyLifetime + 1, true, false},
		{"both talk", func(b *bench) { b.input(aliceAddr, b.data()); b.input(bobAddr, b.data()) }, time.Hour, true, true},
		{"alice is gone", func(b *bench) { b.input(bobAddr, b.data()) }, SteadyLifetime + 1, true, false},
		{"bob is gone", func(b *bench) { b.input(aliceAddr, b.data()) }, SteadyLifetime + 1, true, false},
		{"strangers talk", func(b *bench) { b.input(otherAddr, b.data()) }, SteadyLifetime + 1, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, Config{})
			if b.allocate(); c.open {
				b.open()
			}
			for end := b.now.Add(c.wait); b.now.Before(end); {
				b.sleep(min(time.Minute, end.Sub(b.now)))
				if c.live != nil {
					c.live(b)
				}
			}
			if n := b.Collect(b.now); n == 0 != c.exists {
				t.Fatalf("%d sessions ended", n)
			}
			want := UnknownVNI
			if c.exists && c.open {
				want = Forwarded
			} else if c.exists {
				want = NotBound
			}
			b.expect(want, aliceAddr, b.data())
		})
	}
}

// TestAskedAgain has an old session replaced, and one that nobody bound get its time again.
func TestAskedAgain(t *testing.T) {
	b := newBench(t, Config{})
	b.allocate()
	b.sleep(BindLifetime - time.Second)
	if e := b.allocate(); e.LamportID != 1 {
		t.Errorf("Lamport %d, want the same session", e.LamportID)
	}
	b.sleep(BindLifetime - time.Second)
	if n := b.Collect(b.now); n != 0 {
		t.Error("the session ended before the time that was promised")
	}
	b.sleep(2 * time.Second)
	if e := b.allocate(); e.LamportID != 2 || e.VNI != 2 {
		t.Errorf("Lamport %d VNI %d, want another session than the expired one", e.LamportID, e.VNI)
	}
}
