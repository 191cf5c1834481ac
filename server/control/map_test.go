package control

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ginnel/ginnel/server/control/controltest"
	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

func TestFirstFrame(t *testing.T) {
	h := newHarness(t, nil)
	a, an := h.join("Alpha Host", tailnet.AuthKeyParams{})
	b, bn := h.join("beta", tailnet.AuthKeyParams{Tags: []string{"tag:web"}})
	err := b.Update(h.ctx, func(r *control.MapRequest) {
		r.Endpoints = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:41641"), netip.MustParseAddrPort("[fe80::1]:1")}
		hi := *b.Hostinfo
		hi.NetInfo = &control.NetInfo{PreferredDERP: 900}
		hi.Services = []control.Service{{Proto: control.ServicePeerAPI4, Port: 1234}, {Proto: control.ServiceTCP, Port: 22}}
		r.Hostinfo = &hi
	})
	if err != nil {
		t.Fatal(err)
	}
	resp, members := h.poll(a).next()
	want := []string{"CollectServices", "ControlTime", "DERPMap", "DNSConfig", "Debug", "Domain", "Node",
		"PacketFilters", "Peers", "SSHPolicy", "UserProfiles"}
	if !slices.Equal(members, want) {
		t.Errorf("members %v, want %v", members, want)
	}
	self := resp.Node
	if self.ID != an.ID || self.StableID == "" || self.Name != "alpha-host.tail.ginnel.internal." || !self.MachineAuthorized ||
		self.Key != a.Node.Public() || len(self.Addresses) != 2 || !self.Addresses[0].Addr().Is4() || self.Hostinfo.GoVersion == "" {
		t.Errorf("self node %+v", self)
	}
	if len(resp.Peers) != 1 {
		t.Fatalf("peers %+v", resp.Peers)
	}
	p := resp.Peers[0]
	if p.ID != bn.ID || p.DiscoKey != b.Disco.Public() || p.HomeDERP != 900 || p.Machine != b.Machine.Public() ||
		p.Online == nil || *p.Online || p.LastSeen == nil || time.Since(*p.LastSeen) > time.Minute || !p.MachineAuthorized || p.Cap != control.CurrentCapabilityVersion ||
		!slices.Equal(p.Tags, []string{"tag:web"}) {
		t.Errorf("peer %+v", p)
	}
	if len(p.Endpoints) != 1 || p.Endpoints[0].String() != "192.0.2.1:41641" {
		t.Errorf("endpoints %v", p.Endpoints)
	}
	if hi := p.Hostinfo; hi.OS != "linux" || hi.Hostname != "beta" || hi.GoVersion != "" || hi.NetInfo != nil ||
		len(hi.Services) != 1 || hi.Services[0].Port != 1234 {
		t.Errorf("peer host information %+v", hi)
	}
	profiles := map[control.UserID]string{}
	for _, u := range resp.UserProfiles {
		profiles[u.ID] = u.LoginName
	}
	if profiles[self.User] != "ann@example.com" || profiles[p.User] != "tagged-devices" {
		t.Errorf("profiles %v for users %d and %d", profiles, self.User, p.User)
	}
	if rules := resp.PacketFilters["base"]; len(rules) != 1 || rules[0].SrcIPs[0] != "*" || rules[0].DstPorts[0].Ports != control.AllPorts {
		t.Errorf("filters %+v", resp.PacketFilters)
	}
	if !resp.DNSConfig.Proxied || resp.SSHPolicy == nil || len(resp.SSHPolicy.Rules) != 0 || !resp.Debug.DisableLogTail ||
		resp.DERPMap == nil || time.Since(resp.ControlTime).Abs() > time.Minute {
		t.Errorf("frame %+v", resp)
	}
}

func TestDeltas(t *testing.T) {
	h := newHarness(t, nil)
	a, _ := h.join("a", tailnet.AuthKeyParams{})
	wa := h.poll(a)
	if resp, _ := wa.next(); len(resp.Peers) != 0 {
		t.Fatalf("peers %v", resp.Peers)
	}
	// A new node is not mentioned before the update that brings its disco key.
	b, bn := h.join("b", tailnet.AuthKeyParams{})
	resp, members := wa.next()
	if !slices.Equal(members, []string{"PeersChanged", "UserProfiles"}) || resp.PeersChanged[0].ID != bn.ID ||
		resp.PeersChanged[0].DiscoKey != b.Disco.Public() ||
		*resp.PeersChanged[0].Online || resp.UserProfiles[0].LoginName != "ann@example.com" {
		t.Fatalf("new peer: %v %+v", members, resp)
	}
	wb := h.poll(b)
	if resp, _ := wb.next(); len(resp.Peers) != 1 || !*resp.Peers[0].Online {
		t.Fatalf("first frame of b: %+v", resp)
	}
	wa.wantFrame(fmt.Sprintf(`{"OnlineChange":{"%d":true}}`, bn.ID))

	// A new run of the node has a new disco key; nothing else of its update is new.
	b.Disco = key.NewDisco()
	if err := b.Update(h.ctx, nil); err != nil {
		t.Fatal(err)
	}
	wa.wantFrame(fmt.Sprintf(`{"PeersChangedPatch":[{"NodeID":%d,"DiscoKey":%q}]}`, bn.ID, b.Disco.Public()))

	setEndpoints := func(list ...string) {
		t.Helper()
		if err := b.Update(h.ctx, func(r *control.MapRequest) {
			for _, e := range list {
				r.Endpoints = append(r.Endpoints, netip.MustParseAddrPort(e))
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	setEndpoints("192.0.2.7:1")
	wa.wantFrame(fmt.Sprintf(`{"PeersChangedPatch":[{"NodeID":%d,"Endpoints":["192.0.2.7:1"]}]}`, bn.ID))
	setEndpoints()
	wa.wantFrame(fmt.Sprintf(`{"PeersChangedPatch":[{"NodeID":%d,"Endpoints":[]}]}`, bn.ID))

	// Relay latencies are noise, the home relay is not; what peers do not see
	// of the host information changes nothing for them.
	update := func(change func(*control.Hostinfo)) {
		t.Helper()
		hi := *b.Hostinfo
		change(&hi)
		b.Hostinfo = &hi
		if err := b.Update(h.ctx, nil); err != nil {
			t.Fatal(err)
		}
	}
	update(func(hi *control.Hostinfo) { hi.NetInfo = &control.NetInfo{PreferredDERP: 3} })
	wa.wantFrame(fmt.Sprintf(`{"PeersChangedPatch":[{"NodeID":%d,"DERPRegion":3}]}`, bn.ID))
	update(func(hi *control.Hostinfo) {
		hi.NetInfo = &control.NetInfo{PreferredDERP: 3, DERPLatency: map[string]float64{"3-v4": 0.1}}
	})
	update(func(hi *control.Hostinfo) { hi.GoVersion = "go9" })
	update(func(hi *control.Hostinfo) {
		hi.Services = []control.Service{{Proto: control.ServicePeerAPI6, Port: 9}}
	})
	resp, members = wa.next()
	if !slices.Equal(members, []string{"PeersChanged"}) || len(resp.PeersChanged[0].Hostinfo.Services) != 1 || !*resp.PeersChanged[0].Online {
		t.Fatalf("services: %v %+v", members, resp)
	}

	// A name is told to peers as a whole node, to the node itself as Node.
	if _, err := h.svc.RenameNode(h.ctx, admin, bn.ID, "boss"); err != nil {
		t.Fatal(err)
	}
	resp, members = wa.next()
	if !slices.Equal(members, []string{"PeersChanged"}) || resp.PeersChanged[0].Name != "boss.tail.ginnel.internal." {
		t.Fatalf("rename: %v %+v", members, resp)
	}
	resp, members = wb.next()
	if !slices.Equal(members, []string{"Node"}) || resp.Node.Name != "boss.tail.ginnel.internal." {
		t.Fatalf("rename, itself: %v %+v", members, resp)
	}

	// Going offline.
	wb.stream.Close()
	resp, members = wa.next()
	patch := resp.PeersChangedPatch
	if !slices.Equal(members, []string{"PeersChangedPatch"}) || len(patch) != 1 || patch[0].NodeID != bn.ID ||
		patch[0].Online == nil || *patch[0].Online || patch[0].LastSeen == nil {
		t.Fatalf("offline: %v %+v", members, resp)
	}
	// The last peer removed is told, though no list of peers could say so.
	if err := h.svc.DeleteNode(h.ctx, admin, bn.ID); err != nil {
		t.Fatal(err)
	}
	wa.wantFrame(fmt.Sprintf(`{"PeersRemoved":[%d]}`, bn.ID))
}

func TestRemovedNode(t *testing.T) {
	h := newHarness(t, nil)
	a, an := h.join("a", tailnet.AuthKeyParams{})
	w := h.poll(a)
	w.next()
	if err := h.svc.DeleteNode(h.ctx, admin, an.ID); err != nil {
		t.Fatal(err)
	}
	w.wantEnd()
	for _, change := range []func(*control.MapRequest){
		func(r *control.MapRequest) { r.OmitPeers = true },
		func(r *control.MapRequest) { r.ReadOnly = true },
		func(r *control.MapRequest) {},
	} {
		req := a.MapRequest()
		change(req)
		h.wantStatus(a, http.MethodPost, "/machine/map", req, http.StatusNotFound, "node not found")
	}
}

// TestStreamOfUnknownNode checks what makes a node log in again whose key the
// server does not have, or not of that machine.
func TestStreamOfUnknownNode(t *testing.T) {
	h := newHarness(t, func(s *setup) { s.config.KeepAlive = 10 * time.Millisecond })
	a, _ := h.join("a", tailnet.AuthKeyParams{})
	h.join("b", tailnet.AuthKeyParams{})
	thief := h.client("thief")
	thief.Node = a.Node
	stranger := h.client("stranger")
	for _, plain := range []bool{false, true} {
		for _, c := range []*controltest.Client{thief, stranger} {
			c.Plain = plain
			w := h.poll(c)
			resp, _ := w.next()
			n := resp.Node
			if n == nil || n.ID != 0 || n.StableID == "" || n.Key != c.Node.Public() || len(n.Addresses) != 0 ||
				!n.Expired || n.KeyExpiry.IsZero() || !n.KeyExpiry.Before(time.Now()) {
				t.Errorf("own node %+v", n)
			}
			if len(resp.Peers) != 0 || len(resp.UserProfiles) != 0 {
				t.Errorf("a node that is none of ours was told of %v and %v", resp.Peers, resp.UserProfiles)
			}
			for range 3 {
				w.wantFrame(control.KeepAliveBody)
			}
			w.stream.Close()
		}
	}
	// The stream ends once the key is a node's, which then has a map to read.
	w := h.poll(stranger)
	if err := stranger.Join(h.ctx, h.authKey(tailnet.AuthKeyParams{})); err != nil {
		t.Fatal(err)
	}
	for f := range w.frames {
		if f.err == io.EOF {
			break
		} else if f.err != nil {
			t.Fatal(f.err)
		}
	}
	if resp, _ := h.poll(stranger).next(); resp.Node == nil || resp.Node.ID == 0 || len(resp.Peers) != 2 {
		t.Errorf("after the join: %+v", resp)
	}
}

func TestReadAndOneShot(t *testing.T) {
	h := newHarness(t, nil)
	a, an := h.join("a", tailnet.AuthKeyParams{})
	_, bn := h.join("b", tailnet.AuthKeyParams{})
	w := h.poll(a)
	w.next()

	once := func(plain bool, change func(*control.MapRequest)) *control.MapResponse {
		t.Helper()
		a.Plain = plain
		req := a.MapRequest()
		change(req)
		s, err := a.Map(h.ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		resp, err := s.Next()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Next(); err != io.EOF {
			t.Fatalf("second frame: %v, want the end", err)
		}
		return resp
	}
	hostname := func(name string) *control.Hostinfo { return &control.Hostinfo{OS: "linux", Hostname: name} }
	for _, plain := range []bool{false, true} {
		resp := once(plain, func(r *control.MapRequest) { r.ReadOnly, r.Hostinfo = true, hostname("read") })
		if resp.Node.ID != an.ID || len(resp.Peers) != 1 || resp.Peers[0].ID != bn.ID {
			t.Errorf("read: %+v", resp)
		}
		resp = once(plain, func(r *control.MapRequest) { r.ReadOnly, r.OmitPeers = true, true })
		if resp.Node.ID != an.ID || len(resp.Peers) != 0 {
			t.Errorf("read without peers: %+v", resp)
		}
		resp = once(plain, func(r *control.MapRequest) { r.ReadOnly, r.Stream = true, true })
		if len(resp.Peers) != 1 {
			t.Errorf("read-only stream: %+v", resp)
		}
	}
	if got := h.node(a).GivenName; got != "a" {
		t.Errorf("a read changed the name to %q", got)
	}
	select {
	case f := <-w.frames:
		t.Fatalf("reads disturbed the stream: %s, %v", f.raw, f.err)
	default:
	}
	resp := once(false, func(r *control.MapRequest) { r.Hostinfo = hostname("shot") })
	if len(resp.Peers) != 1 || h.node(a).GivenName != "shot" {
		t.Errorf("one-shot: %+v, name %q", resp, h.node(a).GivenName)
	}
	for { // the other poll ends, maybe after telling of the new name
		if f := <-w.frames; f.err == io.EOF {
			break
		} else if f.err != nil {
			t.Fatal(f.err)
		}
	}
}

func TestStreamStoresNothingAndLiteUpdateDisturbsNothing(t *testing.T) {
	h := newHarness(t, nil)
	a := h.client("a")
	if err := a.Join(h.ctx, h.authKey(tailnet.AuthKeyParams{})); err != nil {
		t.Fatal(err)
	}
	a.Hostinfo = &control.Hostinfo{OS: "linux", Hostname: "other"}
	w := h.poll(a)
	w.next()
	if n := h.node(a); n.GivenName != "a" || !n.Disco.IsZero() {
		t.Errorf("the stream stored %q, %v", n.GivenName, n.Disco)
	}
	a.Hostinfo.Hostname = "a"
	if err := a.Update(h.ctx, nil); err != nil {
		t.Fatal(err)
	}
	if h.node(a).Disco != a.Disco.Public() {
		t.Error("the update was not stored when it was answered")
	}
	if _, err := h.svc.RenameNode(h.ctx, admin, h.node(a).ID, "z"); err != nil {
		t.Fatal(err)
	}
	if resp, members := w.next(); !slices.Equal(members, []string{"Node"}) || resp.Node.Name != "z.tail.ginnel.internal." {
		t.Errorf("stream after an update: %v", members)
	}
}

func TestNewPollTakesOver(t *testing.T) {
	h := newHarness(t, func(s *setup) { s.config.OfflineGrace = time.Hour })
	a, an := h.join("a", tailnet.AuthKeyParams{})
	b, bn := h.join("b", tailnet.AuthKeyParams{})
	wb := h.poll(b)
	wb.next()
	eventually(t, "b is online", func() bool { return h.node(b).Online })
	first := h.poll(a)
	first.next()
	wb.wantFrame(fmt.Sprintf(`{"OnlineChange":{"%d":true}}`, an.ID))
	second := h.poll(a)
	second.next()
	first.wantEnd(fmt.Sprintf(`{"OnlineChange":{"%d":true}}`, bn.ID)) // if b came online meanwhile
	// Nobody is told, as the node never was away. The next frame is the rename.
	if _, err := h.svc.RenameNode(h.ctx, admin, an.ID, "z"); err != nil {
		t.Fatal(err)
	}
	if _, members := wb.next(); !slices.Equal(members, []string{"PeersChanged"}) {
		t.Errorf("told of %v", members)
	}
	if _, members := second.next(); !slices.Equal(members, []string{"Node"}) {
		t.Errorf("second stream got %v", members)
	}
}

func TestPresence(t *testing.T) {
	h := newHarness(t, nil)
	a, an := h.join("a", tailnet.AuthKeyParams{})
	if h.node(a).Online {
		t.Fatal("online before any poll")
	}
	if err := a.Update(h.ctx, nil); err != nil {
		t.Fatal(err)
	}
	if h.node(a).Online {
		t.Fatal("an update made the node online")
	}
	for range 3 {
		start := time.Now()
		w := h.poll(a)
		w.next()
		eventually(t, "online", func() bool { return h.node(a).Online })
		w.stream.Close()
		eventually(t, "offline", func() bool { return !h.node(a).Online })
		if seen := h.svc.Snapshot().Node(an.ID).LastSeen; seen.Before(start.Add(-time.Second)) || time.Since(seen) > time.Minute {
			t.Errorf("last seen %v", seen)
		}
	}
	h.srv.presence.mu.Lock()
	defer h.srv.presence.mu.Unlock()
	for id, st := range h.srv.presence.nodes {
		if st.polls != 0 || st.online {
			t.Errorf("presence holds node %d: %+v", id, st)
		}
	}
}

// A server that ends stores when its nodes were last seen, those of open polls and
// those that are just away.
func TestCloseStoresLastSeen(t *testing.T) {
	h := newHarness(t, func(s *setup) { s.config.OfflineGrace = time.Hour })
	a, _ := h.join("a", tailnet.AuthKeyParams{})
	b, bn := h.join("b", tailnet.AuthKeyParams{})
	c, cn := h.join("c", tailnet.AuthKeyParams{})
	h.poll(a).next()
	away := h.poll(b)
	away.next()
	eventually(t, "online", func() bool { return h.node(a).Online && h.node(b).Online })
	away.stream.Close()
	eventually(t, "away", func() bool {
		h.srv.presence.mu.Lock()
		defer h.srv.presence.mu.Unlock()
		return h.srv.presence.nodes[bn.ID].polls == 0
	})
	before := time.Now()
	if err := h.srv.Close(); err != nil {
		t.Fatal(err)
	}
	if n := h.node(a); n.LastSeen.Before(before.Truncate(time.Microsecond)) || !n.Online {
		t.Errorf("connected node: online %v, last seen %v, closed at %v", n.Online, n.LastSeen, before)
	}
	if n := h.node(b); !n.LastSeen.After(bn.LastSeen) || n.LastSeen.After(before) {
		t.Errorf("node just away: last seen %v, joined at %v, closed at %v", n.LastSeen, bn.LastSeen, before)
	}
	if n := h.node(c); !n.LastSeen.Equal(cn.LastSeen) {
		t.Errorf("node never connected: last seen %v, joined at %v", n.LastSeen, cn.LastSeen)
	}
}

func TestKeepAlive(t *testing.T) {
	h := newHarness(t, func(s *setup) { s.config.KeepAlive = time.Millisecond })
	a, _ := h.join("a", tailnet.AuthKeyParams{})
	for _, plain := range []bool{false, true} {
		a.Plain = plain
		w := h.poll(a)
		w.next()
		for range 3 {
			f := <-w.frames
			if f.err != nil || string(f.raw) != `{"KeepAlive":true}` {
				t.Fatalf("frame %q, %v", f.raw, f.err)
			}
		}
		w.stream.Close()
	}
}

func TestNoDeltaBeforeFirstFrame(t *testing.T) {
	h := newHarness(t, nil)
	secret := h.authKey(tailnet.AuthKeyParams{Reusable: true})
	stop := make(chan struct{})
	churned := make(chan struct{})
	_, bn := h.join("b", tailnet.AuthKeyParams{})
	go func() {
		defer close(churned)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := h.svc.RenameNode(h.ctx, admin, bn.ID, fmt.Sprintf("n%d", i%2)); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	each(20, func(i int) {
		c := h.client(fmt.Sprintf("c%d", i))
		if err := c.Join(h.ctx, secret); err != nil {
			t.Error(err)
			return
		}
		if err := c.Update(h.ctx, nil); err != nil {
			t.Error(err)
			return
		}
		s, err := c.Poll(h.ctx)
		if err != nil {
			t.Error(err)
			return
		}
		defer s.Close()
		for i := range 5 {
			resp, err := s.Next()
			if err != nil {
				t.Errorf("frame %d: %v", i, err)
				return
			}
			full := resp.Node != nil && resp.DERPMap != nil
			if full != (i == 0) {
				t.Errorf("frame %d full: %v", i, full)
			}
			for _, p := range slices.Concat(resp.Peers, resp.PeersChanged) {
				if p.Key == c.Node.Public() {
					t.Error("the viewer is its own peer")
				}
			}
		}
	})
	close(stop)
	<-churned
}

func TestSlowStreamIsReset(t *testing.T) {
	h := newHarness(t, func(s *setup) { s.config.WriteTimeout = 10 * time.Millisecond })
	a, an := h.join("a", tailnet.AuthKeyParams{})
	a.Plain = true // compression would make next to nothing of the frames below
	s, err := a.Poll(h.ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	// The client reads nothing; what the server may send unread is bounded.
	blob := []byte(`{"KeepAlive":true,"Domain":"` + strings.Repeat("x", 1<<20) + `"}`)
	eventually(t, "the stream is reset", func() bool {
		h.srv.sessions.send(an.ID, blob)
		return h.srv.sessions.count() == 0
	})
	// The connection and the node live on.
	if err := a.Update(h.ctx, nil); err != nil {
		t.Fatal(err)
	}
}

func TestC2N(t *testing.T) {
	h := newHarness(t, nil)
	a, an := h.join("a", tailnet.AuthKeyParams{})
	if _, err := h.srv.PingNode(h.ctx, an.ID); err == nil {
		t.Fatal("pinged a node that is not connected")
	}
	other, _ := h.join("other", tailnet.AuthKeyParams{})
	w := h.poll(a)
	w.next()
	node := http.NewServeMux()
	node.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	answered := make(chan struct{}, 4) // the answer counts before its own answer is back
	go func() {
		for f := range w.frames {
			if f.err != nil {
				return
			}
			resp, _ := decodeFrame(t, f.raw)
			if resp.PingRequest == nil {
				continue
			}
			// An answer of another machine must not count.
			if err := other.AnswerC2N(h.ctx, resp.PingRequest, http.NotFoundHandler()); err != nil {
				t.Error(err)
			}
			if err := a.AnswerC2N(h.ctx, resp.PingRequest, node); err != nil {
				t.Error(err)
			}
			answered <- struct{}{}
		}
	}()
	for range 3 {
		if _, err := h.srv.PingNode(h.ctx, an.ID); err != nil {
			t.Fatal(err)
		}
	}
	req, err := http.NewRequest(http.MethodGet, "http://node/none", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := h.srv.C2N(h.ctx, an.ID, req)
	if err != nil || resp.StatusCode != http.StatusNotFound {
		t.Fatalf("C2N = %v, %v", resp, err)
	}
	for range cap(answered) {
		<-answered
	}
	h.wantStatus(a, http.MethodPost, "/machine/c2n/unknown", []byte("x"), http.StatusNotFound, "nobody waits")
	if left := len(h.srv.c2n.m); left != 0 {
		t.Errorf("%d waiters left", left)
	}
}

func TestCloseEndsStreams(t *testing.T) {
	h := newHarness(t, nil)
	a, _ := h.join("a", tailnet.AuthKeyParams{})
	s, err := a.Poll(h.ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Next(); err != nil {
		t.Fatal(err)
	}
	h.srv.Close()
	if _, err := s.Next(); err == nil {
		t.Fatal("stream goes on after Close")
	}
	ctx, cancel := context.WithTimeout(h.ctx, time.Second)
	defer cancel()
	c := h.client("late")
	if _, err := c.Register(ctx, c.RegisterRequest()); err == nil {
		t.Fatal("registered after Close")
	}
}

func TestUnapprovedDevice(t *testing.T) {
	h := newHarness(t, func(s *setup) { s.tailnet.RequireApproval = true })
	a, _ := h.join("a", tailnet.AuthKeyParams{Preauthorized: true})
	wa := h.poll(a)
	wa.next()
	b := h.client("b")
	req := b.RegisterRequest()
	req.Auth = &control.RegisterAuth{AuthKey: h.authKey(tailnet.AuthKeyParams{})}
	out, err := b.Register(h.ctx, req)
	if err != nil || out.Error != "" || out.MachineAuthorized {
		t.Fatalf("register = %+v, %v", out, err)
	}
	wb := h.poll(b)
	resp, _ := wb.next()
	if resp.Node.MachineAuthorized || len(resp.Peers) != 0 || len(resp.PacketFilters["base"]) != 0 {
		t.Fatalf("waiting device sees %+v", resp)
	}
	if err := b.Update(h.ctx, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := h.svc.AuthorizeNode(h.ctx, admin, h.node(b).ID); err != nil {
		t.Fatal(err)
	}
	resp, _ = wb.next()
	if !resp.Node.MachineAuthorized || len(resp.Peers) != 1 || len(resp.PacketFilters["base"]) != 1 {
		t.Fatalf("approved device sees %+v", resp)
	}
	// The other saw nothing of it before.
	resp, members := wa.next()
	if !slices.Contains(members, "PeersChanged") || resp.PeersChanged[0].Key != b.Node.Public() {
		t.Fatalf("the other sees %v", members)
	}
}

func TestDERPMapChanged(t *testing.T) {
	h := newHarness(t, nil)
	a, _ := h.join("a", tailnet.AuthKeyParams{})
	w := h.poll(a)
	w.next()
	h.hub.DERPMapChanged()
	w.wantFrame(`{"DERPMap":{"Regions":{}}}`)
}

func TestUserRenamed(t *testing.T) {
	h := newHarness(t, nil)
	a, _ := h.join("a", tailnet.AuthKeyParams{})
	w := h.poll(a)
	w.next()
	if _, err := h.svc.RenameUser(h.ctx, admin, h.user.ID, tailnet.UserParams{DisplayName: "Anna"}); err != nil {
		t.Fatal(err)
	}
	w.wantFrame(fmt.Sprintf(`{"Domain":"tail.ginnel.internal","UserProfiles":[{"ID":%d,"LoginName":"ann@example.com","DisplayName":"Anna"}]}`, h.user.ID))
}

// TestNewOwner checks that nodes put their map together anew for the first node of
// a user, and for that one only.
func TestNewOwner(t *testing.T) {
	h := newHarness(t, nil)
	a, _ := h.join("a", tailnet.AuthKeyParams{})
	w := h.poll(a)
	w.next()
	for i, want := range []bool{true, false} {
		h.join(fmt.Sprint("t", i), tailnet.AuthKeyParams{Tags: []string{"tag:web"}})
		resp, members := w.next()
		if len(resp.PeersChanged) != 1 || len(resp.UserProfiles) != 1 || resp.UserProfiles[0].ID != resp.PeersChanged[0].User {
			t.Fatalf("frame %d with peers %v and users %v", i, resp.PeersChanged, resp.UserProfiles)
		}
		if got := slices.Contains(members, "Domain"); got != want {
			t.Errorf("frame %d has %v, with the domain: want %v", i, members, want)
		}
	}
}

func TestKeyPatchOnRotation(t *testing.T) {
	h := newHarness(t, nil)
	a, _ := h.join("a", tailnet.AuthKeyParams{})
	b, bn := h.join("b", tailnet.AuthKeyParams{})
	w := h.poll(a)
	w.next()
	old := b.Node
	b.Node = key.NewNode()
	req := b.RegisterRequest()
	req.OldNodeKey = old.Public()
	req.Auth = &control.RegisterAuth{AuthKey: h.authKey(tailnet.AuthKeyParams{})}
	if out, err := b.Register(h.ctx, req); err != nil || out.Error != "" {
		t.Fatalf("register = %+v, %v", out, err)
	}
	w.wantFrame(fmt.Sprintf(`{"PeersChangedPatch":[{"NodeID":%d,"Key":%q}]}`, bn.ID, b.Node.Public()))
	if n := h.node(b); n.ID != bn.ID || n.IPv4 != bn.IPv4 {
		t.Errorf("rotation made another node: %+v", n)
	}
}
