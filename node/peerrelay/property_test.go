package peerrelay

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ginnel/ginnel/wire/disco"
	"github.com/ginnel/ginnel/wire/key"
)

// model is a table next to what should be in it, kept in the simplest way.
type model struct {
	*bench
	data    []byte
	clients []key.DiscoPrivate
	addrs   []netip.AddrPort
	lamport uint64
	pairs   map[[2]key.DiscoPublic]*modelSession
	byVNI   map[uint32]*modelSession
	// challenges are all that the table has given out.
	challenges []modelChallenge
}

type modelSession struct {
	pair    [2]key.DiscoPublic
	asked   time.Time
	bound   [2]netip.AddrPort
	heard   [2]time.Time
	pending [2]uint32
}

type modelChallenge struct {
	client, remote key.DiscoPrivate
	from           netip.AddrPort
	at             time.Time
	bind           disco.Bind
}

// keys are made once: fuzzing is to spend its time elsewhere.
var keys = []key.DiscoPrivate{key.NewDisco(), key.NewDisco(), key.NewDisco()}

func newModel(t testing.TB, data []byte) *model {
	m := &model{bench: newBench(t, Config{MaxSessions: 2}), data: data, clients: keys,
		addrs: []netip.AddrPort{aliceAddr, bobAddr, otherAddr, netip.AddrPortFrom(aliceAddr.Addr(), 9)},
		pairs: map[[2]key.DiscoPublic]*modelSession{}, byVNI: map[uint32]*modelSession{}}
	return m
}

func (m *model) byte() int {
	if len(m.data) == 0 {
		return 0
	}
	b := m.data[0]
	m.data = m.data[1:]
	return int(b)
}

func (m *model) addr() netip.AddrPort { return m.addrs[m.byte()%len(m.addrs)] }

// someVNI returns mostly that of a session.
func (m *model) someVNI() uint32 {
	list := m.list()
	if n := m.byte(); n < 16 || len(list) == 0 {
		return uint32(n % 5)
	} else {
		return list[n%len(list)].VNI
	}
}

// two returns two clients, mostly the first two.
func (m *model) two() (x, y key.DiscoPrivate) {
	switch n := m.byte(); {
	case n < 64:
		return m.clients[n%3], m.clients[n/3%3]
	case n%2 == 0:
		return m.clients[0], m.clients[1]
	}
	return m.clients[1], m.clients[0]
}

// home returns an address, mostly the same one for a client.
func (m *model) home(c key.DiscoPrivate) netip.AddrPort {
	if n := m.byte(); n < 16 {
		return m.addrs[n%len(m.addrs)]
	}
	return m.addrs[slices.IndexFunc(m.clients, c.Equal)]
}

// step does something and holds the table to the model.
func (m *model) step() {
	switch m.byte() % 8 {
	case 0:
		m.allocateSome()
	case 1:
		m.doze()
		m.Table.Collect(m.now)
		for vni, s := range m.byVNI {
			if m.over(s) {
				delete(m.byVNI, vni)
				delete(m.pairs, s.pair)
			}
		}
	case 2, 3:
		m.bindSome()
	case 4, 5:
		m.answerSome()
	case 6:
		m.sendSome()
	case 7:
		from, n := m.addr(), m.byte()
		m.input(from, m.data[:min(len(m.data), n)])
	}
	if len(m.list()) != len(m.byVNI) {
		m.Fatalf("%d sessions, want %d", len(m.list()), len(m.byVNI))
	}
}

// doze lets mostly little time pass.
func (m *model) doze() {
	n := time.Duration(m.byte())
	if m.sleep(n * 20 * time.Millisecond); n > 250 {
		m.sleep((n - 250) * 150 * time.Second)
	} else if n > 240 {
		m.sleep(n * 100 * time.Millisecond)
	}
}

func (m *model) list() []Session { return m.Sessions(m.now) }

// over reports whether a session has expired.
func (m *model) over(s *modelSession) bool {
	if !s.bound[0].IsValid() || !s.bound[1].IsValid() {
		return m.now.Sub(s.asked) > BindLifetime
	}
	return m.now.Sub(s.heard[0]) > SteadyLifetime || m.now.Sub(s.heard[1]) > SteadyLifetime
}

func (m *model) allocateSome() {
	x, y := m.two()
	pair := Sort(x.Public(), y.Public())
	e, err := m.Allocate(m.now, x.Public(), y.Public())
	s := m.pairs[pair]
	if s != nil && m.over(s) {
		for vni, t := range m.byVNI {
			if t == s {
				delete(m.byVNI, vni)
			}
		}
		delete(m.pairs, pair)
		s = nil
	}
	if x.Equal(y) || s == nil && len(m.pairs) == 2 {
		if err == nil {
			m.Fatal("a session that must not be")
		}
		return
	}
	if err != nil {
		m.Fatal(err)
	}
	if s == nil {
		m.lamport++
		s = &modelSession{pair: pair}
		if m.byVNI[e.VNI] != nil {
			m.Fatal("a VNI that is taken")
		}
		m.byVNI[e.VNI], m.pairs[pair] = s, s
	}
	s.asked = m.now
	if m.byVNI[e.VNI] != s || e.Clients != pair || e.LamportID > m.lamport || e.VNI == 0 {
		m.Fatalf("endpoint %+v", e)
	}
}

func (m *model) bindSome() {
	client, remote := m.two()
	from, bind := m.home(client), disco.Bind{VNI: m.someVNI(), Generation: uint32(m.byte() % 3)}
	v := m.input(from, m.message(client, remote, disco.TypeBind, bind))
	s := m.byVNI[bind.VNI]
	good := s != nil && bind.Generation != 0 && s.pair == Sort(client.Public(), remote.Public()) && !client.Equal(remote)
	if v.Why == Limited {
		return
	}
	if good != (v.Packet != nil) {
		m.Fatalf("bind %+v: %v, want a challenge: %v", bind, v.Why, good)
	}
	if good {
		m.vni = bind.VNI
		s.pending[slices.Index(s.pair[:], client.Public())] = bind.Generation
		m.challenges = append(m.challenges, modelChallenge{client, remote, from, m.now, m.challenge(client, v)})
	}
}

func (m *model) answerSome() {
	if len(m.challenges) == 0 {
		return
	}
	recent := m.challenges[max(0, len(m.challenges)-3):]
	if n := m.byte(); n < 32 {
		recent = m.challenges
	}
	c := recent[m.byte()%len(recent)]
	from, bind := c.from, c.bind
	tampered := m.byte() % 16
	switch tampered {
	case 1:
		from = m.addr()
	case 2:
		bind.Challenge[m.byte()%32] ^= 1
	}
	v := m.input(from, m.message(c.client, c.remote, disco.TypeAnswer, bind))
	s := m.byVNI[bind.VNI]
	if v.Why == Limited || s == nil {
		return
	}
	i := slices.Index(s.pair[:], c.client.Public())
	if i < 0 || s.pair != Sort(c.client.Public(), c.remote.Public()) {
		if v.Why == Answered {
			m.Fatal("an answer of somebody else was taken")
		}
		return
	}
	good := s.pending[i] == bind.Generation && from == c.from && tampered != 2
	age := m.now.Sub(c.at)
	if good && age < SecretLifetime && v.Why != Answered || v.Why == Answered && (!good || age >= 2*SecretLifetime) {
		m.Fatalf("answer %v old: %v; good: %v", age, v.Why, good)
	}
	if v.Why == Answered {
		s.pending[i], s.bound[i], s.heard[i] = 0, from, m.now
	}
}

func (m *model) sendSome() {
	m.vni = m.someVNI()
	from := m.addr()
	v := m.input(from, m.bench.data())
	s := m.byVNI[m.vni]
	want := netip.AddrPort{}
	if s != nil && s.bound[0].IsValid() && s.bound[1].IsValid() {
		if i := slices.Index(s.bound[:], from); i >= 0 {
			want, s.heard[i] = s.bound[1-i], m.now
		}
	}
	if v.To != want {
		m.Fatalf("data from %v goes to %v (%v), want %v", from, v.To, v.Why, want)
	}
}

// TestModel does many random things, and makes sure that they are not all refused.
func TestModel(t *testing.T) {
	total := map[Drop]uint64{}
	forwarded := uint64(0)
	for seed := range uint64(20) {
		t.Logf("seed %d", seed)
		r := rand.New(rand.NewPCG(seed, 1))
		data := make([]byte, 1500)
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		m := newModel(t, data)
		for len(m.data) > 0 {
			m.step()
		}
		for d, n := range m.Counters().Dropped {
			total[d] += n
		}
		forwarded += m.Counters().Forwarded[UDP4][UDP6].Packets
	}
	for _, d := range []Drop{NoGeneve, UnknownVNI, NotBound, WrongSource, WrongSender, WrongBind, WrongGeneration, WrongChallenge} {
		if total[d] == 0 {
			t.Errorf("no %v", d)
		}
	}
	if forwarded == 0 {
		t.Error("nothing was forwarded")
	}
}

func FuzzTable(f *testing.F) {
	f.Add([]byte{0, 1, 2, 1, 0, 1, 1, 2, 3, 1, 1, 1, 4, 0, 0, 4, 1, 0, 6, 1, 0})
	f.Add(bytes.Repeat([]byte{0, 3, 2, 3, 2, 1, 4, 0, 2, 1, 250}, 10))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := newModel(t, data)
		for n := 0; len(m.data) > 0 && n < 500; n++ {
			m.step()
		}
	})
}

// FuzzInput gives an open session arbitrary datagrams: none moves its clients, and what is
// forwarded comes from a client.
func FuzzInput(f *testing.F) {
	b := newBench(f, Config{})
	b.open()
	f.Add([]byte{}, true)
	f.Add(b.data(), false)
	f.Add(b.message(b.alice, b.bob, disco.TypeBind, disco.Bind{VNI: b.vni, Generation: 1}), true)
	f.Add(b.message(b.alice, b.bob, disco.TypeAnswer, disco.Bind{VNI: b.vni, Generation: 1}), false)
	f.Add(b.message(key.NewDisco(), b.bob, disco.TypeBind, disco.Bind{VNI: b.vni, Generation: 1}), true)
	f.Fuzz(func(t *testing.T, pkt []byte, stranger bool) {
		b.TB = t
		from := aliceAddr
		if stranger {
			from = otherAddr
		}
		v := b.input(from, pkt)
		if v.Why == Forwarded && (stranger || v.To != bobAddr) {
			t.Errorf("from %v to %v", from, v.To)
		}
		if a := &b.index.get(b.vni).sides; *a[0].addr.Load() != aliceAddr && *a[1].addr.Load() != aliceAddr {
			t.Error("a client was moved")
		}
		b.sleep(time.Second)
		b.input(bobAddr, b.data())
	})
}
