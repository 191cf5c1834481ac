package path

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/blake2s"

	"github.com/ginnel/ginnel/wire/key"
)

// offline runs f in a bubble with two hosts that have a direct path, after which the
// relay has gone for good.
func offline(t *testing.T, f func(t *testing.T, n *memnet, a, b *host)) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemnet(1)
		a, b := n.host(t, "192.0.2.1"), n.host(t, "192.0.2.2")
		defer a.stop()
		defer b.stop()
		a.apply(b.peer(b.addr()))
		b.apply(a.peer(a.addr()))
		synctest.Wait()
		chat(a, b, 5*time.Second)
		n.set(func() {
			n.relayCut = true
			for _, c := range n.relays[1].conns {
				go c.Close()
			}
		})
		synctest.Wait()
		f(t, n, a, b)
	})
}

// restart ends h and starts another in its place that knows what is on disk: the node
// key and the map, and what the tweaks add.
func restart(t *testing.T, n *memnet, h *host, ip string, tweak ...func(*Options)) *host {
	t.Helper()
	h.stop()
	again := n.host(t, ip, tweak...)
	again.priv, again.cfg = h.priv, h.cfg
	again.cfg.ControlConnected = false
	again.apply(again.cfg.Peers...)
	return again
}

// TestRestartWithoutServer has a node restart with its disco key and its port while there
// is neither a server nor a relay.
func TestRestartWithoutServer(t *testing.T) {
	offline(t, func(t *testing.T, n *memnet, a, b *host) {
		port, disco := a.LocalPort(), a.loop.disco
		a2 := restart(t, n, a, "192.0.2.1", func(o *Options) { o.Port, o.PreferPort, o.DiscoKey = 0, port, disco })
		defer a2.stop()
		if a2.LocalPort() != port || a2.DiscoKey() != disco.Public() {
			t.Fatalf("port %d and key %v, want those of before: %d and %v", a2.LocalPort(), a2.DiscoKey(), port, disco.Public())
		}
		r, err := a2.Ping(t.Context(), b.priv.Public(), 0)
		if err != nil || r.Endpoint != b.addr() {
			t.Errorf("ping of b: %+v, %v", r, err)
		}
		chat(a2, b, 5*time.Second)
		r, err = b.Ping(t.Context(), a2.priv.Public(), 0)
		if err != nil || r.Endpoint != a2.addr() {
			t.Errorf("ping from b: %+v, %v", r, err)
		}
	})
}

// TestRestartWithAnotherKey has a node come back with another disco key and another port.
// The peers can only be reached by WireGuard's handshake, which the test plays.
func TestRestartWithAnotherKey(t *testing.T) {
	offline(t, func(t *testing.T, n *memnet, a, b *host) {
		told := make(chan key.NodePublic, 100)
		stale := a.peer(a.addr())
		a2 := restart(t, n, a, "192.0.2.1", func(o *Options) {
			o.Port = 1234
			o.OnLastResort = func(k key.NodePublic) { told <- k }
		})
		defer a2.stop()
		time.Sleep(time.Minute) // all old paths have died
		initiation := string(sign(b.priv.Public(), []byte("\x01\x00\x00\x00inde"+strings.Repeat("i", initiationLen-8))))
		response := "\x02\x00\x00\x00....inde" + strings.Repeat("r", responseLen-12)
		a2.send(b, initiation)
		if src := b.want(initiation); src.Addr != a2.addr() || !src.Peer.IsZero() {
			t.Fatalf("the handshake came from %v", src)
		}
		if <-told != b.priv.Public() {
			t.Error("nobody was told that b needs the new disco key")
		}
		b.send(a2, response)
		if src := a2.want(response); src.Addr != b.addr() {
			t.Fatalf("the response came from %v", src)
		}
		b.SetDiscoKey(a2.priv.Public(), a2.DiscoKey()) // it has come through the tunnel
		synctest.Wait()
		if a2.direct(b) != b.addr() || b.direct(a2) != a2.addr() {
			t.Errorf("paths %v and %v, want direct ones", a2.direct(b), b.direct(a2))
		}
		b.apply(stale) // the same map once more
		chat(a2, b, 5*time.Second)
		if b.Status().Peers[a2.priv.Public()].CurAddr != a2.addr() {
			t.Error("the map that b had before undid what the peer itself said")
		}
	})
}

// TestLastResortIsBounded floods a peer that cannot be reached.
func TestLastResortIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemnet(1)
		n.relayCut = true
		a := n.host(t, "192.0.2.1")
		defer a.stop()
		p := Peer{ID: 2, Key: key.NewNode().Public(), Disco: key.NewDisco().Public(), HomeRegion: 1}
		for i := range 50 {
			p.Endpoints = append(p.Endpoints, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 1000))
		}
		a.apply(p)
		var large, small int // packets
		count := func(pkt []byte, into *int) {
			n.set(func() { n.sentBySize = map[int]int{} })
			for range 1000 {
				_ = a.Send(p.Key, [][]byte{pkt})
				time.Sleep(10 * time.Millisecond)
			}
			others := 0
			n.set(func() { *into, others = n.sentBySize[len(pkt)], len(n.sentBySize) })
			if others == 0 {
				t.Fatal("nothing was sent at all")
			}
		}
		count(make([]byte, initiationLen+1), &large)
		count([]byte("\x01\x00\x00\x00"+strings.Repeat("x", initiationLen-4)), &small)
		if most := (10 + lastResortBurst) * lastResortAddrs; large != 0 || small == 0 || small > most {
			t.Errorf("%d large and %d small packets in 10 s, want none and at most %d", large, small, most)
		}
	})
}

// sign gives a handshake initiation the MAC that shows whom it is for.
func sign(to key.NodePublic, pkt []byte) []byte {
	var s strangers
	s.setKey(to)
	h, _ := blake2s.New128(s.mac1.Load()[:])
	h.Write(pkt[:mac1Offset])
	copy(pkt[mac1Offset:], h.Sum(nil))
	return pkt
}

// TestStrangersAreForgotten has more handshakes of unknown origin than are kept.
func TestStrangersAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s strangers
		us := key.NewNode().Public()
		s.setKey(us)
		addr := netip.MustParseAddrPort("192.0.2.9:9")
		packet := func(i byte) []byte {
			return sign(us, append([]byte{1, 0, 0, 0, i, 0, 0, 0}, make([]byte, initiationLen-8)...))
		}
		response := func(i byte) []byte {
			return append([]byte{2, 0, 0, 0, 7, 7, 7, 7, i, 0, 0, 0}, make([]byte, responseLen-12)...)
		}
		for i := range byte(2 * maxStrangers) {
			s.note(packet(i), addr)
		}
		if len(s.kept) != maxStrangers || len(s.take(response(0), time.Now())) != 0 {
			t.Errorf("%d kept", len(s.kept))
		}
		if got := s.take(response(2*maxStrangers-1), time.Now()); len(got) != 1 || got[0] != addr {
			t.Errorf("origin %v", got)
		}
		for i := range byte(2 * maxStrangers) { // not for us, whoever it is for
			s.note(sign(key.NewNode().Public(), packet(i)), addr)
		}
		if len(s.kept) != maxStrangers-1 {
			t.Errorf("%d kept after a flood of others' handshakes", len(s.kept))
		}
		time.Sleep(strangerAge + 1)
		if got := s.take(response(2*maxStrangers-2), time.Now()); len(got) != 0 || len(s.kept) != 0 {
			t.Errorf("origin %v of long ago, %d kept", got, len(s.kept))
		}
	})
}

// TestConnected follows relay connections and direct paths.
func TestConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemnet(1)
		n.relayCut = true
		changes := make(chan bool, 100)
		a := n.host(t, "192.0.2.1", func(o *Options) { o.OnConnected = func(on bool) { changes <- on } })
		b := n.host(t, "192.0.2.2")
		defer a.stop()
		defer b.stop()
		a.apply(b.peer(b.addr()))
		b.apply(a.peer(a.addr()))
		synctest.Wait()
		if a.Connected() || len(changes) != 0 {
			t.Fatal("connected to nobody")
		}
		if _, err := a.Ping(t.Context(), b.priv.Public(), 0); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !a.Connected() || len(changes) != 1 || !<-changes {
			t.Fatal("a direct path does not count")
		}
		n.set(func() { n.relayCut = false })
		time.Sleep(time.Minute)
		a.apply() // no peers: the path goes, the relay stays
		if !a.Connected() || len(changes) != 0 {
			t.Fatal("the relay does not count")
		}
		n.set(func() {
			n.relayCut = true
			for _, c := range n.relays[1].conns {
				go c.Close()
			}
		})
		synctest.Wait()
		if a.Connected() || len(changes) != 1 || <-changes {
			t.Error("still connected after the relay went")
		}
	})
}
