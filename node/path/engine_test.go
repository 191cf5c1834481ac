package path

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginnel/ginnel/node/path/probing"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/disco"
	"github.com/ginnel/ginnel/wire/key"
)

// pair runs f in a bubble with two hosts that know each other's keys but no endpoints.
func pair(t *testing.T, f func(t *testing.T, n *memnet, a, b *host)) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemnet(1)
		a, b := n.host(t, "192.0.2.1"), n.host(t, "192.0.2.2")
		defer a.stop()
		defer b.stop()
		a.apply(b.peer())
		b.apply(a.peer())
		synctest.Wait() // both are at the relay
		f(t, n, a, b)
	})
}

// chat sends a packet each way every half second.
func chat(a, b *host, by time.Duration) {
	for i := range int(by / (500 * time.Millisecond)) {
		text := fmt.Sprint("chat ", i)
		a.send(b, text)
		b.want(text)
		b.send(a, text)
		a.want(text)
		time.Sleep(500 * time.Millisecond)
	}
}

func TestRelayThenDirect(t *testing.T) {
	pair(t, func(t *testing.T, n *memnet, a, b *host) {
		a.send(b, "first")
		if src := b.want("first"); src.Region != 1 || src.Peer != a.priv.Public() {
			t.Fatalf("the first packet came from %v, want the relay", src)
		}
		chat(a, b, 2*time.Second)
		if a.direct(b) != b.addr() || b.direct(a) != a.addr() {
			t.Fatalf("paths %v and %v, want direct ones", a.direct(b), b.direct(a))
		}
		a.send(b, "second")
		if src := b.want("second"); src.Addr != a.addr() || src.Peer != a.priv.Public() {
			t.Fatalf("the second packet came from %v", src)
		}
		s := a.Status().Peers[b.priv.Public()]
		if s.Tx.Relay.Packets == 0 || s.Tx.DirectIPv4.Packets == 0 || s.Rx.DirectIPv4.Packets == 0 || !s.Active {
			t.Errorf("status %+v", s)
		}
	})
}

func TestUDPDiesAndComesBack(t *testing.T) {
	pair(t, func(t *testing.T, n *memnet, a, b *host) {
		chat(a, b, 2*time.Second)
		if !a.direct(b).IsValid() {
			t.Fatal("no direct path")
		}
		n.set(func() { n.udpCut = true })
		time.Sleep(probing.TrustDuration)
		a.send(b, "after trust")
		if src := b.want("after trust"); src.Region != 1 {
			t.Fatalf("came from %v, want the relay", src)
		}
		chat(a, b, 20*time.Second)
		n.set(func() { n.udpCut = false })
		chat(a, b, 10*time.Second)
		if a.direct(b) != b.addr() || b.direct(a) != a.addr() {
			t.Fatalf("paths %v and %v after UDP came back", a.direct(b), b.direct(a))
		}
	})
}

// TestFirstPacketsWait has the relay take two seconds to connect to: nothing is lost.
func TestFirstPacketsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemnet(1)
		n.udpCut = true
		a, b := n.host(t, "192.0.2.1"), n.host(t, "192.0.2.2")
		defer a.stop()
		defer b.stop()
		b.apply(a.peer())
		synctest.Wait()
		n.set(func() { n.dialDelay = 2 * time.Second })
		a.apply(b.peer())
		for i := range 100 {
			a.send(b, fmt.Sprint("packet ", i))
		}
		for i := range 100 {
			b.want(fmt.Sprint("packet ", i))
		}
	})
}

func TestRelayReconnects(t *testing.T) {
	pair(t, func(t *testing.T, n *memnet, a, b *host) {
		n.set(func() { n.udpCut = true })
		chat(a, b, time.Second)
		n.set(func() {
			n.relayCut = true
			for _, c := range n.relays[1].conns {
				go c.Close()
			}
		})
		time.Sleep(time.Minute)
		dials := 0
		n.set(func() { n.relayCut = false; dials = n.relays[1].dials })
		if dials < 10 || dials > 100 {
			t.Errorf("%d attempts to connect two nodes in a minute, want some, with growing pauses", dials)
		}
		for b.Status().Relays[0].Connected != true {
			time.Sleep(time.Second)
		}
		a.send(b, "again")
		b.want("again")
	})
}

// TestHomeRegionsDiffer has each node at home in another region, and connections to
// foreign ones closed when idle.
func TestHomeRegionsDiffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemnet(1, 2)
		n.udpCut = true
		a, b := n.host(t, "192.0.2.1"), n.host(t, "192.0.2.2")
		defer a.stop()
		defer b.stop()
		a.apply(b.peer())
		b.apply(a.peer())
		time.Sleep(10 * time.Second) // both chose some home without measuring
		pa, pb := a.peer(), b.peer()
		pa.HomeRegion, pb.HomeRegion = a.Status().HomeRegion, b.Status().HomeRegion
		if pa.HomeRegion == 0 || pb.HomeRegion == 0 {
			t.Fatal("no home without UDP")
		}
		a.apply(pb)
		b.apply(pa)
		chat(a, b, 5*time.Second)
		time.Sleep(2 * time.Minute)
		for _, h := range []*host{a, b} {
			for _, r := range h.Status().Relays {
				if r.Connected != r.Home {
					t.Errorf("after two idle minutes: %+v", r)
				}
			}
		}
	})
}

func TestIdlePeersCostNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemnet(1)
		a := n.host(t, "192.0.2.1")
		defer a.stop()
		var peers []Peer
		for i := range 2000 {
			peers = append(peers, Peer{Key: key.NewNode().Public(), Disco: key.NewDisco().Public(), HomeRegion: 1,
				Endpoints: []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 41641)}})
		}
		a.apply(peers...)
		time.Sleep(10 * time.Second)
		sent := 0
		n.set(func() { sent = n.udpSent })
		time.Sleep(10 * time.Minute)
		n.set(func() { sent = n.udpSent - sent })
		if sent != 0 {
			t.Errorf("an idle node with 2000 peers sent %d packets in 10 minutes", sent)
		}
		a.apply(peers[:10]...)
		if got := len(a.Status().Peers); got != 10 {
			t.Errorf("%d peers, want 10", got)
		}
	})
}

func TestPing(t *testing.T) {
	pair(t, func(t *testing.T, n *memnet, a, b *host) {
		n.set(func() { n.udpCut = true })
		r, err := a.Ping(context.Background(), b.priv.Public(), 0)
		if err != nil || r.RegionID != 1 || r.RegionCode != "mem" || r.Endpoint.IsValid() {
			t.Fatalf("relayed ping: %+v, %v", r, err)
		}
		n.set(func() { n.udpCut = false })
		chat(a, b, 10*time.Second)
		r, err = a.Ping(context.Background(), b.priv.Public(), 1000)
		if err != nil || r.Endpoint != b.addr() || r.RegionID != 0 {
			t.Fatalf("direct ping: %+v, %v", r, err)
		}
		if _, err := a.Ping(context.Background(), key.NewNode().Public(), 0); !errors.Is(err, ErrUnknownPeer) {
			t.Errorf("ping of a stranger: %v", err)
		}
		b.stop()
		if _, err := a.Ping(context.Background(), b.priv.Public(), 0); !errors.Is(err, ErrPingTimeout) {
			t.Errorf("ping of a dead peer: %v", err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := a.Ping(ctx, b.priv.Public(), 0); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled ping: %v", err)
		}
	})
}

// sealedFrom seals an inner message from one disco key to a host.
func sealedFrom(from key.DiscoPrivate, to *host, inner []byte) []byte {
	return disco.AppendSeal(nil, from.Public(), from.Shared(to.DiscoKey()), disco.Nonce{1}, inner)
}

// TestForeignDisco has packets from strangers, forged ones, garbage, and call-me-maybe
// messages by ways that are not theirs.
func TestForeignDisco(t *testing.T) {
	pair(t, func(t *testing.T, n *memnet, a, b *host) {
		stranger := n.host(t, "192.0.2.66")
		defer stranger.stop()
		aAddr := a.addr()
		eve := key.NewDisco()
		ping := (&disco.Ping{TxID: disco.TxID{1}, Node: b.priv.Public()}).Append(nil)
		call := (&disco.CallMeMaybe{Endpoints: []netip.AddrPort{stranger.addr()}}).Append(nil)
		good := sealedFrom(b.loop.disco, a, ping)
		forged := slices.Clone(good)
		forged[len(forged)-1] ^= 1
		for name, pkt := range map[string][]byte{
			"unknown key":         sealedFrom(eve, a, ping),
			"forged":              forged,
			"cut":                 good[:len(good)-1],
			"magic alone":         good[:40],
			"call over UDP":       sealedFrom(b.loop.disco, a, call),
			"unknown type":        sealedFrom(b.loop.disco, a, []byte{0x0a, 0, 1, 2}),
			"no header":           sealedFrom(b.loop.disco, a, nil),
			"short ping":          sealedFrom(b.loop.disco, a, ping[:8]),
			"geneve":              append(disco.Geneve{Protocol: disco.ProtocolDisco, VNI: 1}.Append(nil), good...),
			"pong nobody awaited": sealedFrom(b.loop.disco, a, (&disco.Pong{TxID: disco.TxID{9}}).Append(nil)),
			"stun nobody awaited": []byte("\x01\x01\x00\x00\x21\x12\xa4\x42xxxxxxxxxxxx"),
		} {
			before := 0
			n.set(func() { before = n.udpSent })
			if err := stranger.sock4.writeBatch([][]byte{pkt}, aAddr); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			n.set(func() { before = n.udpSent - before })
			if before != 1 { // our own packet
				t.Errorf("%s: %d packets sent in answer", name, before-1)
			}
		}
		// The same ping, good this time, from an address that may even be a stranger's:
		// it holds the right key.
		before := 0
		n.set(func() { before = n.udpSent })
		for range 3 {
			_ = stranger.sock4.writeBatch([][]byte{good}, aAddr)
			synctest.Wait()
		}
		n.set(func() { before = n.udpSent - before })
		if before != 3+2 { // a pong and a ping back, once
			t.Errorf("three copies of a ping led to %d packets, want one pong and one ping", before-3)
		}
	})
}

// TestGarbageIsCountedApart has a stranger send what looks like WireGuard, path finding
// and STUN, which is no peer's traffic.
func TestGarbageIsCountedApart(t *testing.T) {
	pair(t, func(t *testing.T, n *memnet, a, b *host) {
		stranger := n.host(t, "192.0.2.66")
		defer stranger.stop()
		b.send(a, "hello")
		a.want("hello")
		before, aAddr := a.Status(), a.addr()
		for range 3 {
			for _, pkt := range [][]byte{
				append([]byte{4, 0, 0, 0}, make([]byte, 60)...),
				sealedFrom(key.NewDisco(), a, (&disco.Ping{TxID: disco.TxID{1}}).Append(nil)),
				[]byte("\x01\x01\x00\x00\x21\x12\xa4\x42xxxxxxxxxxxx"),
			} {
				if err := stranger.sock4.writeBatch([][]byte{pkt}, aAddr); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
		}
		after := a.Status()
		if after.Rx != before.Rx {
			t.Errorf("received from peers: %+v, before the garbage %+v", after.Rx, before.Rx)
		}
		if want := (Unknown{WireGuard: 3, Disco: 3, Other: 3}); after.Unknown != want || before.Unknown != (Unknown{}) {
			t.Errorf("unknown %+v, before %+v, want %+v", after.Unknown, before.Unknown, want)
		}
	})
}

// TestCallMeMaybeNeedsItsKey has a call relayed by one peer but sealed with the key of
// another.
func TestCallMeMaybeNeedsItsKey(t *testing.T) {
	pair(t, func(t *testing.T, n *memnet, a, b *host) {
		c := n.host(t, "192.0.2.3")
		defer c.stop()
		c.apply(a.peer())
		a.apply(b.peer(), Peer{Key: c.priv.Public(), Disco: c.DiscoKey(), HomeRegion: 1})
		call := (&disco.CallMeMaybe{Endpoints: []netip.AddrPort{c.addr()}}).Append(nil)
		send := func(from key.DiscoPrivate) (pings int) {
			n.set(func() { pings = n.udpSent })
			if err := c.Send(a.priv.Public(), [][]byte{sealedFrom(from, a, call)}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			time.Sleep(time.Millisecond)
			n.set(func() { pings = n.udpSent - pings })
			return pings
		}
		time.Sleep(time.Minute) // let everything settle
		send(b.loop.disco)      // wakes c, which tries to find a path of its own
		time.Sleep(time.Second)
		if got := candidateOf(a, b, c.addr()); got {
			t.Error("a call sealed with another's key was taken")
		}
		send(c.loop.disco)
		if !candidateOf(a, c, c.addr()) {
			t.Error("a good call was not taken")
		}
	})
}

// candidateOf reports whether h has addr as a candidate for a peer.
func candidateOf(h, peer *host, addr netip.AddrPort) bool {
	return slices.ContainsFunc(h.Status().Peers[peer.priv.Public()].Candidates,
		func(c probing.Candidate) bool { return c.Addr == addr && c.Called })
}

func TestRebind(t *testing.T) {
	pair(t, func(t *testing.T, n *memnet, a, b *host) {
		chat(a, b, 2*time.Second)
		old := a.addr()
		a.LinkChanged(LinkChange{Up: true, Rebind: true, LocalAddrs: nil})
		synctest.Wait() // what arrives between the old socket and the new one is lost
		chat(a, b, 3*time.Second)
		if a.addr() != old {
			t.Errorf("the port changed from %v to %v though it was free", old, a.addr())
		}
		if !a.direct(b).IsValid() {
			t.Error("no direct path 3 s after a rebind")
		}
		a.LinkChanged(LinkChange{Up: false})
		a.LinkChanged(LinkChange{Up: true, Rebind: true})
		synctest.Wait()
		chat(a, b, 5*time.Second)
		if !a.direct(b).IsValid() {
			t.Error("no direct path after the link came back")
		}
	})
}

// TestEndpointsAndHome has what the coordination server is told.
func TestEndpointsAndHome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemnet(1)
		a := n.host(t, "192.0.2.1")
		defer a.stop()
		a.apply()
		if info := <-a.info; info.PreferredDERP != 1 {
			t.Fatalf("the only region is not the home at once: %+v", info)
		}
		if eps := <-a.eps; len(eps) != 1 || eps[0] != (Endpoint{a.addr(), control.EndpointLocal}) {
			t.Fatalf("endpoints before STUN: %v", eps)
		}
		if eps := <-a.eps; len(eps) != 1 || eps[0] != (Endpoint{a.addr(), control.EndpointSTUN}) {
			t.Fatalf("endpoints after STUN: %v", eps)
		}
		if info := <-a.info; !info.WorkingUDP.OrElse(false) || info.PreferredDERP != 1 {
			t.Fatalf("after STUN: %+v", info)
		}
		a.cfg.PrivateKey = key.NodePrivate{}
		a.apply()
		if s := a.Status(); s.HomeRegion != 0 || len(s.Relays) != 0 {
			t.Fatalf("logged out, but home %d and relays %v", s.HomeRegion, s.Relays)
		}
	})
}

func TestHomeStaysWithoutControl(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemnet(1, 2)
		a := n.host(t, "192.0.2.1")
		defer a.stop()
		a.apply()
		time.Sleep(5 * time.Second)
		home := a.Status().HomeRegion
		a.cfg.ControlConnected = false
		a.cfg.DERPMap = n.derpMap()
		a.cfg.DERPMap.HomeParams = &control.DERPHomeParams{RegionScore: map[int]float64{home: 1000}}
		a.apply()
		a.Restun()
		time.Sleep(10 * time.Second)
		if got := a.Status().HomeRegion; got != home {
			t.Errorf("the home moved from %d to %d while peers could not learn of it", home, got)
		}
	})
}

func TestApplyAgainChangesNothing(t *testing.T) {
	pair(t, func(t *testing.T, n *memnet, a, b *host) {
		chat(a, b, 2*time.Second)
		path, dials := a.direct(b), 0
		n.set(func() { dials = n.relays[1].dials })
		for range 10 {
			a.cfg.DERPMap = n.derpMap()
			a.apply(b.peer())
		}
		chat(a, b, time.Second)
		if a.direct(b) != path {
			t.Errorf("path %v became %v", path, a.direct(b))
		}
		n.set(func() { dials = n.relays[1].dials - dials })
		if dials != 0 {
			t.Errorf("%d relay connections by applying the same again", dials)
		}
		a.apply()
		if err := a.Send(b.priv.Public(), [][]byte{{4}}); !errors.Is(err, ErrUnknownPeer) {
			t.Errorf("send to a removed peer: %v", err)
		}
	})
}

func TestNewDiscoKey(t *testing.T) {
	pair(t, func(t *testing.T, n *memnet, a, b *host) {
		chat(a, b, 2*time.Second)
		b2 := n.host(t, "192.0.2.22")
		defer b2.stop()
		b.stop()
		b2.priv = b.priv
		b2.cfg.PrivateKey = b.priv
		b2.apply(a.peer())
		synctest.Wait()
		a.SetDiscoKey(b.priv.Public(), b2.DiscoKey())
		time.Sleep(probing.TrustDuration) // until then a trusts the path to the old one
		chat(a, b2, 15*time.Second)
		if a.direct(b2) != b2.addr() {
			t.Errorf("path %v, want %v with the new key", a.direct(b2), b2.addr())
		}
	})
}

func TestNoUDP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemnet(1)
		noUDP := func(o *Options) { o.NoUDP = true }
		a, b := n.host(t, "192.0.2.1", noUDP), n.host(t, "192.0.2.2")
		defer a.stop()
		defer b.stop()
		a.apply(b.peer())
		b.apply(a.peer())
		synctest.Wait()
		chat(a, b, 20*time.Second)
		if a.direct(b).IsValid() || b.direct(a).IsValid() || a.Status().Port4 != 0 {
			t.Errorf("direct paths without UDP: %+v", a.Status())
		}
	})
}

func TestWireGuardOnlyPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemnet(1)
		a, b := n.host(t, "192.0.2.1"), n.host(t, "192.0.2.2")
		defer a.stop()
		defer b.stop()
		p := b.peer(b.addr())
		p.WireGuardOnly, p.Disco, p.HomeRegion = true, key.DiscoPublic{}, 0
		a.apply(p)
		a.send(b, "plain")
		if src := b.want("plain"); src.Addr != a.addr() || !src.Peer.IsZero() {
			t.Errorf("came from %v", src)
		}
		if _, err := a.Ping(context.Background(), p.Key, 0); !errors.Is(err, ErrNoDisco) {
			t.Errorf("ping: %v", err)
		}
	})
}

func TestNoPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemnet(1)
		a := n.host(t, "192.0.2.1")
		defer a.stop()
		p := Peer{Key: key.NewNode().Public(), Disco: key.NewDisco().Public(), HomeRegion: 77}
		a.apply(p)
		if err := a.Send(p.Key, [][]byte{{4}}); !errors.Is(err, ErrNoPath) {
			t.Errorf("send to a region that does not exist: %v", err)
		}
	})
}

func TestStopAndResumeReceiving(t *testing.T) {
	pair(t, func(t *testing.T, n *memnet, a, b *host) {
		chat(a, b, time.Second)
		b.StopReceiving()
		b.wg.Wait()
		b.read()
		chat(a, b, time.Second)
	})
}

func TestUseAfterClose(t *testing.T) {
	n := newMemnet(1)
	a := n.host(t, "192.0.2.1")
	a.stop()
	a.stop()
	if err := a.Apply(Config{}); !errors.Is(err, ErrClosed) {
		t.Errorf("Apply: %v", err)
	}
	if _, err := a.Ping(context.Background(), key.NodePublic{}, 0); !errors.Is(err, ErrClosed) {
		t.Errorf("Ping: %v", err)
	}
	if s := a.Status(); s.HomeRegion != 0 {
		t.Errorf("Status: %+v", s)
	}
	a.Rebind()
	a.Restun()
}

func TestPortTaken(t *testing.T) {
	n := newMemnet(1)
	a := n.host(t, "192.0.2.1")
	defer a.stop()
	b := n.host(t, "192.0.2.1")
	defer b.stop()
	if b.LocalPort() == a.LocalPort() || b.LocalPort() == 0 {
		t.Errorf("ports %d and %d", a.LocalPort(), b.LocalPort())
	}
	_, err := New(Options{ListenPacket: n.listen(netip.Addr{}), Port: 1, Interfaces: func() ([]Interface, error) { return nil, nil }})
	if err != nil && !strings.Contains(err.Error(), "UDP") {
		t.Errorf("error %v does not say what failed", err)
	}
}

// TestEarlyHandshake has a handshake come before the peer is known.
func TestEarlyHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemnet(1)
		n.udpCut = true
		a, b := n.host(t, "192.0.2.1"), n.host(t, "192.0.2.2")
		defer a.stop()
		defer b.stop()
		a.apply()
		synctest.Wait()
		b.apply(a.peer())
		initiation := "\x01\x00\x00\x00" + strings.Repeat("x", initiationLen-4)
		b.send(a, "\x04\x00\x00\x00 data is not kept")
		b.send(a, initiation)
		time.Sleep(time.Second)
		a.apply(b.peer())
		if src := a.want(initiation); src.Region != 1 || src.Peer != b.priv.Public() {
			t.Errorf("came from %v", src)
		}
		time.Sleep(time.Second)
		if n := len(a.got); n != len(earlyReplays)-1 {
			t.Errorf("%d more packets came, want copies of the handshake only", n)
		}
		for range 3 * maxEarly {
			a.early.keep(key.NewNode().Public(), nil, []byte(initiation))
		}
		if len(a.early.kept) != maxEarly {
			t.Errorf("%d handshakes of unknown peers kept", len(a.early.kept))
		}
	})
}
