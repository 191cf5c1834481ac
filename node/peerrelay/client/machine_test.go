package client

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ginnel/ginnel/wire/disco"
	"github.com/ginnel/ginnel/wire/key"
)

var (
	addrA = netip.MustParseAddrPort("192.0.2.1:7")
	addrB = netip.MustParseAddrPort("[2001:db8::1]:7")
	addrC = netip.MustParseAddrPort("192.0.2.3:7")

	self     = key.NewDisco().Public()
	bob      = Peer{key.NewNode().Public(), key.NewDisco().Public()}
	carol    = Peer{key.NewNode().Public(), key.NewDisco().Public()}
	server1  = key.NewNode().Public()
	server2  = key.NewNode().Public()
	relayKey = key.NewDisco().Public()
	epoch    = time.Unix(1_000_000, 0)
)

// bench is a machine with a clock.
type bench struct {
	testing.TB
	*Machine
	now  time.Time
	acts []Action // of the last event
}

func newBench(t testing.TB, servers ...key.NodePublic) *bench {
	n := uint64(0)
	random := func(b []byte) {
		n++
		clear(b)
		binary.BigEndian.PutUint64(b, n)
	}
	return &bench{TB: t, Machine: New(Config{Self: self, Servers: servers, Random: random}), now: epoch}
}

// pass lets time pass, with all ticks on the way.
func (b *bench) pass(d time.Duration) {
	b.acts = nil
	for end := b.now.Add(d); ; {
		next := b.Deadline()
		if next.IsZero() || next.After(end) {
			b.now = end
			return
		}
		b.now = next
		b.acts = b.Tick(b.now, b.acts)
		if again := b.Deadline(); !again.IsZero() && !again.After(b.now) {
			b.Fatalf("deadline %v is not past %v after a tick", again, b.now)
		}
	}
}

// kinds lists the kinds of the actions of the last event.
func (b *bench) kinds() (list []ActionKind) {
	for _, a := range b.acts {
		list = append(list, a.Kind)
	}
	return list
}

func (b *bench) expect(what string, want ...ActionKind) {
	b.Helper()
	if got := b.kinds(); !slices.Equal(got, want) {
		b.Fatalf("%s: actions %v, want %v", what, got, want)
	}
}

func (b *bench) discover(who Peer, p Path) { b.acts = b.Discover(b.now, who, p, nil) }

// endpoint returns a session of self and a peer.
func endpoint(who Peer, lamport uint64, vni uint32, addrs ...netip.AddrPort) disco.RelayEndpoint {
	e := disco.RelayEndpoint{Server: relayKey, Clients: [2]key.DiscoPublic{self, who.Disco}, LamportID: lamport, VNI: vni,
		BindLifetime: 30 * time.Second, SteadyLifetime: 5 * time.Minute, Addrs: addrs}
	if self.Compare(who.Disco) > 0 {
		e.Clients = [2]key.DiscoPublic{who.Disco, self}
	}
	return e
}

func (b *bench) called(who Peer, p Path, e disco.RelayEndpoint) {
	b.acts = b.Called(b.now, who, p, &disco.CallMeMaybeVia{Endpoint: e}, nil)
}

func (b *bench) allocated(from key.NodePublic, generation uint32, e disco.RelayEndpoint) {
	b.acts = b.Allocated(b.now, from, &disco.AllocateResponse{Generation: generation, Endpoint: e}, nil)
}

// challenge sends a challenge for the last bind message of acts.
func (b *bench) challenge(bind Action, from netip.AddrPort) {
	c := bind.Bind
	c.Challenge = [32]byte{9}
	b.acts = b.Challenged(b.now, bind.Relay, Addr{from, c.VNI}, &c, nil)
}

func TestAllocation(t *testing.T) {
	b := newBench(t, server1, server2, bob.Node)
	b.discover(bob, Path{})
	b.expect("discover", SendAllocate, SendAllocate) // the peer itself is not asked
	first, second := b.acts[0], b.acts[1]
	if first.Server != server1 || second.Server != server2 || first.Request.Generation == second.Request.Generation ||
		first.Request.Clients != endpoint(bob, 1, 1).Clients {
		t.Errorf("requests %+v, %+v", first, second)
	}
	b.pass(AllocateRetry - 1)
	b.expect("before the retry")
	b.pass(1)
	b.expect("retry", SendAllocate, SendAllocate)
	if b.acts[0].Request != first.Request {
		t.Error("the repeated request is another one")
	}
	e, gen := endpoint(bob, 1, 5, addrA, addrB), first.Request.Generation
	bad := e
	bad.Clients[0] = carol.Disco
	for name, f := range map[string]func(){
		"another server":     func() { b.allocated(server2, gen, e) },
		"a stranger":         func() { b.allocated(carol.Node, gen, e) },
		"another generation": func() { b.allocated(server1, gen+100, e) },
		"another pair":       func() { b.allocated(server1, gen, bad) },
	} {
		f()
		b.expect("response of " + name)
	}
	b.allocated(server1, gen, e)
	b.expect("response", SendVia, SendBind, SendBind)
	if via := b.acts[0]; via.Peer != bob || via.Endpoint.VNI != 5 || !slices.Equal(via.Endpoint.Addrs, e.Addrs) {
		t.Errorf("via %+v", via)
	}
	b.allocated(server1, gen, endpoint(bob, 2, 6, addrA))
	b.expect("a second response")
	b.pass(AllocateTimeout - AllocateRetry)
	if i := slices.IndexFunc(b.acts, func(a Action) bool { return a.Kind == GaveUp }); i < 0 || b.acts[i].Server != server2 ||
		b.acts[i].Why != NoAllocation {
		t.Errorf("the silent server was not given up: %v", b.acts)
	}
	b.pass(time.Minute)
	if i := slices.IndexFunc(b.acts, func(a Action) bool { return a.Kind == GaveUp }); i < 0 || b.acts[i].Why != NoChallenge {
		t.Errorf("the silent relay was not given up: %v", b.acts)
	}
	if !b.Deadline().IsZero() || len(b.working) != 0 {
		t.Error("work is left")
	}
}

func TestWanted(t *testing.T) {
	b := newBench(t)
	b.discover(bob, Path{})
	b.expect("without servers")
	b.Configure(Config{Self: self, Servers: []key.NodePublic{server1}})
	b.discover(bob, Path{Direct: true})
	b.expect("with a direct path")
	b.discover(Peer{Node: bob.Node}, Path{})
	b.expect("without a disco key")
	for _, c := range []struct {
		wait time.Duration
		path Path
		want bool
	}{
		{0, Path{}, true}, {0, Path{}, false}, {DiscoveryGap - 1, Path{}, false}, {1, Path{}, true},
		{DiscoveryGap, Path{Relay: relayKey, VNI: 1, Trusted: true}, false}, {DiscoveryGap, Path{Relay: relayKey, VNI: 1, Trusted: true}, true},
		{DiscoveryGap, Path{Relay: relayKey, VNI: 1}, true}, {DiscoveryGap, Path{Direct: true}, false},
	} {
		b.pass(c.wait)
		if b.discover(bob, c.path); len(b.acts) > 0 != c.want {
			t.Errorf("after %v with %+v: %v, want %v", c.wait, c.path, b.acts, c.want)
		}
	}
	restarted := bob
	restarted.Disco = key.NewDisco().Public()
	if b.discover(restarted, Path{}); len(b.acts) != 1 {
		t.Errorf("after a restart of the peer: %v", b.acts)
	}
}

func TestHandshake(t *testing.T) {
	b := newBench(t)
	b.called(bob, Path{}, endpoint(bob, 1, 5, addrA, addrB, netip.AddrPort{}, addrA))
	b.expect("called", SendBind, SendBind)
	bind := b.acts[0]
	if bind.To != (Addr{addrA, 5}) || b.acts[1].To != (Addr{addrB, 5}) || bind.Bind.VNI != 5 || bind.Bind.Remote != bob.Disco ||
		bind.Bind.Generation == 0 || bind.Relay != relayKey || !b.Expects(relayKey) || b.Expects(bob.Disco) {
		t.Errorf("bind %+v", bind)
	}
	edited := func(edit func(c *disco.Bind)) disco.Bind {
		c := bind.Bind
		edit(&c)
		return c
	}
	at := Addr{addrC, 5}
	for name, c := range map[string]struct {
		relay key.DiscoPublic
		from  Addr
		bind  disco.Bind
	}{
		"another relay":      {carol.Disco, at, bind.Bind},
		"another VNI":        {relayKey, Addr{addrC, 6}, bind.Bind},
		"another VNI inside": {relayKey, at, edited(func(c *disco.Bind) { c.VNI = 6 })},
		"another remote":     {relayKey, at, edited(func(c *disco.Bind) { c.Remote = carol.Disco })},
		"another generation": {relayKey, at, edited(func(c *disco.Bind) { c.Generation++ })},
	} {
		b.acts = b.Challenged(b.now, c.relay, c.from, &c.bind, nil)
		b.expect(name)
	}
	b.Pinged(b.now, bob, Addr{addrA, 5}, disco.TxID{1}, nil)
	b.challenge(bind, addrC) // relays may answer from elsewhere
	b.expect("challenge", SendAnswer, SendPing)
	answer, ping := b.acts[0], b.acts[1]
	if answer.Bind.Challenge != [32]byte{9} || answer.Bind.Generation != bind.Bind.Generation || answer.To != at || ping.To != at || ping.TxID == (disco.TxID{}) {
		t.Errorf("answer %+v, ping %+v", answer, ping)
	}
	b.challenge(bind, addrA)
	b.expect("a second challenge")
	b.acts = b.Ponged(b.now, carol, at, ping.TxID, nil)
	b.expect("a pong of somebody else")
	b.acts = b.Ponged(b.now, bob, Addr{addrA, 5}, ping.TxID, nil)
	b.expect("a pong from elsewhere")
	b.acts = b.Ponged(b.now, bob, at, disco.TxID{77}, nil)
	b.expect("a pong to no ping")
	b.acts = b.Pinged(b.now, bob, at, disco.TxID{2}, nil)
	b.expect("a ping", SendPong, SendPing)
	if b.acts[0].TxID != (disco.TxID{2}) || b.acts[0].To != at {
		t.Errorf("pong %+v", b.acts[0])
	}
	b.now = b.now.Add(40 * time.Millisecond)
	b.acts = b.Ponged(b.now, bob, at, ping.TxID, nil)
	b.expect("a pong", Ready)
	if r := b.acts[0]; r.To != at || r.Latency != 40*time.Millisecond || r.Relay != relayKey || r.Peer != bob {
		t.Errorf("ready %+v", r)
	}
	b.acts = b.Pinged(b.now, bob, at, disco.TxID{3}, nil)
	b.expect("a ping afterwards", SendPong)
	b.acts = b.Ponged(b.now, bob, at, ping.TxID, nil)
	b.expect("the pong once more")
	if !b.Deadline().IsZero() || b.Expects(relayKey) {
		t.Error("work is left")
	}
}

func TestPingsAreBounded(t *testing.T) {
	b := newBench(t)
	b.called(bob, Path{}, endpoint(bob, 1, 5, addrA))
	b.challenge(b.acts[0], addrA)
	pings := 1
	for range 100 {
		b.acts = b.Pinged(b.now, bob, Addr{addrA, 5}, disco.TxID{1}, nil)
		pings += len(b.acts) - 1
	}
	for b.Deadline() != (time.Time{}) {
		b.pass(time.Second)
		for _, a := range b.acts {
			if a.Kind == SendPing {
				pings++
			}
		}
	}
	if pings != MaxPings {
		t.Errorf("%d pings, want %d", pings, MaxPings)
	}
	if a := b.acts[len(b.acts)-1]; a.Kind != GaveUp || a.Why != NoPong {
		t.Errorf("the end is %+v", a)
	}
}

// TestRepeats counts what is sent to a relay that never answers, and to one that never
// hears the answer.
func TestRepeats(t *testing.T) {
	b := newBench(t)
	b.called(bob, Path{}, endpoint(bob, 1, 5, addrA, addrB))
	bind := b.acts[0]
	b.pass(firstRepeat)
	b.expect("the first repetition", SendBind, SendBind)
	b.pass(2 * firstRepeat)
	b.expect("the second repetition", SendBind, SendBind)
	b.challenge(bind, addrA)
	b.pass(firstRepeat)
	b.expect("without any sign of the peer", SendAnswer, SendPing)
	b.acts = b.Pinged(b.now, bob, Addr{addrA, 5}, disco.TxID{1}, nil)
	b.pass(2 * firstRepeat)
	b.expect("after a ping", SendPing) // the answer has arrived
	b.called(carol, Path{}, endpoint(carol, 2, 6, addrA))
	b.Stop(bob.Node)
	b.pass(time.Minute)
	want := append(slices.Repeat([]ActionKind{SendBind}, maxRepeats), GaveUp)
	b.expect("a relay that never answers", want...)
}

func TestLamportOrder(t *testing.T) {
	b := newBench(t, server1)
	b.called(bob, Path{}, endpoint(bob, 5, 5, addrA))
	b.expect("first", SendBind)
	old := b.acts[0]
	for _, lamport := range []uint64{1, 4, 5} {
		b.called(bob, Path{}, endpoint(bob, lamport, 6, addrA))
		b.expect(fmt.Sprint("Lamport ", lamport))
	}
	b.called(bob, Path{}, endpoint(bob, 6, 6, addrA))
	b.expect("a newer one", GaveUp, SendBind)
	if b.acts[0].Why != Replaced || b.acts[1].Bind.VNI != 6 || b.acts[1].Bind.Generation == old.Bind.Generation {
		t.Errorf("actions %+v", b.acts)
	}
	b.challenge(old, addrA)
	b.expect("a challenge for the old one")
	// What another peer says of the same relay and VNI is another matter.
	b.called(carol, Path{}, endpoint(carol, 99, 6, addrA))
	b.expect("another peer", SendBind)
	if len(b.peers[bob.Node].shakes) != 1 {
		t.Error("one peer ended the handshake of another")
	}
	// Both sides allocate, and get the same session: only one handshake.
	b.discover(bob, Path{})
	b.allocated(server1, b.acts[0].Request.Generation, endpoint(bob, 6, 6, addrA))
	b.expect("our own request for the same session")
}

func TestTrustedSessionIsLeftAlone(t *testing.T) {
	b := newBench(t, server1)
	p := Path{Relay: relayKey, VNI: 5, Trusted: true}
	b.called(bob, p, endpoint(bob, 1, 5, addrA))
	b.expect("the session in use")
	b.discover(bob, p)
	b.allocated(server1, b.acts[0].Request.Generation, endpoint(bob, 1, 5, addrA))
	b.expect("the session in use, allocated again", SendVia)
	b.called(bob, p, endpoint(bob, 2, 6, addrA))
	b.expect("another session", SendBind)
	p.Trusted = false
	b.called(carol, p, endpoint(carol, 1, 5, addrA))
	b.expect("the session, not trusted any more", SendBind)
}

func TestBadEndpoints(t *testing.T) {
	good := endpoint(bob, 1, 5, addrA)
	for name, edit := range map[string]func(e *disco.RelayEndpoint){
		"of others":     func(e *disco.RelayEndpoint) { e.Clients[0] = carol.Disco },
		"not in order":  func(e *disco.RelayEndpoint) { e.Clients[0], e.Clients[1] = e.Clients[1], e.Clients[0] },
		"no VNI":        func(e *disco.RelayEndpoint) { e.VNI = 0 },
		"no server":     func(e *disco.RelayEndpoint) { e.Server = key.DiscoPublic{} },
		"the peer":      func(e *disco.RelayEndpoint) { e.Server = bob.Disco },
		"no time":       func(e *disco.RelayEndpoint) { e.BindLifetime = 0 },
		"negative time": func(e *disco.RelayEndpoint) { e.BindLifetime = -1 },
		"no address":    func(e *disco.RelayEndpoint) { e.Addrs = nil },
		"no usable address": func(e *disco.RelayEndpoint) {
			e.Addrs = []netip.AddrPort{netip.MustParseAddrPort("224.0.0.1:1"), netip.MustParseAddrPort("10.0.0.1:0")}
		},
		"empty": func(e *disco.RelayEndpoint) { *e = disco.RelayEndpoint{} },
	} {
		b, e := newBench(t), good
		edit(&e)
		b.called(bob, Path{}, e)
		b.expect(name)
		if len(b.working) != 0 {
			t.Errorf("%s: work was begun", name)
		}
	}
	b, e := newBench(t), good
	e.BindLifetime = 1<<63 - 1
	for i := range uint16(1000) {
		e.Addrs = append(e.Addrs, netip.AddrPortFrom(addrA.Addr(), i))
	}
	b.called(bob, Path{}, e)
	if len(b.acts) != maxAddrs {
		t.Errorf("%d addresses were taken, want %d", len(b.acts), maxAddrs)
	}
	if b.pass(MaxHandshake); !b.Deadline().IsZero() {
		t.Error("the handshake outlives its limit")
	}
}

// TestCallsAreBounded has a peer that tells of a thousand sessions.
func TestCallsAreBounded(t *testing.T) {
	b := newBench(t)
	count := func() (n int) {
		for i := range 1000 {
			e := endpoint(bob, uint64(i), uint32(i+1), addrA)
			e.Server = key.DiscoPublicFromRaw32([32]byte{1, byte(i), byte(i >> 8)})
			b.called(bob, Path{}, e)
			n += len(b.acts)
		}
		return n
	}
	if n := count(); n != viaBurst || len(b.peers[bob.Node].shakes) > maxServers {
		t.Errorf("%d handshakes at once, want %d", n, viaBurst)
	}
	b.called(carol, Path{}, endpoint(carol, 1, 1, addrA))
	b.expect("another peer", SendBind)
	b.pass(time.Minute)
	if n := count(); n != viaBurst {
		t.Errorf("%d handshakes after a minute, want %d", n, viaBurst)
	}
	b.pass(MaxHandshake)
	if n := count(); n != int(MaxHandshake/viaGap) {
		t.Errorf("%d handshakes half a minute later, want %d", n, MaxHandshake/viaGap)
	}
}

func TestEndOfWork(t *testing.T) {
	work := func() *bench {
		b := newBench(t, server1)
		b.discover(bob, Path{})
		b.called(bob, Path{}, endpoint(bob, 1, 5, addrA))
		return b
	}
	for name, end := range map[string]func(b *bench){
		"stop":    func(b *bench) { b.Stop(bob.Node) },
		"forget":  func(b *bench) { b.Forget(bob.Node) },
		"new key": func(b *bench) { b.Configure(Config{Self: carol.Disco, Servers: []key.NodePublic{server1}}) },
		"peer restarted": func(b *bench) {
			b.called(Peer{bob.Node, carol.Disco}, Path{}, endpoint(bob, 9, 9, addrA))
		},
	} {
		b := work()
		if b.Deadline().IsZero() {
			t.Fatal("there is no work")
		}
		end(b)
		if !b.Deadline().IsZero() || len(b.working) != 0 || b.Expects(relayKey) {
			t.Errorf("%s: work is left", name)
		}
	}
	b := work()
	b.Configure(Config{Self: self})
	if len(b.peers[bob.Node].allocs) != 0 || len(b.peers[bob.Node].shakes) != 1 {
		t.Error("without servers a request is still waited for, or the handshake was ended")
	}
}
