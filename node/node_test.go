package node

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ginnel/ginnel/node/ctl/ctltest"
	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/node/state"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

func TestBlankNodeNeedsLogin(t *testing.T) {
	n := newTestNode(t, "")
	wait := n.watch()
	wait("needs login", isState(api.NeedsLogin))
	if err := n.LoginInteractive(t.Context()); !errors.Is(err, ErrNoServer) {
		t.Errorf("login without a server: %v", err)
	}
	st := n.Status(true)
	if st.HaveNodeKey || st.BackendState != "NeedsLogin" || len(st.Health) != 1 {
		t.Errorf("status = %+v", st)
	}
}

func TestUpByAuthKey(t *testing.T) {
	s := newServer(t)
	n := newTestNode(t, "")
	n.up(s.URL())
	cfg := n.plane.last()
	if cfg.Map == nil || cfg.Map.Peer(2) == nil || cfg.Key.IsZero() || !cfg.ControlConnected {
		t.Errorf("plane was told %+v", cfg)
	}
	st := n.Status(true)
	p := st.Peer[peerKey]
	if st.BackendState != "Running" || len(st.TailscaleIPs) != 1 || p == nil || p.HostName != "two" || p.Relay != "one" || !p.Online {
		t.Errorf("status = %+v, peer = %+v", st, p)
	}
	if len(st.Health) != 0 {
		t.Errorf("health = %v", st.Health)
	}
	if who := n.WhoIs(netip.MustParseAddrPort("100.64.0.2:0"), key.NodePublic{}); who == nil || who.Node.ID != 2 || who.UserProfile.LoginName != "ann@example" {
		t.Errorf("whois = %+v", who)
	}
	if who := n.WhoIs(netip.MustParseAddrPort("127.0.0.1:7777"), key.NodePublic{}); who == nil || who.Node.ID != 2 {
		t.Errorf("whois of a forwarded connection = %+v", who)
	}
	if who := n.WhoIs(netip.MustParseAddrPort("127.0.0.1:7778"), key.NodePublic{}); who != nil {
		t.Errorf("whois of a stranger = %+v", who)
	}
	prefs := n.Prefs()
	if prefs.LoggedOut || !prefs.WantRunning || prefs.Config == nil || !prefs.Config.PrivateNodeKey.IsZero() || prefs.Config.NodeID != "one" {
		t.Errorf("prefs = %+v, config = %+v", prefs, prefs.Config)
	}
	reg := s.Registers()[0]
	if reg.Hostinfo.IPNVersion != "1.2.3-test" || reg.Hostinfo.BackendLogID == "" || reg.Auth.AuthKey != "k" {
		t.Errorf("register request = %+v", reg)
	}
}

func TestRestartKeepsIdentityAndWorksWithoutServer(t *testing.T) {
	s := newServer(t)
	n := newTestNode(t, "")
	n.up(s.URL())
	before, disco := n.Status(false).Self.PublicKey, n.plane.last().DiscoKey
	n.plane.hooks.endpoints(nil, nil) // a port is bound
	n.close()
	s.Stop()

	again := newTestNode(t, n.path)
	again.watch()("running from the map on disk", isState(api.Running))
	st := again.Status(true)
	if st.Self.PublicKey != before || st.Peer[peerKey] == nil || st.Self.Online {
		t.Errorf("status = %+v", st)
	}
	if cfg := again.plane.last(); cfg.ControlConnected || cfg.Map.Peer(2) == nil || disco.IsZero() || !cfg.DiscoKey.Equal(disco) {
		t.Errorf("plane was told %+v, want the disco key %v", cfg, disco.Public())
	}
	if again.plane.preferred != 4711 {
		t.Errorf("the port of the last run was %d for the plane", again.plane.preferred)
	}
	until(t, "a health warning", func() bool { return len(again.Status(false).Health) > 0 })

	s.Resume()
	until(t, "contact with the server", func() bool { return again.Status(false).Self.Online })
	if len(s.Registers()) < 2 || s.Registers()[1].NodeKey != before {
		t.Error("the restart changed the node key")
	}
}

func TestDownAndUpAgain(t *testing.T) {
	s := newServer(t)
	n := newTestNode(t, "")
	n.up(s.URL())
	wait := n.watch()
	edit := func(up bool) {
		if _, err := n.EditPrefs(t.Context(), &api.MaskedPrefs{Prefs: api.Prefs{WantRunning: up}, WantRunningSet: true}); err != nil {
			t.Fatal(err)
		}
	}
	edit(false)
	wait("stopped", isState(api.Stopped))
	if cfg := n.plane.last(); cfg.Map != nil || !cfg.Key.IsZero() {
		t.Errorf("plane still has %+v", cfg)
	}
	if st := n.Status(false); len(st.TailscaleIPs) != 0 {
		t.Errorf("addresses while stopped: %v", st.TailscaleIPs)
	}
	edit(true)
	wait("running", isState(api.Running))
	if cfg := n.plane.last(); cfg.Map == nil {
		t.Error("plane was not told to go up")
	}
	if got := len(s.Registers()); got != 1 {
		t.Errorf("%d registrations, want 1", got)
	}
}

func TestStoppedNodeStaysStoppedAtRestart(t *testing.T) {
	s := newServer(t)
	n := newTestNode(t, "")
	n.up(s.URL())
	if _, err := n.EditPrefs(t.Context(), &api.MaskedPrefs{WantRunningSet: true}); err != nil {
		t.Fatal(err)
	}
	n.close()
	registers := len(s.Registers())
	again := newTestNode(t, n.path)
	again.watch()("stopped", isState(api.Stopped))
	if got := len(s.Registers()); got != registers {
		t.Errorf("a stopped node registered at its start")
	}
}

func TestInteractiveLogin(t *testing.T) {
	s := newServer(t)
	approved := make(chan struct{})
	s.Register = func(r *control.RegisterRequest) (int, *control.RegisterResponse) {
		if r.Followup == "" {
			return http.StatusOK, &control.RegisterResponse{AuthURL: "http://x.example/login"}
		}
		<-approved
		return ctltest.Accept(r)
	}
	n := newTestNode(t, "")
	wait := n.watch()
	prefs := api.NewPrefs()
	prefs.ControlURL, prefs.WantRunning = s.URL(), true
	if err := n.Start(t.Context(), api.StartOptions{UpdatePrefs: prefs}); err != nil {
		t.Fatal(err)
	}
	if err := n.LoginInteractive(t.Context()); err != nil {
		t.Fatal(err)
	}
	isURL := func(m *api.Notify) bool { return m.BrowseToURL != nil && *m.BrowseToURL == "http://x.example/login" }
	wait("the URL", isURL)
	if st := n.Status(false); st.AuthURL != "http://x.example/login" || st.BackendState != "NeedsLogin" {
		t.Errorf("status = %+v", st)
	}
	if err := n.LoginInteractive(t.Context()); err != nil {
		t.Fatal(err)
	}
	wait("the same URL again", isURL)
	close(approved)
	wait("login finished", func(m *api.Notify) bool { return m.LoginFinished != nil })
	wait("running", isState(api.Running))
	if st := n.Status(false); st.AuthURL != "" {
		t.Errorf("the URL is still shown: %q", st.AuthURL)
	}
}

// TestLoginTroublePasses has the network change while a node that is up waits for its
// user to log in again.
func TestLoginTroublePasses(t *testing.T) {
	s := newServer(t)
	n := newTestNode(t, "")
	n.up(s.URL())
	gone := make(chan struct{})
	defer close(gone)
	var broken atomic.Bool
	broken.Store(true)
	s.Register = func(r *control.RegisterRequest) (int, *control.RegisterResponse) {
		if r.Followup != "" && broken.Load() {
			return http.StatusBadGateway, nil
		}
		if r.Followup != "" {
			<-gone
		}
		return http.StatusOK, &control.RegisterResponse{AuthURL: "http://x.example/login"}
	}
	wait := n.watch()
	if err := n.LoginInteractive(t.Context()); err != nil {
		t.Fatal(err)
	}
	wait("the URL", func(m *api.Notify) bool { return m.BrowseToURL != nil })
	health := func() []string { return n.Status(false).Health }
	until(t, "the trouble", func() bool { return len(health()) == 1 && strings.Contains(health()[0], "502") })
	broken.Store(false)
	n.Rebind()
	registers := len(s.Registers())
	until(t, "the next follow-up", func() bool { return len(s.Registers()) > registers })
	until(t, "the end of the trouble", func() bool { return len(health()) == 0 })
}

func TestRefusedKeyIsTold(t *testing.T) {
	s := newServer(t)
	s.Register = func(*control.RegisterRequest) (int, *control.RegisterResponse) {
		return http.StatusOK, &control.RegisterResponse{Error: "authkey expired"}
	}
	n := newTestNode(t, "")
	wait := n.watch()
	prefs := api.NewPrefs()
	prefs.ControlURL, prefs.WantRunning = s.URL(), true
	if err := n.Start(t.Context(), api.StartOptions{UpdatePrefs: prefs, AuthKey: "old"}); err != nil {
		t.Fatal(err)
	}
	wait("the error", func(m *api.Notify) bool {
		return m.ErrMessage != nil && strings.Contains(*m.ErrMessage, "authkey expired")
	})
	if st := n.Status(false); st.BackendState != "NeedsLogin" || !strings.Contains(st.Health[0], "authkey expired") {
		t.Errorf("status = %+v", st)
	}
	if _, err := os.ReadFile(n.path); err != nil {
		t.Fatal(err)
	}
	store := strings.Join(n.store.Keys(), " ")
	if strings.Contains(store, "profile-") {
		t.Errorf("a profile was stored without a login: %s", store)
	}
}

func TestLogout(t *testing.T) {
	s := newServer(t)
	n := newTestNode(t, "")
	n.up(s.URL())
	before := n.Status(false).Self.PublicKey
	if err := n.Logout(t.Context()); err != nil {
		t.Fatal(err)
	}
	regs := s.Registers()
	if last := regs[len(regs)-1]; last.NodeKey != before || last.Expiry.IsZero() || last.Expiry.After(time.Now()) {
		t.Errorf("logout request = %+v", last)
	}
	st := n.Status(false)
	if st.HaveNodeKey || st.BackendState != "NeedsLogin" || n.plane.last().Map != nil {
		t.Errorf("after logout: %+v", st)
	}
	if keys := n.store.Keys(); len(keys) != 2 { // machine key and an empty list of profiles
		t.Errorf("store still has %v", keys)
	}
	n.up(s.URL())
	if n.Status(false).Self.PublicKey == before {
		t.Error("the new login used the old node key")
	}
}

func TestLogoutWithoutServerForgetsAllTheSame(t *testing.T) {
	s := newServer(t)
	n := newTestNode(t, "")
	n.up(s.URL())
	s.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := n.Logout(ctx); err == nil {
		t.Error("logout without a server reported success")
	}
	n.close()
	again := newTestNode(t, n.path)
	again.watch()("needs login", isState(api.NeedsLogin))
	if again.plane.last().Map != nil {
		t.Error("the node came up after a logout")
	}
}

func TestExpiredKeyNeedsLogin(t *testing.T) {
	s := newServer(t)
	frames := make(chan *control.MapResponse)
	inner := s.Stream
	s.Stream = func(r *control.MapRequest, f *ctltest.Frames) {
		f.Send(&control.MapResponse{Node: self(r.NodeKey), Domain: "example"})
		select {
		case m := <-frames:
			m.Node.Key = r.NodeKey
			f.Send(m)
		case <-f.Done():
		}
		f.Hold()
	}
	n := newTestNode(t, "")
	n.up(s.URL())
	wait := n.watch()
	expired := self(key.NodePublic{})
	expired.KeyExpiry = time.Now().Add(-time.Minute)
	frames <- &control.MapResponse{Node: expired}
	wait("needs login", isState(api.NeedsLogin))
	if n.plane.last().Map != nil {
		t.Error("the plane goes on with an expired key")
	}
	s.Stream = inner
	before := n.Status(false).Self.PublicKey
	if err := n.Start(t.Context(), api.StartOptions{AuthKey: "new"}); err != nil {
		t.Fatal(err)
	}
	wait("running", isState(api.Running))
	last := s.Registers()[len(s.Registers())-1]
	if last.NodeKey == before || last.OldNodeKey != before {
		t.Error("the login after the expiry did not rotate the key")
	}
}

func TestDeletedNodeNeedsLogin(t *testing.T) {
	s := newServer(t)
	var deleted atomic.Bool
	inner := s.Stream
	s.Stream = func(r *control.MapRequest, f *ctltest.Frames) {
		if deleted.Load() {
			http.Error(f.W, "no such node", http.StatusNotFound)
			return
		}
		inner(r, f)
	}
	s.Register = func(r *control.RegisterRequest) (int, *control.RegisterResponse) {
		if deleted.Load() {
			return http.StatusOK, &control.RegisterResponse{AuthURL: "http://x.example/again"}
		}
		return ctltest.Accept(r)
	}
	n := newTestNode(t, "")
	n.up(s.URL())
	wait := n.watch()
	deleted.Store(true)
	s.Drop()
	wait("needs login", isState(api.NeedsLogin))
	if st := n.Status(false); st.AuthURL != "http://x.example/again" || n.plane.last().Map != nil {
		t.Errorf("status = %+v", st)
	}
}

func TestNeedsApproval(t *testing.T) {
	s := newServer(t)
	approve := make(chan struct{})
	s.Stream = func(r *control.MapRequest, f *ctltest.Frames) {
		me := self(r.NodeKey)
		me.MachineAuthorized = false
		f.Send(&control.MapResponse{Node: me})
		<-approve
		f.Send(&control.MapResponse{Node: self(r.NodeKey), PeersChanged: []*control.Node{peer(2)}})
		f.Hold()
	}
	n := newTestNode(t, "")
	wait := n.watch()
	prefs := api.NewPrefs()
	prefs.ControlURL, prefs.WantRunning = s.URL(), true
	if err := n.Start(t.Context(), api.StartOptions{UpdatePrefs: prefs, AuthKey: "k"}); err != nil {
		t.Fatal(err)
	}
	wait("needs approval", isState(api.NeedsMachineAuth))
	if n.plane.last().Map != nil {
		t.Error("the plane works before the approval")
	}
	close(approve)
	wait("running", isState(api.Running))
}

func TestStartingUntilAlive(t *testing.T) {
	s := newServer(t)
	n := newTestNode(t, "")
	n.plane.set(false, nil)
	wait := n.watch()
	prefs := api.NewPrefs()
	prefs.ControlURL, prefs.WantRunning = s.URL(), true
	if err := n.Start(t.Context(), api.StartOptions{UpdatePrefs: prefs, AuthKey: "k"}); err != nil {
		t.Fatal(err)
	}
	wait("starting", isState(api.Starting))
	n.plane.set(true, nil)
	wait("running", isState(api.Running))
	n.plane.set(false, nil)
	if n.State() != api.Running {
		t.Error("a relay that is lost for a moment ended Running")
	}
}

// TestRunningWithoutAnyRelay has no relay and no peer ever be alive, as where only direct
// paths work.
func TestRunningWithoutAnyRelay(t *testing.T) {
	s := newServer(t)
	n := newTestNode(t, "")
	n.plane.set(false, nil)
	wait := n.watch()
	prefs := api.NewPrefs()
	prefs.ControlURL, prefs.WantRunning = s.URL(), true
	if err := n.Start(t.Context(), api.StartOptions{UpdatePrefs: prefs, AuthKey: "k"}); err != nil {
		t.Fatal(err)
	}
	wait("starting", isState(api.Starting))
	wait("running", isState(api.Running))
}

// TestOwnAddressesOnce has a server that tells the node its own endpoints.
func TestOwnAddressesOnce(t *testing.T) {
	s := newServer(t)
	ep := netip.MustParseAddrPort("192.0.2.1:41641")
	s.Stream = func(r *control.MapRequest, f *ctltest.Frames) {
		me := self(r.NodeKey)
		me.Endpoints = []netip.AddrPort{ep}
		f.Send(&control.MapResponse{Node: me, Domain: "example"})
		f.Hold()
	}
	n := newTestNode(t, "")
	n.up(s.URL())
	if got := n.Status(false).Self.Addrs; got == nil || len(got) != 0 {
		t.Errorf("without a socket the addresses are %#v", got)
	}
	n.plane.mu.Lock()
	n.plane.own = []netip.AddrPort{ep}
	n.plane.mu.Unlock()
	if got := n.Status(false).Self.Addrs; len(got) != 1 || got[0] != ep.String() {
		t.Errorf("addresses %v", got)
	}
}

func TestServerIsToldOfEndpointsAndHostname(t *testing.T) {
	s := newServer(t)
	n := newTestNode(t, "")
	n.up(s.URL())
	ep := netip.MustParseAddrPort("192.0.2.1:41641")
	n.plane.hooks.endpoints([]netip.AddrPort{ep}, []control.EndpointType{control.EndpointLocal})
	n.plane.hooks.netInfo(&control.NetInfo{PreferredDERP: 1})
	if _, err := n.EditPrefs(t.Context(), &api.MaskedPrefs{Prefs: api.Prefs{Hostname: "renamed"}, HostnameSet: true}); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(20 * time.Second)
	for {
		select {
		case u := <-s.Updated:
			if len(u.Endpoints) == 1 && u.Endpoints[0] == ep && u.Hostinfo.Hostname == "renamed" &&
				u.Hostinfo.NetInfo != nil && u.Hostinfo.NetInfo.PreferredDERP == 1 && u.DiscoKey == n.plane.last().DiscoKey.Public() {
				return
			}
		case <-deadline:
			t.Fatal("the server was not told")
		}
	}
}

func TestFailedPlaneIsToldAndTriedAgain(t *testing.T) {
	s := newServer(t)
	n := newTestNode(t, "")
	n.plane.set(true, errors.New("no route for you"))
	n.up(s.URL())
	if h := n.Status(false).Health; len(h) != 1 || !strings.Contains(h[0], "no route for you") {
		t.Errorf("health = %v", h)
	}
	n.plane.set(true, nil)
	until(t, "another try", func() bool { return len(n.Status(false).Health) == 0 })
}

func TestLinkChangeIsPassedOn(t *testing.T) {
	s := newServer(t)
	n := newTestNode(t, "")
	n.up(s.URL())
	streams := make(chan struct{}, 1)
	inner := s.Stream
	s.Stream = func(r *control.MapRequest, f *ctltest.Frames) {
		streams <- struct{}{}
		inner(r, f)
	}
	n.plane.hooks.linkChanged(false) // the connection answers and is kept
	n.plane.hooks.linkChanged(true)
	<-streams // the connection to the server was made anew
	n.plane.mu.Lock()
	defer n.plane.mu.Unlock()
	if n.plane.links != 2 {
		t.Errorf("the plane was told %d times", n.plane.links)
	}
}

func TestServerChangeForgetsTheLogin(t *testing.T) {
	a, b := newServer(t), newServer(t)
	n := newTestNode(t, "")
	n.up(a.URL())
	before := n.Status(false).Self.PublicKey
	n.up(b.URL())
	if after := n.Status(false).Self.PublicKey; after == before {
		t.Error("the node key went to another server")
	}
	if len(b.Registers()) != 1 || b.Registers()[0].OldNodeKey != (key.NodePublic{}) {
		t.Errorf("registrations at the new server: %+v", b.Registers())
	}
}

func TestEphemeralNodeSaysGoodbye(t *testing.T) {
	s := newServer(t)
	n := newTestNode(t, state.Memory)
	n.up(s.URL())
	n.close()
	regs := s.Registers()
	if !regs[0].Ephemeral || regs[len(regs)-1].Expiry.IsZero() {
		t.Errorf("registrations = %+v", regs)
	}
}

func TestPrefsAreChecked(t *testing.T) {
	n := newTestNode(t, "")
	p := netip.MustParsePrefix
	for name, edit := range map[string]*api.MaskedPrefs{
		"url":      {Prefs: api.Prefs{ControlURL: "ftp://x"}, ControlURLSet: true},
		"tag":      {Prefs: api.Prefs{AdvertiseTags: []string{"server"}}, AdvertiseTagsSet: true},
		"unmasked": {Prefs: api.Prefs{AdvertiseRoutes: []netip.Prefix{p("10.0.0.1/8")}}, AdvertiseRoutesSet: true},
		"ssh":      {Prefs: api.Prefs{RunSSH: true}, RunSSHSet: true},
		"internal": {Prefs: api.Prefs{InternalExitNodePrior: "x"}, InternalExitNodePriorSet: true},
	} {
		var refused *PrefsError
		if _, err := n.EditPrefs(t.Context(), edit); !errors.As(err, &refused) {
			t.Errorf("%s: err = %v", name, err)
		}
	}
	ok := &api.MaskedPrefs{Prefs: api.Prefs{Hostname: "x", ShieldsUp: true}, HostnameSet: true}
	got, err := n.EditPrefs(t.Context(), ok)
	if err != nil || got.Hostname != "x" || got.ShieldsUp {
		t.Errorf("edit = %+v, %v", got, err)
	}
}

func TestPing(t *testing.T) {
	s := newServer(t)
	n := newTestNode(t, "")
	ip := netip.MustParseAddr
	if r, err := n.Ping(t.Context(), ip("100.64.0.2"), api.PingDisco, 0); err != nil || !strings.Contains(r.Err, "not connected") {
		t.Errorf("before up: %+v, %v", r, err)
	}
	n.up(s.URL())
	r, err := n.Ping(t.Context(), ip("100.64.0.2"), api.PingDisco, 0)
	if err != nil || r.Err != "" || r.NodeName != "two" || r.NodeIP != "100.64.0.2" || r.Endpoint != "192.0.2.1:1" {
		t.Errorf("ping = %+v, %v", r, err)
	}
	if r, err := n.Ping(t.Context(), ip("100.64.0.2"), api.PingICMP, 0); err != nil || r.Err != "filtered" {
		t.Errorf("failing ping = %+v, %v", r, err)
	}
	if r, err := n.Ping(t.Context(), ip("100.64.0.1"), api.PingDisco, 0); err != nil || !r.IsLocalIP || r.Err != "100.64.0.1 is local Ginnel IP" {
		t.Errorf("own address = %+v, %v", r, err)
	}
	soon, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if r, err := n.Ping(soon, ip("100.64.0.9"), api.PingDisco, 0); err != nil || r.Err == "" {
		t.Errorf("nobody's address = %+v, %v", r, err)
	}
	if _, err := n.Ping(t.Context(), ip("100.64.0.2"), api.PingDisco, -1); err == nil {
		t.Error("negative size was accepted")
	}
}

// TestPingAwaitsPeer pings a peer that joins a moment later.
func TestPingAwaitsPeer(t *testing.T) {
	s := newServer(t)
	join := make(chan struct{})
	s.Stream = func(r *control.MapRequest, f *ctltest.Frames) {
		f.Send(&control.MapResponse{Node: self(r.NodeKey)})
		select {
		case <-join:
			f.Send(&control.MapResponse{PeersChanged: []*control.Node{peer(2)}})
		case <-f.Done():
		}
		f.Hold()
	}
	n := newTestNode(t, "")
	n.up(s.URL())
	ip := netip.MustParseAddr("100.64.0.2")
	soon, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if r, err := n.Ping(soon, ip, api.PingDisco, 0); err != nil || r.Err != "no peer has the address 100.64.0.2" {
		t.Fatalf("before it joined: %+v, %v", r, err)
	}
	var g errgroup.Group
	g.Go(func() error {
		r, err := n.Ping(t.Context(), ip, api.PingDisco, 0)
		if err == nil && r.Err != "" {
			err = errors.New(r.Err)
		}
		return err
	})
	close(join)
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

func TestSlowWatcherIsDropped(t *testing.T) {
	b := newBus()
	slow, fast := b.add(0), b.add(0)
	for range busBacklog + 1 {
		b.send(&api.Notify{}, 0)
		<-fast.C()
	}
	n := 0
	for range slow.C() {
		n++
	}
	if n != busBacklog {
		t.Errorf("%d messages before the end, want %d", n, busBacklog)
	}
	if b.send(&api.Notify{}, 0); len(fast.ch) != 1 {
		t.Error("the watcher that kept up was dropped too")
	}
	fast.Close()
	fast.Close()
}

func TestDamagedStateIsAnError(t *testing.T) {
	path := t.TempDir() + "/state"
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := New(Options{StatePath: path, TUN: Userspace})
	var corrupt *state.CorruptError
	if !errors.As(err, &corrupt) {
		t.Errorf("err = %v", err)
	}
}

// TestIdleNodeSleeps looks at how long the loop would sleep, with a watcher that has just
// gone.
func TestIdleNodeSleeps(t *testing.T) {
	s := newServer(t)
	n := newTestNode(t, "")
	w, _, err := n.Watch(t.Context(), api.NotifyInitialHealthState)
	if err != nil {
		t.Fatal(err)
	}
	n.up(s.URL())
	n.plane.hooks.changed()
	w.Close()
	n.bus.closeAll()
	var wait time.Duration
	for range 2 { // once to settle, once to look
		err := n.call(t.Context(), func() error {
			wait = n.nextWake(time.Now())
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if wait < time.Minute {
		t.Errorf("an idle node wakes up again in %v", wait)
	}
}
