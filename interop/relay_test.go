package interop

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"tailscale.com/derp"
	"tailscale.com/derp/derphttp"
	"tailscale.com/net/netmon"
	tskey "tailscale.com/types/key"

	"github.com/ginnel/ginnel/relay/client"
	"github.com/ginnel/ginnel/wire/disco"
	"github.com/ginnel/ginnel/wire/key"
	wirerelay "github.com/ginnel/ginnel/wire/relay"
)

// relayTimeout bounds every wait of these tests.
const relayTimeout = 20 * time.Second

// An event is what a relay client of either kind was told.
type event struct {
	kind   string // "packet", "gone" or "present"
	peer   key.NodePublic
	data   []byte
	reason int
	addr   netip.AddrPort
}

// A relayClient is a client of either kind.
type relayClient struct {
	key    key.NodePublic
	send   func(dst key.NodePublic, data []byte) error
	ping   func(context.Context) error
	close  func()
	events chan event
	server key.NodePublic // the relay's key as the client learned it
}

// next returns the next event of a kind that is about the peer.
func (c *relayClient) next(t *testing.T, kind string, peer key.NodePublic) event {
	t.Helper()
	timeout := time.After(relayTimeout)
	for {
		select {
		case e, ok := <-c.events:
			if !ok {
				t.Fatalf("connection lost while waiting for %s of %v", kind, peer)
			}
			if e.kind == kind && e.peer == peer {
				return e
			}
		case <-timeout:
			t.Fatalf("no %s of %v in %v", kind, peer, relayTimeout)
		}
	}
}

type dialRelay func(t *testing.T, r *testRelay, opt clientOptions) *relayClient

type clientOptions struct {
	key   key.NodePrivate // zero: a new one
	mesh  key.MeshKey
	watch bool
}

// relayClients are the two kinds of client, relays the two kinds of relay.
var (
	relayClients = map[string]dialRelay{"our client": dialOurs, "their client": dialTheirs}
	relays       = map[string]func(*testing.T, key.MeshKey) *testRelay{"our relay": startOurRelay, "their relay": startTheirRelay}
)

func dialOurs(t *testing.T, r *testRelay, opt clientOptions) *relayClient {
	t.Helper()
	priv := opt.key
	if priv.IsZero() {
		priv = key.NewNode()
	}
	conn, err := client.Dial(testContext(t, relayTimeout), client.Options{
		PrivateKey: priv, Region: r.ourRegion(), CanAckPings: true, MeshKey: opt.mesh, WatchConns: opt.watch, Home: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	c := &relayClient{
		key:    priv.Public(),
		send:   func(dst key.NodePublic, data []byte) error { return conn.SendBatch(dst, [][]byte{data}) },
		ping:   func(ctx context.Context) error { _, err := conn.Ping(ctx); return err },
		close:  func() { conn.Close() },
		events: make(chan event, 1000),
		server: conn.ServerPublicKey(),
	}
	ready := make(chan struct{})
	go func() {
		defer close(c.events)
		for {
			m, err := conn.Recv()
			if err != nil {
				return
			}
			switch m.Kind {
			case client.KindConnected:
				close(ready)
			case client.KindPacket:
				c.events <- event{kind: "packet", peer: m.Peer, data: bytes.Clone(m.Data)}
			case client.KindPeerGone:
				c.events <- event{kind: "gone", peer: m.Peer, reason: int(m.Reason)}
			case client.KindPeerPresent:
				c.events <- event{kind: "present", peer: m.Peer, addr: m.Addr}
			}
		}
	}()
	t.Cleanup(c.close)
	await(t, ready, "admission by the relay")
	return c
}

func dialTheirs(t *testing.T, r *testRelay, opt clientOptions) *relayClient {
	t.Helper()
	priv := opt.key
	if priv.IsZero() {
		priv = key.NewNode()
	}
	hc := derphttp.NewRegionClient(theirNodePrivate(priv), t.Logf, netmon.NewStatic(), r.theirRegion)
	if !opt.mesh.IsZero() {
		mesh, err := tskey.ParseDERPMesh(opt.mesh.SecretText())
		if err != nil {
			t.Fatal(err)
		}
		hc.MeshKey = mesh
	}
	hc.WatchConnectionChanges = opt.watch
	hc.SetCanAckPings(true)
	if err := hc.Connect(testContext(t, relayTimeout)); err != nil {
		t.Fatal(err)
	}
	c := &relayClient{
		key:    priv.Public(),
		send:   func(dst key.NodePublic, data []byte) error { return hc.Send(theirNode(dst), data) },
		ping:   hc.Ping,
		close:  func() { hc.Close() },
		events: make(chan event, 1000),
		server: ourNode(hc.ServerPublicKey()),
	}
	ready := make(chan struct{})
	go c.receiveTheirs(hc, ready)
	t.Cleanup(c.close)
	await(t, ready, "admission by the relay")
	return c
}

func (c *relayClient) receiveTheirs(hc *derphttp.Client, ready chan struct{}) {
	defer close(c.events)
	for {
		m, err := hc.Recv()
		if err != nil {
			return
		}
		switch m := m.(type) {
		case derp.ServerInfoMessage:
			close(ready)
		case derp.PingMessage:
			hc.SendPong(m)
		case derp.ReceivedPacket:
			c.events <- event{kind: "packet", peer: ourNode(m.Source), data: bytes.Clone(m.Data)}
		case derp.PeerGoneMessage:
			c.events <- event{kind: "gone", peer: ourNode(m.Peer), reason: int(m.Reason)}
		case derp.PeerPresentMessage:
			c.events <- event{kind: "present", peer: ourNode(m.Key), addr: m.IPPort}
		}
	}
}

func await(t *testing.T, ch <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(relayTimeout):
		t.Fatalf("no %s in %v", what, relayTimeout)
	}
}

// eachRelay runs a test against both relays, with every pair of client kinds.
func eachRelay(t *testing.T, f func(t *testing.T, r *testRelay, a, b dialRelay)) {
	for relayName, start := range relays {
		for aName, a := range relayClients {
			for bName, b := range relayClients {
				t.Run(relayName+"/"+aName+"/"+bName, func(t *testing.T) {
					f(t, start(t, key.MeshKey{}), a, b)
				})
			}
		}
	}
}

func TestRelayPackets(t *testing.T) {
	eachRelay(t, func(t *testing.T, r *testRelay, dialA, dialB dialRelay) {
		a, b := dialA(t, r, clientOptions{}), dialB(t, r, clientOptions{})
		for _, c := range []*relayClient{a, b} {
			if c.server != r.key {
				t.Errorf("a client took the relay for %v, it is %v", c.server, r.key)
			}
		}
		for _, size := range []int{1, 1280, 64 << 10} {
			want := make([]byte, size)
			rand.Read(want)
			for _, dir := range [][2]*relayClient{{a, b}, {b, a}} {
				if err := dir[0].send(dir[1].key, want); err != nil {
					t.Fatal(err)
				}
				if got := dir[1].next(t, "packet", dir[0].key); !bytes.Equal(got.data, want) {
					t.Fatalf("sent %d bytes, other %d bytes arrived", size, len(got.data))
				}
			}
		}
		for _, c := range []*relayClient{a, b} {
			if err := c.ping(testContext(t, relayTimeout)); err != nil {
				t.Errorf("ping of the relay: %v", err)
			}
		}
	})
}

// TestRelayOrder sends a burst that takes more than one write and expects it
// whole and in order.
func TestRelayOrder(t *testing.T) {
	eachRelay(t, func(t *testing.T, r *testRelay, dialA, dialB dialRelay) {
		a, b := dialA(t, r, clientOptions{}), dialB(t, r, clientOptions{})
		const packets = 20
		for i := range packets {
			if err := a.send(b.key, bytes.Repeat([]byte{byte(i)}, 1200)); err != nil {
				t.Fatal(err)
			}
		}
		for i := range packets {
			if got := b.next(t, "packet", a.key); len(got.data) != 1200 || got.data[0] != byte(i) {
				t.Fatalf("packet %d is %d bytes of %d", i, len(got.data), got.data[0])
			}
		}
	})
}

func TestRelayPeerGone(t *testing.T) {
	eachRelay(t, func(t *testing.T, r *testRelay, dialA, dialB dialRelay) {
		a := dialA(t, r, clientOptions{})
		nobody := key.NewNode().Public()
		// Only a packet that looks like discovery gets an answer.
		if err := a.send(nobody, append([]byte(disco.Magic), make([]byte, 100)...)); err != nil {
			t.Fatal(err)
		}
		if e := a.next(t, "gone", nobody); e.reason != int(wirerelay.GoneNotHere) {
			t.Errorf("a peer that was never there is gone for reason %d", e.reason)
		}
		b := dialB(t, r, clientOptions{})
		if err := b.send(a.key, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		a.next(t, "packet", b.key)
		b.close()
		if e := a.next(t, "gone", b.key); e.reason != int(wirerelay.GoneDisconnected) {
			t.Errorf("a peer that left is gone for reason %d", e.reason)
		}
	})
}

// TestRelayWatch checks that mesh peers of either kind are told who comes and
// goes.
func TestRelayWatch(t *testing.T) {
	mesh := key.NewMeshKey()
	for relayName, start := range relays {
		for watcherName, dialWatcher := range relayClients {
			for clientName, dialClient := range relayClients {
				t.Run(relayName+"/"+watcherName+"/"+clientName, func(t *testing.T) {
					r := start(t, mesh)
					early := dialClient(t, r, clientOptions{})
					w := dialWatcher(t, r, clientOptions{mesh: mesh, watch: true})
					w.next(t, "present", early.key)
					late := dialClient(t, r, clientOptions{})
					if e := w.next(t, "present", late.key); !e.addr.IsValid() || !e.addr.Addr().IsLoopback() {
						t.Errorf("a client here is said to come from %v", e.addr)
					}
					early.close()
					w.next(t, "gone", early.key)
				})
			}
		}
	}
}

// TestRelayWrongMeshKey checks that a stranger who asks to watch is thrown out.
func TestRelayWrongMeshKey(t *testing.T) {
	r := startOurRelay(t, key.NewMeshKey())
	c := dialTheirs(t, r, clientOptions{mesh: key.NewMeshKey()})
	other := dialTheirs(t, r, clientOptions{})
	if err := c.send(other.key, []byte("x")); err != nil {
		t.Fatal(err)
	}
	other.next(t, "packet", c.key) // admitted, as an ordinary client
	hc := derphttp.NewRegionClient(tskey.NewNode(), t.Logf, netmon.NewStatic(), r.theirRegion)
	defer hc.Close()
	wrong, err := tskey.ParseDERPMesh(key.NewMeshKey().SecretText())
	if err != nil {
		t.Fatal(err)
	}
	hc.MeshKey, hc.WatchConnectionChanges = wrong, true
	if err := hc.Connect(testContext(t, relayTimeout)); err != nil {
		return // refused while connecting: just as well
	}
	gone := make(chan error, 1)
	go func() {
		for {
			m, err := hc.Recv()
			if err != nil {
				gone <- nil
				return
			}
			if p, ok := m.(derp.PeerPresentMessage); ok {
				gone <- fmt.Errorf("was told that %v is present", p.Key)
				return
			}
		}
	}()
	select {
	case err := <-gone:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(relayTimeout):
		t.Error(errors.New("a watcher with a wrong mesh key was not thrown out"))
	}
}
