package path

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginnel/ginnel/wire/disco"
	"github.com/ginnel/ginnel/wire/key"
)

// TestRefusedAddressHarmsNobodyElse has a packet filter of the machine refuse one address,
// to which a peer is said to be reachable: paths to others stay as they are.
func TestRefusedAddressHarmsNobodyElse(t *testing.T) {
	pair(t, func(t *testing.T, n *memnet, a, b *host) {
		bad := Peer{ID: 7, Key: key.NewNode().Public(), Disco: key.NewDisco().Public(), HomeRegion: 1,
			Endpoints: []netip.AddrPort{netip.MustParseAddrPort("198.51.100.99:1")}}
		n.set(func() { n.refused = bad.Endpoints[0].Addr() })
		a.apply(append(a.cfg.Peers, bad)...)
		chat(a, b, 5*time.Second)
		before := a.addr()
		for i := range 60 {
			_ = a.Send(bad.Key, [][]byte{[]byte("x")})
			a.send(b, fmt.Sprint("beside ", i))
			if src := b.want(fmt.Sprint("beside ", i)); src.Region != 0 {
				t.Fatalf("packet %d came from %v, want the direct path", i, src)
			}
			time.Sleep(500 * time.Millisecond)
		}
		if a.addr() != before {
			t.Errorf("the socket was replaced: %v, before %v", a.addr(), before)
		}
	})
}

// TestFrozenRelayIsLeft has a relay take in everything and answer nothing. The connection
// must not be used for longer than it takes to be sure.
func TestFrozenRelayIsLeft(t *testing.T) {
	pair(t, func(t *testing.T, n *memnet, a, b *host) {
		n.set(func() { n.udpCut = true })
		chat(a, b, 10*time.Second)
		before, dials := 0, 0
		n.set(func() { n.frozen = true; before = n.relays[1].dials })
		began := time.Now()
		for dials = before; dials == before; n.set(func() { dials = n.relays[1].dials }) {
			a.send(b, "anybody there?")
			time.Sleep(100 * time.Millisecond)
			if time.Since(began) > 10*time.Second {
				t.Fatal("a relay that answers nothing is still in use after 10 s")
			}
		}
		n.set(func() { n.frozen = false })
		chat(a, b, 10*time.Second)
	})
}

// TestRelayAtOnceWhenTheLinkIsBack has the network be away for long: the way back must
// not wait for a pause that grew in the meantime.
func TestRelayAtOnceWhenTheLinkIsBack(t *testing.T) {
	pair(t, func(t *testing.T, n *memnet, a, b *host) {
		n.set(func() { n.udpCut, n.relayCut = true, true })
		a.LinkChanged(LinkChange{Up: false})
		time.Sleep(5 * time.Minute)
		tries := 0
		n.set(func() { n.relayCut = false; tries = n.relays[1].dials })
		if tries > 5 {
			t.Errorf("%d attempts to reach a relay without a network", tries)
		}
		a.LinkChanged(LinkChange{Up: true, Rebind: true})
		began := time.Now()
		for !a.Status().Relays[0].Connected {
			time.Sleep(time.Millisecond)
			if time.Since(began) > 100*time.Millisecond {
				t.Fatal("no relay connection 100 ms after the network came back")
			}
		}
	})
}

// TestReplayedPing has somebody send a recorded ping from other addresses.
func TestReplayedPing(t *testing.T) {
	pair(t, func(t *testing.T, n *memnet, a, b *host) {
		chat(a, b, 2*time.Second)
		m := disco.Ping{TxID: newTxID(), Node: b.priv.Public()}
		var nonce disco.Nonce
		pkt := disco.AppendSeal(nil, b.DiscoKey(), b.loop.disco.Shared(a.DiscoKey()), nonce, m.Append(nil))
		var answers int
		send := func(ip string) {
			pc, err := n.listen(netip.MustParseAddr(ip))("udp4", 0)
			if err != nil {
				t.Fatal(err)
			}
			defer pc.Close()
			s := pc.(*memSocket)
			if _, err := s.WriteTo(pkt, net.UDPAddrFromAddrPort(a.addr())); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			answers = len(s.in)
		}
		send("192.0.2.2") // as good as the peer itself
		if answers != 2 { // the pong, and a ping of the new address
			t.Fatalf("%d answers to a ping, want a pong and a ping", answers)
		}
		bound := 0
		count := func() (k int) { a.sources.byAddr.Range(func(any, any) bool { k++; return true }); return k }
		bound = count()
		for i := range 100 {
			if send(fmt.Sprintf("198.51.100.%d", i+2)); answers != 0 {
				t.Fatalf("%d answers to a replayed ping", answers)
			}
		}
		if k := count(); k != bound {
			t.Errorf("%d addresses are taken for the peer's, %d before", k, bound)
		}
		if a.direct(b) != b.addr() {
			t.Errorf("direct path %v, want %v", a.direct(b), b.addr())
		}
	})
}

// TestCallDoesNotWaitForTheWholeCheck has one relay that answers STUN, and one that never
// does: the first answer is all that peers need to be told.
func TestCallDoesNotWaitForTheWholeCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemnet(1)
		n.stunDelay = 20 * time.Millisecond
		a, b := n.host(t, "192.0.2.1"), n.host(t, "192.0.2.2")
		defer a.stop()
		defer b.stop()
		for _, h := range []*host{a, b} {
			m := n.derpMap()
			dead := *m.Regions[1]
			dead.RegionID, dead.RegionCode = 2, "dead"
			node := *dead.Nodes[0]
			node.RegionID, node.IPv4 = 2, "198.51.100.200"
			dead.Nodes = append(dead.Nodes[:0:0], &node)
			m.Regions[2] = &dead
			h.cfg.DERPMap = m
		}
		a.apply(b.peer())
		b.apply(a.peer())
		for a.Status().HomeRegion != 1 || b.Status().HomeRegion != 1 {
			time.Sleep(time.Millisecond)
		}
		a.Rebind() // which needs a new check
		b.Rebind()
		began := time.Now()
		a.send(b, "hello")
		b.want("hello")
		for !a.direct(b).IsValid() {
			time.Sleep(time.Millisecond)
			if time.Since(began) > 500*time.Millisecond {
				t.Fatal("no direct path within 500 ms")
			}
		}
	})
}

// TestBrokenSocketIsReplaced has the system take the socket away.
func TestBrokenSocketIsReplaced(t *testing.T) {
	pair(t, func(t *testing.T, n *memnet, a, b *host) {
		chat(a, b, 2*time.Second)
		before := a.sock4.cur.Load()
		a.noteSendError(a.lookup(b.priv.Public()), b.addr(), syscall.EPIPE)
		synctest.Wait()
		if a.sock4.cur.Load() == before {
			t.Error("the socket is still the broken one")
		}
		chat(a, b, 5*time.Second)
		if !a.direct(b).IsValid() {
			t.Error("no direct path with the new socket")
		}
		if err := a.Send(key.NewNode().Public(), nil); !errors.Is(err, ErrUnknownPeer) {
			t.Errorf("unknown peer: %v", err)
		}
	})
}

// TestCrossingHandshakes has a peer's initiations come while one of our own is on its way:
// they are kept back, and the last one is handed in only if ours goes unanswered.
func TestCrossingHandshakes(t *testing.T) {
	for _, answered := range []bool{false, true} {
		pair(t, func(t *testing.T, n *memnet, a, b *host) {
			p := a.lookup(b.priv.Public())
			p.yields.Store(true)
			src := &Source{Addr: b.addr(), Peer: p.key, peer: p}
			now := time.Now()
			p.initiating(now)
			pkt := make([]byte, initiationLen)
			pkt[0] = initiationType
			for i := range 1000 { // anybody can send such
				pkt[4] = byte(i)
				if a.filterHandshake(pkt, src, now.UnixNano()) {
					t.Fatal("an initiation that crosses ours was handed in")
				}
			}
			if answered {
				if !a.filterHandshake(append([]byte{responseType}, make([]byte, responseLen-1)...), src, now.UnixNano()) {
					t.Fatal("the response was kept back")
				}
			}
			time.Sleep(glareHold)
			synctest.Wait()
			want := 1
			if answered {
				want = 0
			}
			if len(a.got) != want {
				t.Fatalf("answered %v: %d initiations were handed in, want %d", answered, len(a.got), want)
			}
			if want == 1 {
				if got := <-a.got; got != string(pkt) {
					t.Error("not the last one was handed in")
				}
			}
			if !a.filterHandshake(pkt, src, now.UnixNano()) {
				t.Error("an initiation was kept back with none of ours on its way")
			}
		})
	}
}

// TestRelayWhenTheLinkIsBackWithoutMore has the network come back just as it was.
func TestRelayWhenTheLinkIsBackWithoutMore(t *testing.T) {
	pair(t, func(t *testing.T, n *memnet, a, b *host) {
		n.set(func() { n.relayCut = true })
		a.LinkChanged(LinkChange{Up: false})
		for _, c := range n.relays[1].conns {
			c.Close()
		}
		time.Sleep(time.Minute)
		n.set(func() { n.relayCut = false })
		a.LinkChanged(LinkChange{Up: true})
		synctest.Wait()
		if !a.Status().Relays[0].Connected {
			t.Error("no relay connection once the link was back")
		}
	})
}
