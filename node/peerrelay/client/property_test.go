package client

import (
	"container/heap"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ginnel/ginnel/node/peerrelay"
	"github.com/ginnel/ginnel/wire/disco"
	"github.com/ginnel/ginnel/wire/key"
)

// world has two nodes and a relay, with a network that delays and loses datagrams.
type world struct {
	testing.TB
	now    time.Time
	dice   *rand.Rand
	loss   float64
	events events
	relay  *peerrelay.Table
	server key.NodePublic
	nodes  [2]*node
}

// node is one of the two.
type node struct {
	*Machine
	Peer
	private key.DiscoPrivate
	addr    netip.AddrPort
	up      time.Time // when the last datagram arrives at the relay
	down    time.Time
	ready   []Action
	gaveUp  []Action
	pings   int
}

type event struct {
	at time.Time
	do func()
}

type events []event

func (e events) Len() int           { return len(e) }
func (e events) Less(i, j int) bool { return e[i].at.Before(e[j].at) }
func (e events) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)        { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	last := old[len(old)-1]
	*e = old[:len(old)-1]
	return last
}

// relayAddrs are where the relay says it is; the first one leads nowhere.
var relayAddrs = []netip.AddrPort{addrC, addrA, addrB}

// Keys are made once: they cost more than the rest.
var (
	relayPrivate = key.NewDisco()
	nodePrivates = [2]key.DiscoPrivate{key.NewDisco(), key.NewDisco()}
	sharedKeys   = map[[2]key.DiscoPublic]key.DiscoShared{}
)

func newWorld(t testing.TB, seed uint64, loss float64) *world {
	w := &world{TB: t, now: epoch, dice: rand.New(rand.NewPCG(seed, 3)), loss: loss, server: server1}
	random := func(b []byte) {
		for i := range b {
			b[i] = byte(w.dice.Uint32())
		}
	}
	w.relay = peerrelay.NewTable(epoch, peerrelay.Config{Key: relayPrivate, Random: random})
	w.relay.SetAddrs(relayAddrs)
	for i := range w.nodes {
		k := nodePrivates[i]
		n := &node{private: k, Peer: Peer{key.NodePublicFromRaw32([32]byte{byte(i + 1)}), k.Public()},
			addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), 1)}
		n.Machine = New(Config{Self: k.Public(), Servers: []key.NodePublic{w.server}, Random: random})
		w.nodes[i] = n
	}
	return w
}

func shared(a key.DiscoPrivate, b key.DiscoPublic) key.DiscoShared {
	k := [2]key.DiscoPublic{a.Public(), b}
	if _, ok := sharedKeys[k]; !ok {
		sharedKeys[k] = a.Shared(b)
	}
	return sharedKeys[k]
}

// after has something happen some time later.
func (w *world) after(d time.Duration, do func()) { heap.Push(&w.events, event{w.now.Add(d), do}) }

// datagram has something happen when a datagram on the way from or to a node arrives, if it
// does. Each way keeps the order.
func (w *world) datagram(way *time.Time, do func()) {
	if w.dice.Float64() >= w.loss {
		*way = maxTime(*way, w.now.Add(time.Duration(10+w.dice.IntN(40))*time.Millisecond)).Add(1)
		w.after(way.Sub(w.now), do)
	}
}

// run lets time pass until nothing is left to do, or until then.
func (w *world) run(until time.Duration) {
	for len(w.events) > 0 && !w.events[0].at.After(epoch.Add(until)) {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.do()
	}
}

// drive lets an event happen at a node.
func (w *world) drive(n *node, f func(acts []Action) []Action) {
	for _, a := range f(nil) {
		w.carryOut(n, a)
	}
	if d := n.Deadline(); !d.IsZero() {
		w.after(d.Sub(w.now), func() {
			if at := n.Deadline(); !at.IsZero() && !at.After(w.now) {
				w.drive(n, func(acts []Action) []Action { return n.Tick(w.now, acts) })
			}
		})
	}
}

// other returns the other node.
func (w *world) other(n *node) *node {
	if w.nodes[0] == n {
		return w.nodes[1]
	}
	return w.nodes[0]
}

func (w *world) carryOut(n *node, a Action) {
	inner, to, _ := a.Message(nil, n.Node)
	header, geneve := a.Header()
	switch {
	case geneve:
		if a.Kind == SendPing {
			n.pings++
		}
		if a.To.AddrPort == addrC {
			return
		}
		pkt := disco.AppendSeal(header.Append(nil), n.private.Public(), shared(n.private, to), disco.Nonce(make([]byte, 24)), inner)
		w.datagram(&n.up, func() { w.atRelay(n.addr, a.To.AddrPort, pkt) })
	case a.Kind == SendAllocate:
		w.after(60*time.Millisecond, func() {
			r, err := peerrelay.Answer(w.now, w.relay, n.Disco, &a.Request, func(key.DiscoPublic) bool { return true })
			if err != nil {
				w.Fatal(err)
			}
			w.after(60*time.Millisecond, func() {
				w.drive(n, func(acts []Action) []Action { return n.Allocated(w.now, w.server, &r, acts) })
			})
		})
	case a.Kind == SendVia:
		o := w.other(n)
		w.after(60*time.Millisecond, func() {
			w.drive(o, func(acts []Action) []Action {
				return o.Called(w.now, n.Peer, Path{}, &disco.CallMeMaybeVia{Endpoint: *a.Endpoint}, acts)
			})
		})
	case a.Kind == Ready:
		n.ready = append(n.ready, a)
	case a.Kind == GaveUp:
		n.gaveUp = append(n.gaveUp, a)
	}
}

// atRelay has a datagram arrive at an address of the relay.
func (w *world) atRelay(from, at netip.AddrPort, pkt []byte) {
	v := w.relay.Input(w.now, from, pkt, nil)
	for _, n := range w.nodes {
		if v.Packet != nil && n.addr == v.To {
			w.datagram(&n.down, func() { w.atNode(n, at, v.Packet) })
		}
	}
}

// atNode has a datagram arrive at a node.
func (w *world) atNode(n *node, from netip.AddrPort, pkt []byte) {
	header, _ := disco.ParseGeneve(pkt)
	sender, _ := disco.Sender(pkt[disco.GeneveLen:])
	inner, err := disco.Open(nil, pkt[disco.GeneveLen:], shared(n.private, sender))
	if err != nil {
		w.Fatal(err)
	}
	typ, _, body, _ := disco.Split(inner)
	at := Addr{from, header.VNI}
	w.drive(n, func(acts []Action) []Action {
		var bind disco.Bind
		var ping disco.Ping
		var pong disco.Pong
		switch {
		case typ == disco.TypeChallenge && bind.Parse(body) == nil:
			return n.Challenged(w.now, sender, at, &bind, acts)
		case typ == disco.TypePing && ping.Parse(body) == nil:
			return n.Pinged(w.now, w.other(n).Peer, at, ping.TxID, acts)
		case typ == disco.TypePong && pong.Parse(body) == nil:
			return n.Ponged(w.now, w.other(n).Peer, at, pong.TxID, acts)
		}
		w.Fatalf("%v message", typ)
		return nil
	})
}

// TestThroughLoss counts how many pairs find a session whatever is lost on the way.
func TestThroughLoss(t *testing.T) {
	const seeds = 60
	for _, c := range []struct {
		loss  float64
		both  bool // both nodes begin
		least int
	}{{0, false, seeds}, {0, true, seeds}, {0.1, false, seeds * 99 / 100}, {0.1, true, seeds * 99 / 100}, {0.2, false, seeds * 90 / 100}} {
		good := 0
		var times []time.Duration
		for seed := range uint64(seeds) {
			w := newWorld(t, seed, c.loss)
			w.drive(w.nodes[0], func(acts []Action) []Action { return w.nodes[0].Discover(w.now, w.nodes[1].Peer, Path{}, acts) })
			if c.both {
				w.after(time.Duration(w.dice.IntN(300))*time.Millisecond, func() {
					w.drive(w.nodes[1], func(acts []Action) []Action { return w.nodes[1].Discover(w.now, w.nodes[0].Peer, Path{}, acts) })
				})
			}
			for end := time.Duration(0); end < 40*time.Second; end += 100 * time.Millisecond {
				if w.run(end); len(w.nodes[0].ready) > 0 && len(w.nodes[1].ready) > 0 {
					good++
					times = append(times, end)
					break
				}
			}
			w.run(2 * time.Minute)
			for _, n := range w.nodes {
				if len(n.ready)+len(n.gaveUp) == 0 || !n.Deadline().IsZero() {
					t.Fatalf("seed %d: a node neither found a session nor gave up", seed)
				}
				// One handshake per time that the session was told of, which is two at most.
				if n.pings > 2*MaxPings {
					t.Fatalf("seed %d: %d pings", seed, n.pings)
				}
				for _, a := range n.ready {
					if a.Latency < 40*time.Millisecond || a.Latency > 10*time.Second || !slices.Contains(relayAddrs[1:], a.To.AddrPort) {
						t.Fatalf("seed %d: ready %+v", seed, a)
					}
				}
			}
		}
		slices.Sort(times)
		t.Logf("loss %.0f %%: %d of %d pairs, median %v, last %v", 100*c.loss, good, seeds, times[len(times)/2], times[len(times)-1])
		if good < c.least {
			t.Errorf("loss %.0f %%: %d pairs found a session, want %d", 100*c.loss, good, c.least)
		}
	}
}

// fuzzer applies events that data encodes.
type fuzzer struct {
	testing.TB
	*Machine
	now    time.Time
	data   []byte
	sent   []Action // bind messages and pings
	shakes map[uint32]int
}

func (f *fuzzer) byte() int {
	if len(f.data) == 0 {
		return 0
	}
	b := f.data[0]
	f.data = f.data[1:]
	return int(b)
}

func (f *fuzzer) peer() Peer {
	return []Peer{bob, carol, {bob.Node, carol.Disco}, {bob.Node, key.DiscoPublic{}}}[f.byte()*5/256%4]
}

func (f *fuzzer) addr() netip.AddrPort {
	return []netip.AddrPort{addrA, addrB, addrC, {}, netip.MustParseAddrPort("224.0.0.1:5")}[f.byte()%5]
}

func (f *fuzzer) endpoint(who Peer) disco.RelayEndpoint {
	e := endpoint(who, uint64(f.byte()%8), uint32(f.byte()%4), f.addr(), f.addr())
	e.Server = []key.DiscoPublic{relayKey, carol.Disco, {}, self}[f.byte()/2%4]
	e.BindLifetime = time.Duration(f.byte()-1) * time.Second
	return e
}

func (f *fuzzer) path() Path {
	n := f.byte()
	return Path{Direct: n%7 == 0, Relay: relayKey, VNI: uint32(n % 4), Trusted: n%3 == 0}
}

// last returns one of the last messages sent.
func (f *fuzzer) last() Action {
	if len(f.sent) == 0 {
		return Action{}
	}
	return f.sent[max(0, len(f.sent)-1-f.byte()%8)]
}

func (f *fuzzer) step() {
	var acts []Action
	from := Addr{f.addr(), uint32(f.byte() % 4)}
	switch f.byte() % 9 {
	case 0:
		acts = f.Discover(f.now, f.peer(), f.path(), nil)
	case 1:
		acts = f.Allocated(f.now, server1, &disco.AllocateResponse{Generation: f.allocations - uint32(f.byte()%2), Endpoint: f.endpoint(f.peer())}, nil)
	case 2, 3:
		who := f.peer()
		acts = f.Called(f.now, who, f.path(), &disco.CallMeMaybeVia{Endpoint: f.endpoint(who)}, nil)
	case 4:
		a := f.last()
		acts = f.Challenged(f.now, a.Relay, a.To, &a.Bind, nil)
	case 5:
		a := f.last()
		acts = f.Pinged(f.now, a.Peer, a.To, disco.TxID{1}, nil)
	case 6:
		a := f.last()
		acts = f.Ponged(f.now, a.Peer, a.To, a.TxID, nil)
	case 7:
		f.now = f.now.Add(time.Duration(f.byte()) * 100 * time.Millisecond)
		acts = f.Tick(f.now, nil)
	case 8:
		who := f.peer()
		acts = f.Challenged(f.now, relayKey, from, &disco.Bind{VNI: from.VNI, Generation: f.generation, Remote: who.Disco}, nil)
	}
	f.check(acts)
}

// check holds actions and the machine to what always holds.
func (f *fuzzer) check(acts []Action) {
	for _, a := range acts {
		switch a.Kind {
		case SendPing:
			f.shakes[a.Bind.Generation]++
			if a.Bind.Generation == 0 || f.shakes[a.Bind.Generation] > MaxPings {
				f.Fatalf("%d pings in handshake %d", f.shakes[a.Bind.Generation], a.Bind.Generation)
			}
		case SendBind:
			if a.To.Port() == 0 || a.To.Addr().IsMulticast() || a.To.VNI == 0 || a.Bind.VNI != a.To.VNI || a.Bind.Remote != a.Peer.Disco {
				f.Fatalf("bind %+v", a)
			}
		}
		if inner, to, ok := a.Message(nil, key.NodePublic{}); ok && (len(inner) == 0 || to.IsZero() && a.Kind != SendAllocate && a.Kind != SendPong) {
			f.Fatalf("message %d for %v", len(inner), to)
		}
		if _, geneve := a.Header(); geneve {
			f.sent = append(f.sent, a)
		}
	}
	for _, p := range f.working {
		if !p.busy() || len(p.shakes) > maxServers || f.peers[p.Node] != p {
			f.Fatalf("working peer %+v", p)
		}
	}
}

func FuzzMachine(f *testing.F) {
	f.Add([]byte{0, 1, 2, 0, 1, 1, 1, 0, 0, 1, 0, 40, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0, 7, 255})
	f.Add([]byte{0, 1, 0, 0, 3, 0, 1, 1, 0, 0, 1, 0, 3, 1, 0, 40, 0, 1, 8, 0, 1, 1, 5, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		z := &fuzzer{TB: t, now: epoch, data: data, shakes: map[uint32]int{},
			Machine: New(Config{Self: self, Servers: []key.NodePublic{server1, server2}})}
		for n := 0; len(z.data) > 0 && n < 1000; n++ {
			z.step()
		}
		for n := 0; !z.Deadline().IsZero(); n++ {
			if n > 10_000 || z.Deadline().After(z.now.Add(MaxHandshake)) {
				t.Fatal("work does not end")
			}
			z.now = maxTime(z.now, z.Deadline())
			z.check(z.Tick(z.now, nil))
		}
	})
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
