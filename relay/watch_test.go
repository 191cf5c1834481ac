package relay

import (
	"bytes"
	"net/netip"
	"sync"
	"testing"

	"github.com/ginnel/ginnel/wire/key"
	wire "github.com/ginnel/ginnel/wire/relay"
)

// presentFrame is the notice of an ordinary pipe client.
func presentFrame(k key.NodePublic, flags wire.PresentFlags) []byte {
	return wire.PeerPresent{Key: k, Addr: netip.MustParseAddrPort("203.0.113.7:41641"), Flags: flags}.Append(nil)
}

func TestWatch(t *testing.T) {
	mesh := key.NewMeshKey()
	s := newServer(t, Config{MeshKey: mesh})
	before := plain(t, s)
	w := connect(t, s, key.NewNode(), wire.ClientInfo{MeshKey: mesh})
	w.send(wire.AppendWatchConns(nil))
	flood := [][]byte{presentFrame(before.key, wire.PresentRegular), presentFrame(w.key, wire.PresentMesh)}
	for range 2 {
		typ, payload := w.next()
		got := wire.AppendFrame(nil, typ, payload)
		if !bytes.Equal(got, flood[0]) && !bytes.Equal(got, flood[1]) {
			t.Fatalf("flood: %x", got)
		}
	}
	after := connect(t, s, key.NewNode(), wire.ClientInfo{IsProber: true})
	w.expect(presentFrame(after.key, wire.PresentProber))
	dup := connect(t, s, before.priv, wire.ClientInfo{})
	w.expect(presentFrame(before.key, wire.PresentRegular)) // for every connection ...
	dup.nc.Close()
	waitFor(t, func() bool { return s.stats.conns.Load() == 3 })
	before.nc.Close()
	w.expect(wire.AppendPeerGone(nil, before.key, wire.GoneDisconnected)) // ... but once at the end
	w.send(wire.AppendClosePeer(nil, after.key))
	after.expectClosed()
	w.expect(wire.AppendPeerGone(nil, after.key, wire.GoneDisconnected))
}

func TestWatchOfOneself(t *testing.T) {
	mesh := key.NewMeshKey()
	self := key.NewNode()
	s := newServer(t, Config{PrivateKey: self, MeshKey: mesh})
	plain(t, s)
	w := connect(t, s, self, wire.ClientInfo{MeshKey: mesh})
	w.send(wire.AppendWatchConns(nil))
	w.sync()
	plain(t, s)
	w.sync()
}

// recorder is a Forwarder that keeps what it gets.
type recorder struct {
	mu   sync.Mutex
	sent [][]byte
}

func (r *recorder) ForwardPacket(src, dst key.NodePublic, data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = append(r.sent, wire.AppendForwardPacket(nil, src, dst, data))
}

// take returns what came since the last call.
func (r *recorder) take() [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	sent := r.sent
	r.sent = nil
	return sent
}

func TestForwarders(t *testing.T) {
	s := newServer(t, Config{})
	a := plain(t, s)
	remote := key.NewNode()
	first, second := new(recorder), new(recorder)
	s.AddForwarder(remote.Public(), first)
	s.AddForwarder(remote.Public(), second)
	s.AddForwarder(remote.Public(), second)
	sendAndCheck := func(data string, wantFirst, wantSecond int) {
		t.Helper()
		a.packet(remote.Public(), []byte(data))
		a.sync()
		f, sec := first.take(), second.take()
		if len(f) != wantFirst || len(sec) != wantSecond {
			t.Fatalf("%s: %d packets by the first, %d by the second", data, len(f), len(sec))
		}
		want := wire.AppendForwardPacket(nil, a.key, remote.Public(), []byte(data))
		for _, got := range append(f, sec...) {
			if !bytes.Equal(got, want) {
				t.Fatalf("forwarded %x, want %x", got, want)
			}
		}
	}
	sendAndCheck("by the oldest", 1, 0)
	s.RemoveForwarder(remote.Public(), first)
	sendAndCheck("by the next", 0, 1)
	local := connect(t, s, remote, wire.ClientInfo{})
	a.packet(remote.Public(), []byte("here"))
	local.expectPacket(a.key, []byte("here"))
	if len(second.take()) != 0 {
		t.Fatal("a packet for a local client was forwarded")
	}
	local.packet(a.key, []byte("hi"))
	a.expectPacket(remote.Public(), []byte("hi"))
	local.nc.Close()
	waitFor(t, func() bool { return s.stats.conns.Load() == 1 })
	sendAndCheck("moved away", 0, 1) // and no notice: the key is still in the region
	s.RemoveForwarder(remote.Public(), second)
	a.expect(wire.AppendPeerGone(nil, remote.Public(), wire.GoneDisconnected))
	sendAndCheck("nowhere", 0, 0)
}

func TestForwardedIn(t *testing.T) {
	mesh := key.NewMeshKey()
	s := newServer(t, Config{MeshKey: mesh})
	m := connect(t, s, key.NewNode(), wire.ClientInfo{MeshKey: mesh})
	a := plain(t, s)
	remote, via := key.NewNode().Public(), new(recorder)
	s.AddForwarder(remote, via)
	m.send(wire.AppendForwardPacket(nil, remote, a.key, []byte("hi")))
	a.expectPacket(remote, []byte("hi"))
	// Never a second hop, and a notice for discovery only.
	other := key.NewNode().Public()
	s.AddForwarder(other, via)
	m.send(wire.AppendForwardPacket(nil, remote, other, []byte("data")))
	m.send(wire.AppendForwardPacket(nil, remote, other, disco(1)))
	m.expect(wire.AppendPeerGone(nil, other, wire.GoneNotHere))
	m.sync()
	if len(via.take()) != 0 {
		t.Error("a forwarded packet was forwarded again")
	}
	for range 2 { // also after it has come back
		s.RemoveForwarder(remote, via)
		a.expect(wire.AppendPeerGone(nil, remote, wire.GoneDisconnected))
		s.AddForwarder(remote, via)
		m.send(wire.AppendForwardPacket(nil, remote, a.key, []byte("again")))
		a.expectPacket(remote, []byte("again"))
	}
}

func TestHomeMetrics(t *testing.T) {
	s := newServer(t, Config{})
	p := plain(t, s)
	for _, c := range []struct {
		home bool
		want int64
	}{{true, 1}, {true, 1}, {false, 0}, {true, 1}} {
		p.send(wire.AppendNotePreferred(nil, c.home))
		p.sync()
		if got := s.stats.homeConns.Load(); got != c.want {
			t.Errorf("%d home connections after NotePreferred(%v), want %d", got, c.home, c.want)
		}
	}
	p.nc.Close()
	waitFor(t, func() bool { return s.stats.homeConns.Load() == 0 && s.stats.conns.Load() == 0 })
}
