package node

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ginnel/ginnel/node/ctl/ctltest"
	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/node/netmon"
	"github.com/ginnel/ginnel/relay"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
	wirerelay "github.com/ginnel/ginnel/wire/relay"
)

// stopLimit is how long a node may take to end before it is taken to hang.
const stopLimit = 20 * time.Second

// closeInTime closes n, and shows what hangs if that takes too long.
func closeInTime(t *testing.T, n *Node) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- n.Close() }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("close: %v", err)
		}
	case <-time.After(stopLimit):
		buf := make([]byte, 4<<20)
		t.Fatalf("the node does not end:\n%s", buf[:runtime.Stack(buf, true)])
	}
}

// ownGoroutines counts the goroutines that run code of this module, but for tests.
func ownGoroutines() (int, string) {
	buf := make([]byte, 8<<20)
	all := string(buf[:runtime.Stack(buf, true)])
	n := 0
	var left []string
	for g := range strings.SplitSeq(all, "\n\n") {
		own := strings.Contains(g, "ginnel/node") || strings.Contains(g, "wireguard/device") || strings.Contains(g, "gvisor.dev") ||
			strings.Contains(g, "ginnel/relay/client")
		if own && !strings.Contains(g, "testing.tRunner") && !strings.Contains(g, "ctltest") {
			n++
			left = append(left, g)
		}
	}
	return n, strings.Join(left, "\n\n")
}

// newRelay runs a relay, and returns the map of relays with that alone.
func newRelay(t *testing.T) *control.DERPMap {
	t.Helper()
	server, err := relay.New(relay.Config{PrivateKey: key.NewNode(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewTLSServer(server.Handler())
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
		server.Close()
	})
	addr := srv.Listener.Addr().(*net.TCPAddr).AddrPort()
	return &control.DERPMap{Regions: map[int]*control.DERPRegion{1: {RegionID: 1, RegionCode: "one", Nodes: []*control.DERPNode{{
		Name: "1", RegionID: 1, HostName: "127.0.0.1", IPv4: "127.0.0.1", IPv6: "none", DERPPort: int(addr.Port()), STUNPort: -1,
		CertName: wirerelay.FormatPin(sha256.Sum256(srv.Certificate().Raw)),
	}}}}}
}

// TestStartAndStop starts nodes with a real data plane and stops them at any moment, while
// all that can happen to a node happens to them.
func TestStartAndStop(t *testing.T) {
	s, relays := newServer(t), newRelay(t)
	inner := s.Stream
	s.Stream = func(r *control.MapRequest, f *ctltest.Frames) {
		f.Send(&control.MapResponse{Node: self(r.NodeKey), Peers: []*control.Node{peer(2)}, Domain: "example", DERPMap: relays})
		inner(r, f)
	}
	rounds := 100
	if testing.Short() {
		rounds = 20
	}
	dir := t.TempDir()
	for i := range rounds {
		path := filepath.Join(dir, "state") // the same identity time and again
		if i%10 == 9 {
			path = filepath.Join(t.TempDir(), "state") // a fresh one
		}
		n, err := New(Options{StatePath: path, TUN: Userspace, SOCKS5Addr: "127.0.0.1:0", Version: "stress"})
		if err != nil {
			t.Fatal(err)
		}
		disturb(t, n, s.URL())
		closeInTime(t, n)
		closeInTime(t, n) // again, which does nothing
	}
	until(t, "all goroutines to end", func() bool { n, _ := ownGoroutines(); return n == 0 })
	if n, left := ownGoroutines(); n != 0 {
		t.Errorf("%d goroutines are left:\n%s", n, left)
	}
}

// disturb has things happen to n at the same time, of which some go on when it returns.
func disturb(t *testing.T, n *Node, serverURL string) {
	t.Helper()
	prefs := api.NewPrefs()
	prefs.ControlURL, prefs.WantRunning = serverURL, true
	pause := func() { time.Sleep(time.Duration(rand.N(int64(5 * time.Millisecond)))) }
	link := func() {
		n.plane.(*realPlane).link.Store(&netmon.Change{Old: &netmon.State{}, New: &netmon.State{}, RebindLikely: rand.N(2) == 0})
		n.box.post(func() { n.linkChanged(rand.N(2) == 0) })
	}
	events := []func(ctx context.Context) error{
		func(ctx context.Context) error {
			return n.Start(ctx, api.StartOptions{UpdatePrefs: prefs, AuthKey: "k"})
		},
		func(ctx context.Context) error { n.Rebind(); return nil },
		func(ctx context.Context) error { n.Restun(); return nil },
		func(ctx context.Context) error { n.RefreshMap(); return nil },
		func(ctx context.Context) error { link(); return nil },
		func(ctx context.Context) error {
			_, err := n.EditPrefs(ctx, &api.MaskedPrefs{Prefs: api.Prefs{WantRunning: rand.N(2) == 0}, WantRunningSet: true})
			return err
		},
		func(ctx context.Context) error {
			w, _, err := n.Watch(ctx, api.NotifyInitialStatus|api.NotifyEngineUpdates)
			if err == nil {
				w.Close()
			}
			return err
		},
		func(ctx context.Context) error { n.Status(true); return nil },
		func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Millisecond)
			defer cancel()
			_, err := n.Ping(ctx, netip.MustParseAddr("100.64.0.2"), api.PingDisco, 0)
			if errors.Is(err, context.DeadlineExceeded) {
				err = nil
			}
			return err
		},
		func(ctx context.Context) error { return n.NewProfile(ctx) },
	}
	var wg sync.WaitGroup
	for i := range rand.N(len(events) + 1) {
		event := events[0]
		if i > 0 {
			event = events[rand.N(len(events))]
		}
		wg.Go(func() {
			pause()
			if err := event(context.Background()); err != nil && !errors.Is(err, ErrClosed) {
				t.Errorf("while stopping: %v", err)
			}
		})
	}
	if rand.N(2) == 0 {
		wg.Wait()
	} else {
		t.Cleanup(wg.Wait)
		pause()
	}
}
