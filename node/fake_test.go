package node

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/ginnel/ginnel/node/ctl/ctltest"
	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// fakePlane is a data plane that remembers what it was told.
type fakePlane struct {
	hooks           planeHooks
	port, preferred uint16 // UDP

	mu      sync.Mutex
	configs []planeConfig
	live    bool
	fail    error
	links   int
	own     []netip.AddrPort // endpoints
	closed  bool
}

func (p *fakePlane) Apply(c planeConfig) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.configs = append(p.configs, c)
	return p.fail
}

func (p *fakePlane) last() planeConfig {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.configs) == 0 {
		return planeConfig{}
	}
	return p.configs[len(p.configs)-1]
}

func (p *fakePlane) set(live bool, fail error) {
	p.mu.Lock()
	p.live, p.fail = live, fail
	p.mu.Unlock()
	p.hooks.changed()
}

func (p *fakePlane) Live() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.live
}

func (p *fakePlane) Status() planeStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	return planeStatus{HomeRegion: 1, HomeCode: "one", Endpoints: p.own, Peers: map[key.NodePublic]peerState{}}
}
func (p *fakePlane) Problems() []problem { return nil }
func (p *fakePlane) LocalPort() uint16   { return p.port }

func (p *fakePlane) Ping(_ context.Context, peer *control.Node, _ netip.Addr, kind api.PingType, _ int) (api.PingResult, error) {
	if kind == api.PingICMP {
		return api.PingResult{}, errors.New("filtered")
	}
	return api.PingResult{LatencySeconds: 0.5, Endpoint: "192.0.2.1:1"}, nil
}
func (p *fakePlane) CapsFor(netip.Addr) control.PeerCapMap { return nil }
func (p *fakePlane) Dial(context.Context, string, netip.AddrPort) (net.Conn, error) {
	return nil, errors.New("no dialling here")
}

func (p *fakePlane) PeerOf(local netip.AddrPort) (netip.AddrPort, bool) {
	return netip.MustParseAddrPort("100.64.0.2:5"), local == netip.MustParseAddrPort("127.0.0.1:7777")
}

func (p *fakePlane) Netcheck(context.Context) (*api.NetcheckReport, error) {
	return &api.NetcheckReport{UDP: true}, nil
}

func (p *fakePlane) LinkChanged() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.links++
}
func (p *fakePlane) Rebind()    {}
func (p *fakePlane) Restun()    {}
func (p *fakePlane) Debug() any { return nil }
func (p *fakePlane) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	return nil
}

// testNode is a node with a fake plane.
type testNode struct {
	*Node
	t     *testing.T
	plane *fakePlane
	path  string
}

func newTestNode(t *testing.T, path string) *testNode {
	t.Helper()
	if path == "" {
		path = filepath.Join(t.TempDir(), "state")
	}
	tn := &testNode{t: t, path: path}
	n, err := New(Options{
		StatePath: path, TUN: Userspace, Version: "1.2.3-test",
		newPlane: func(o planeOptions) (plane, error) {
			tn.plane = &fakePlane{hooks: o.hooks, port: 4711, preferred: o.preferPort, live: true}
			return tn.plane, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	tn.Node = n
	t.Cleanup(func() { tn.close() })
	return tn
}

func (n *testNode) close() {
	n.t.Helper()
	if n.Node == nil {
		return
	}
	if err := n.Close(); err != nil {
		n.t.Error(err)
	}
	n.Node = nil
}

// watch returns a function that waits for a notification.
func (n *testNode) watch() func(what string, ok func(*api.Notify) bool) *api.Notify {
	n.t.Helper()
	w, first, err := n.Watch(n.t.Context(), api.NotifyInitialState|api.NotifyInitialPrefs|api.NotifyPeerChanges)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(w.Close)
	pending := []*api.Notify{first}
	return func(what string, ok func(*api.Notify) bool) *api.Notify {
		n.t.Helper()
		deadline := time.After(20 * time.Second)
		for {
			for len(pending) > 0 {
				msg := pending[0]
				pending = pending[1:]
				if ok(msg) {
					return msg
				}
			}
			select {
			case msg, open := <-w.C():
				if !open {
					n.t.Fatal("watcher was dropped")
				}
				pending = append(pending, msg)
			case <-deadline:
				n.t.Fatalf("waited in vain for %s; the state is %v", what, n.State())
			}
		}
	}
}

func isState(s api.State) func(*api.Notify) bool {
	return func(n *api.Notify) bool { return n.State != nil && *n.State == s }
}

// until waits for a condition that no notification announces.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// newServer returns a scripted server whose streams hold a peer and stay open.
func newServer(t *testing.T) *ctltest.Server {
	s := ctltest.New(t)
	s.Stream = func(r *control.MapRequest, f *ctltest.Frames) {
		f.Send(&control.MapResponse{
			Node: self(r.NodeKey), Peers: []*control.Node{peer(2)}, Domain: "example",
			UserProfiles: []control.UserProfile{{ID: 7, LoginName: "ann@example", DisplayName: "Ann"}},
			DERPMap:      &control.DERPMap{Regions: map[int]*control.DERPRegion{1: {RegionID: 1, RegionCode: "one"}}},
		})
		f.Hold()
	}
	return s
}

func self(k key.NodePublic) *control.Node {
	n := ctltest.Self(k)
	n.Addresses = []netip.Prefix{netip.MustParsePrefix("100.64.0.1/32")}
	return n
}

var peerKey = key.NewNode().Public()

func peer(id control.NodeID) *control.Node {
	online := true
	return &control.Node{
		ID: id, StableID: "two", Name: "two.example.", Key: peerKey, DiscoKey: key.NewDisco().Public(), User: 7, HomeDERP: 1,
		Addresses: []netip.Prefix{netip.MustParsePrefix("100.64.0.2/32")}, Online: &online,
		Hostinfo: &control.Hostinfo{Hostname: "two", OS: "linux"},
	}
}

// up brings the node up by an auth key.
func (n *testNode) up(serverURL string) {
	n.t.Helper()
	wait := n.watch()
	prefs := api.NewPrefs()
	prefs.ControlURL, prefs.WantRunning = serverURL, true
	if err := n.Start(n.t.Context(), api.StartOptions{UpdatePrefs: prefs, AuthKey: "k"}); err != nil {
		n.t.Fatal(err)
	}
	if err := n.LoginInteractive(n.t.Context()); err != nil { // as front ends do
		n.t.Fatal(err)
	}
	wait("login", func(m *api.Notify) bool { return m.LoginFinished != nil })
	wait("running", isState(api.Running))
}
