package node

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/ginnel/ginnel/node/ctl"
	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/node/netmap"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// manyPeers makes peers with IDs from 2 on, as a server sends them.
func manyPeers(n int) []*control.Node {
	var list []*control.Node
	online := true
	for i := range n {
		id := control.NodeID(i + 2)
		a := netip.AddrFrom4([4]byte{100, 64 + byte(id>>16), byte(id >> 8), byte(id)})
		raw := [32]byte{byte(id >> 16), byte(id >> 8), byte(id), 1}
		list = append(list, &control.Node{
			ID: id, StableID: control.StableNodeID(fmt.Sprint("n", id)), Name: fmt.Sprintf("n%d.example.", id), User: 7, HomeDERP: 1,
			Key: key.NodePublicFromRaw32(raw), DiscoKey: key.DiscoPublicFromRaw32(raw), Online: &online, KeyExpiry: time.Now().Add(time.Hour * 1000),
			Addresses: []netip.Prefix{netip.PrefixFrom(a, 32)}, Endpoints: []netip.AddrPort{netip.AddrPortFrom(a, 41641)},
			Hostinfo: &control.Hostinfo{Hostname: fmt.Sprint("n", id), OS: "linux"}, MachineAuthorized: true,
		})
	}
	return list
}

// largeNode is a node with a real data plane and n peers.
func largeNode(tb testing.TB, n int) (*Node, *netmap.Builder) {
	tb.Helper()
	node, err := New(Options{StatePath: filepath.Join(tb.TempDir(), "state"), TUN: Userspace, Version: "large"})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := node.Close(); err != nil {
			tb.Error(err)
		}
	})
	var b netmap.Builder
	m, changes, err := b.Apply(&control.MapResponse{
		Node: self(key.NewNode().Public()), Peers: manyPeers(n), Domain: "example",
		PacketFilter: []control.FilterRule{{SrcIPs: []string{"*"}, DstPorts: []control.NetPortRange{{IP: "*", Ports: control.PortRange{Last: 65535}}}}},
	}, time.Now())
	if err != nil {
		tb.Fatal(err)
	}
	err = node.call(tb.Context(), func() error {
		prefs := node.profile.Prefs.Clone()
		prefs.WantRunning, prefs.LoggedOut = true, false
		node.profile.Prefs, node.stuck = prefs, false
		node.identity.NodeKey = key.NewNode()
		node.mapUpdate(ctl.MapUpdate{Map: m, Changes: changes})
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return node, &b
}

// change takes one frame of the server.
func change(tb testing.TB, n *Node, b *netmap.Builder, frame *control.MapResponse) {
	err := n.call(tb.Context(), func() error {
		m, changes, err := b.Apply(frame, time.Now())
		if err != nil {
			return err
		}
		n.mapUpdate(ctl.MapUpdate{Map: m, Changes: changes})
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// frames are deltas of each kind about the peer with number i, which changes every time.
var frames = map[string]func(i int) *control.MapResponse{
	"online": func(i int) *control.MapResponse {
		return &control.MapResponse{OnlineChange: map[control.NodeID]bool{control.NodeID(2 + i%1000): i/1000%2 == 1}}
	},
	"endpoints": func(i int) *control.MapResponse {
		return &control.MapResponse{PeersChangedPatch: []*control.PeerChange{{
			NodeID: control.NodeID(2 + i%1000), Endpoints: []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), uint16(i))},
		}}}
	},
	"key": func(i int) *control.MapResponse {
		k := key.NodePublicFromRaw32([32]byte{0xff, byte(i >> 16), byte(i >> 8), byte(i), 9})
		return &control.MapResponse{PeersChangedPatch: []*control.PeerChange{{NodeID: control.NodeID(2 + i%1000), Key: &k}}}
	},
	"peer": func(i int) *control.MapResponse { // comes and goes
		if i%2 == 1 {
			return &control.MapResponse{PeersRemoved: []control.NodeID{1 << 30}}
		}
		p := manyPeers(1)[0]
		p.ID, p.Key = 1<<30, key.NodePublicFromRaw32([32]byte{0xfe, 1})
		p.Addresses = prefixes("100.100.0.1/32")
		return &control.MapResponse{PeersChanged: []*control.Node{p}}
	},
}

// BenchmarkDelta measures one change of a network with 10,000 peers, from the frame to the
// data plane.
func BenchmarkDelta(b *testing.B) {
	for _, kind := range []string{"online", "endpoints", "key", "peer"} {
		b.Run(kind, func(b *testing.B) {
			n, builder := largeNode(b, 10000)
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				change(b, n, builder, frames[kind](i))
				i++
			}
			if n.State() != api.Running {
				b.Fatalf("the state is %v", n.State())
			}
		})
	}
}

// BenchmarkLargeMap measures the first map of 10,000 peers, and what it takes to keep.
func BenchmarkLargeMap(b *testing.B) {
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		begin := time.Now()
		n, _ := largeNode(b, 10000)
		took := time.Since(begin)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB")
		b.ReportMetric(took.Seconds(), "s/map")
		if err := n.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
