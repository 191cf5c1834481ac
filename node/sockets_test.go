package node

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/node/netmap"
	"github.com/ginnel/ginnel/node/path"
	"github.com/ginnel/ginnel/node/state"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// ruled returns a map whose own node has attributes.
func ruled(attrs ...control.NodeCapability) *netmap.Map {
	me := self(key.NewNode().Public())
	me.CapMap = control.NodeCapMap{}
	for _, a := range attrs {
		me.CapMap[a] = nil
	}
	var b netmap.Builder
	m, _, err := b.Apply(&control.MapResponse{Node: me}, time.Now())
	if err != nil {
		panic(err)
	}
	return m
}

// TestAttributesAboutSockets applies maps with attributes to a real data plane.
func TestAttributesAboutSockets(t *testing.T) {
	const fixed = 41999
	var mu sync.Mutex
	var used []uint16 // ports asked for
	asked := func() []uint16 {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(used)
	}
	p, err := newRealPlane(planeOptions{
		Options: Options{
			StatePath: state.Memory, TUN: Userspace, Port: fixed,
			System: System{
				ListenPacket: func(network string, port uint16) (net.PacketConn, error) {
					mu.Lock()
					defer mu.Unlock()
					used = append(used, port)
					return net.ListenPacket(network, "localhost:0")
				},
				Interfaces: func() ([]path.Interface, error) { return nil, nil },
			},
		},
		Logger: slog.New(slog.DiscardHandler),
		hooks: planeHooks{
			endpoints: func([]netip.AddrPort, []control.EndpointType) {}, netInfo: func(*control.NetInfo) {},
			changed: func() {}, linkChanged: func(bool) {},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	priv, prefs := key.NewNode(), api.NewPrefs()
	apply := func(m *netmap.Map) {
		t.Helper()
		if err := p.Apply(planeConfig{Key: priv, Map: m, Prefs: prefs, Now: time.Now()}); err != nil {
			t.Fatal(err)
		}
		p.Status() // answered by the engine after what was asked of it before
	}
	if got := asked(); p.LocalPort() == 0 || len(got) == 0 || got[0] != fixed {
		t.Fatalf("port %d, asked for %v", p.LocalPort(), got)
	}
	apply(ruled(control.AttrOnlyTCP443))
	until(t, "UDP to be off", func() bool { return p.LocalPort() == 0 })
	apply(nil) // down: still as it was told
	if p.LocalPort() != 0 {
		t.Error("UDP is on without a map")
	}
	before := len(asked())
	apply(ruled(control.AttrRandomizePort))
	until(t, "UDP to be on", func() bool { return p.LocalPort() != 0 })
	if got := asked()[before:]; len(got) == 0 || got[0] != 0 {
		t.Errorf("with a random port: asked for %v", got)
	}
	port := p.LocalPort()
	apply(ruled(control.AttrRandomizePort))
	if p.LocalPort() != port {
		t.Error("the same attributes opened the sockets anew")
	}
}

func TestSocketsWithoutOffload(t *testing.T) {
	s := newSockets(func(network string, port uint16) (net.PacketConn, error) {
		return net.ListenPacket(network, "127.0.0.1:0")
	})
	for _, attr := range []control.NodeCapability{"", control.AttrDisableUDPGRO, control.AttrDisableUDPGSO} {
		s.follow(ruled(attr).Self)
		pc, err := s.open("udp4", 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, kernel := pc.(*net.UDPConn); kernel == (attr != "") {
			t.Errorf("%q: %T", attr, pc)
		}
		pc.Close()
	}
}

func TestMuteConn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newMuteConn()
		if n, err := c.WriteTo([]byte("x"), nil); n != 1 || err != nil {
			t.Errorf("write: %d, %v", n, err)
		}
		errs := make(chan error)
		read := func() { go func() { _, _, err := c.ReadFrom(nil); errs <- err }() }
		read()
		synctest.Wait()
		c.SetReadDeadline(time.Now().Add(time.Second))
		if err := <-errs; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("after the deadline: %v", err)
		}
		c.SetReadDeadline(time.Time{})
		read()
		synctest.Wait()
		c.Close()
		if err := <-errs; !errors.Is(err, net.ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
	})
}
