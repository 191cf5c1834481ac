package maps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

var admin = tailnet.Actor{Kind: tailnet.ActorAdmin, Name: "test"}

// world is a tailnet in memory with a hub, in a synctest bubble.
type world struct {
	t      *testing.T
	svc    *tailnet.Service
	hub    *Hub
	secret string
	user   *tailnet.User
}

// inWorld runs fn with a fresh world and fake time.
func inWorld(t *testing.T, cfg Config, fn func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		svc, err := tailnet.Open(t.Context(), &tailnet.MemoryStore{}, tailnet.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer svc.Close()
		hub := NewHub(svc, cfg)
		defer hub.Close()
		w := &world{t: t, svc: svc, hub: hub}
		if w.user, err = svc.CreateUser(t.Context(), admin, tailnet.DefaultTailnet, tailnet.UserParams{LoginName: "u@example.com"}); err != nil {
			t.Fatal(err)
		}
		if _, w.secret, err = svc.CreateAuthKey(t.Context(), admin, tailnet.AuthKeyParams{UserID: w.user.ID, Reusable: true}); err != nil {
			t.Fatal(err)
		}
		fn(t, w)
	})
}

// join adds a node that has told its disco key, so that others see it.
func (w *world) join(name string) *tailnet.Node {
	w.t.Helper()
	n, err := w.svc.UpdateNode(w.t.Context(), w.register(name).ID, tailnet.NodeUpdate{Disco: key.NewDisco().Public()})
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// register adds a node that has told nothing yet.
func (w *world) register(name string) *tailnet.Node {
	w.t.Helper()
	r, err := w.svc.Register(w.t.Context(), tailnet.RegisterParams{
		Machine: key.NewMachine().Public(), NodeKey: key.NewNode().Public(), AuthKey: w.secret,
		Hostinfo: &control.Hostinfo{OS: "linux", Hostname: name}, Cap: 113,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return r.Node
}

func (w *world) endpoint(id control.NodeID, port int) {
	w.t.Helper()
	n := w.svc.Snapshot().Node(id)
	_, err := w.svc.UpdateNode(w.t.Context(), id, tailnet.NodeUpdate{
		Disco:     n.Disco,
		Endpoints: []tailnet.Endpoint{{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), uint16(port))}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// open starts a stream and takes its first frame.
func (w *world) open(n *tailnet.Node) (*Stream, *control.MapResponse) {
	w.t.Helper()
	s, err := w.hub.Open(n.ID, Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	frame, err := s.First(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return s, w.decode(frame)
}

func (w *world) decode(frame []byte) *control.MapResponse {
	w.t.Helper()
	n, err := control.ParseFrameLength([4]byte(frame[:4]), 1<<20)
	if err != nil || n != len(frame)-4 {
		w.t.Fatalf("frame length %d, %v, of %d bytes", n, err, len(frame))
	}
	var out control.MapResponse
	if err := json.Unmarshal(frame[4:], &out); err != nil {
		w.t.Fatalf("%s: %v", frame[4:], err)
	}
	return &out
}

// ready reports whether the stream has been woken.
func (s *Stream) woken() bool {
	select {
	case <-s.ready:
		return true
	default:
		return false
	}
}

// text returns the JSON that the next frame holds, "" for none.
func (w *world) text(s *Stream) string {
	w.t.Helper()
	frame, err := s.Next(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	if frame == nil {
		return ""
	}
	w.decode(frame)
	return string(frame[4:])
}

func patchText(id control.NodeID, port int) string {
	return fmt.Sprintf(`{"PeersChangedPatch":[{"NodeID":%d,"Endpoints":["192.0.2.1:%d"]}]}`, id, port)
}

func TestFirstChangeAtOnceThenBursts(t *testing.T) {
	inWorld(t, Config{Coalesce: 50 * time.Millisecond}, func(t *testing.T, w *world) {
		a, b := w.join("a"), w.join("b")
		time.Sleep(time.Second)
		s, _ := w.open(a)
		start := time.Now()
		w.endpoint(b.ID, 1)
		<-s.Ready()
		if d := time.Since(start); d != 0 {
			t.Errorf("first change told after %v", d)
		}
		if got := w.text(s); got != patchText(b.ID, 1) {
			t.Errorf("first: %s", got)
		}
		for port := 2; port < 12; port++ {
			w.endpoint(b.ID, port)
		}
		synctest.Wait()
		if s.woken() {
			t.Error("the burst was told at once")
		}
		<-s.Ready()
		if d := time.Since(start); d != 50*time.Millisecond {
			t.Errorf("burst told after %v", d)
		}
		if got := w.text(s); got != patchText(b.ID, 11) {
			t.Errorf("burst: %s", got)
		}
		time.Sleep(time.Second)
		if s.woken() || w.text(s) != "" {
			t.Error("something is told twice")
		}
	})
}

func TestFramesAreShared(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		nodes := []*tailnet.Node{w.join("a"), w.join("b"), w.join("c"), w.join("d")}
		time.Sleep(time.Second)
		var streams []*Stream
		for _, n := range nodes {
			s, _ := w.open(n)
			s.opts.Compress = true
			streams = append(streams, s)
		}
		before := w.hub.Stats()
		w.endpoint(nodes[0].ID, 7)
		synctest.Wait()
		var first []byte
		for i, s := range streams {
			frame, err := s.Next(t.Context())
			switch {
			case err != nil:
				t.Fatal(err)
			case i == 0:
				if frame != nil {
					t.Errorf("a node is told of its own endpoints: %q", frame)
				}
			case first == nil:
				first = frame
			case &first[0] != &frame[0]:
				t.Errorf("viewer %d has bytes of its own", i)
			}
		}
		after := w.hub.Stats()
		if after.Encoded-before.Encoded != 1 || after.Shared-before.Shared != 2 {
			t.Errorf("encoded %d, shared %d", after.Encoded-before.Encoded, after.Shared-before.Shared)
		}
	})
}

func TestSlowStreamGetsOneMergedFrame(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a, b, c := w.join("a"), w.join("b"), w.join("c")
		time.Sleep(time.Second)
		s, first := w.open(a)
		if len(first.Peers) != 2 || first.Peers[0].ID != b.ID || first.Peers[1].ID != c.ID {
			t.Fatalf("peers %+v", first.Peers)
		}
		step := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second) // each is published by itself
		}
		step(w.svc.SetOnline(t.Context(), b.ID))
		w.endpoint(b.ID, 1)
		step(nil)
		d := w.join("d")
		step(nil)
		step(w.svc.DeleteNode(t.Context(), admin, d.ID)) // came and went
		step(w.svc.DeleteNode(t.Context(), admin, c.ID))
		e := w.join("e")
		step(nil)
		step(w.svc.SetOnline(t.Context(), e.ID))
		got := w.decode(append([]byte(nil), mustNext(t, s)...))
		if len(got.PeersChangedPatch) != 1 || got.PeersChangedPatch[0].NodeID != b.ID || !*got.PeersChangedPatch[0].Online ||
			len(got.PeersChangedPatch[0].Endpoints) != 1 {
			t.Errorf("patches %+v", got.PeersChangedPatch)
		}
		if !slices.Equal(got.PeersRemoved, []control.NodeID{c.ID}) {
			t.Errorf("removed %v", got.PeersRemoved)
		}
		if len(got.PeersChanged) != 1 || got.PeersChanged[0].ID != e.ID || !*got.PeersChanged[0].Online || len(got.UserProfiles) != 1 {
			t.Errorf("changed %+v, profiles %v", got.PeersChanged, got.UserProfiles)
		}
		if got.Node != nil || got.OnlineChange != nil {
			t.Errorf("too much: %+v", got)
		}
	})
}

func mustNext(t *testing.T, s *Stream) []byte {
	t.Helper()
	frame, err := s.Next(t.Context())
	if err != nil || frame == nil {
		t.Fatalf("Next = %q, %v", frame, err)
	}
	return frame
}

func TestOnlineAndOffline(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a, b := w.join("a"), w.join("b")
		time.Sleep(time.Second)
		s, _ := w.open(a)
		if err := w.svc.SetOnline(t.Context(), b.ID); err != nil {
			t.Fatal(err)
		}
		<-s.Ready()
		if got, want := w.text(s), fmt.Sprintf(`{"OnlineChange":{"%d":true}}`, b.ID); got != want {
			t.Errorf("online: %s", got)
		}
		seen := time.Now().UTC()
		if err := w.svc.SetOffline(t.Context(), b.ID, seen); err != nil {
			t.Fatal(err)
		}
		<-s.Ready()
		want := fmt.Sprintf(`{"PeersChangedPatch":[{"NodeID":%d,"Online":false,"LastSeen":%q}]}`, b.ID, seen.Format(time.RFC3339Nano))
		if got := w.text(s); got != want {
			t.Errorf("offline: %s, want %s", got, want)
		}
	})
}

// labels is a Visibility in which nodes whose names start with the same letter
// see each other.
type labels struct{}

func (labels) Class(n *tailnet.Node) Class {
	return Class{Tailnet: n.TailnetID, Group: uint64(n.GivenName[0])}
}
func (labels) Sees(c Class, n *tailnet.Node) bool { return uint64(n.GivenName[0]) == c.Group }
func (labels) Filters(n *tailnet.Node) map[string][]control.FilterRule {
	return map[string][]control.FilterRule{control.BaseFilter: {{SrcIPs: []string{n.GivenName}}}}
}

func TestVisibility(t *testing.T) {
	inWorld(t, Config{Visibility: labels{}}, func(t *testing.T, w *world) {
		x1, x2, y1, y2 := w.join("x1"), w.join("x2"), w.join("y1"), w.join("y2")
		time.Sleep(time.Second)
		sx, first := w.open(x1)
		if len(first.Peers) != 1 || first.Peers[0].ID != x2.ID {
			t.Fatalf("x1 sees %+v", first.Peers)
		}
		sy, _ := w.open(y1)
		s2, _ := w.open(x2)
		rename := func(n *tailnet.Node, name string) {
			t.Helper()
			if _, err := w.svc.RenameNode(t.Context(), admin, n.ID, name); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		w.endpoint(y2.ID, 1)
		time.Sleep(time.Second)
		if got := w.text(sx); got != "" {
			t.Errorf("x1 is told of y2: %s", got)
		}
		w.text(sy)
		rename(x2, "yy") // x2 leaves the view of x1 for that of y1 and y2
		if got, want := w.text(sx), fmt.Sprintf(`{"PeersRemoved":[%d]}`, x2.ID); got != want {
			t.Errorf("x1: %s", got)
		}
		got := w.decode(mustNext(t, sy))
		if len(got.PeersChanged) != 1 || got.PeersChanged[0].ID != x2.ID || len(got.UserProfiles) != 1 {
			t.Errorf("y1: %+v", got)
		}
		got = w.decode(mustNext(t, s2))
		if got.Node == nil || len(got.Peers) != 2 || got.PacketFilters[control.BaseFilter][0].SrcIPs[0] != "yy" {
			t.Errorf("x2 itself: %+v", got)
		}
		rename(x2, "alone")
		got = w.decode(mustNext(t, s2))
		if got.Node == nil || len(got.Peers) != 0 || !slices.Equal(got.PeersRemoved, []control.NodeID{x1.ID, y1.ID, y2.ID}) {
			t.Errorf("x2 alone: %+v", got)
		}
	})
}

func TestOmitPeers(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a, b := w.join("a"), w.join("b")
		time.Sleep(time.Second)
		s, err := w.hub.Open(a.ID, Options{OmitPeers: true})
		if err != nil {
			t.Fatal(err)
		}
		frame, err := s.First(t.Context())
		if err != nil || len(w.decode(frame).Peers) != 0 {
			t.Fatalf("first frame %s, %v", frame, err)
		}
		w.endpoint(b.ID, 1)
		time.Sleep(time.Second)
		if got := w.text(s); got != "" {
			t.Errorf("told of a peer: %s", got)
		}
		if _, err := w.svc.RenameNode(t.Context(), admin, a.ID, "z"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if got := w.decode(mustNext(t, s)); got.Node == nil || got.Node.Name != "z."+DefaultBaseDomain+"." {
			t.Errorf("not told of itself: %+v", got)
		}
	})
}

func TestStreamEnds(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a, b := w.join("a"), w.join("b")
		if _, err := w.hub.Open(99, Options{}); !errors.Is(err, ErrNoNode) {
			t.Errorf("Open of no node: %v", err)
		}
		s, _ := w.open(a)
		if err := w.svc.DeleteNode(t.Context(), admin, a.ID); err != nil {
			t.Fatal(err)
		}
		<-s.Ready()
		if _, err := s.Next(t.Context()); !errors.Is(err, ErrNoNode) {
			t.Errorf("node gone: %v", err)
		}
		s.Close()
		s.Close()
		if _, err := s.Next(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("stream closed: %v", err)
		}
		s, _ = w.open(b)
		w.hub.Close()
		<-s.Ready()
		if _, err := s.Next(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("hub closed: %v", err)
		}
		if _, err := w.hub.Open(b.ID, Options{}); !errors.Is(err, ErrClosed) {
			t.Errorf("Open after Close: %v", err)
		}
		if _, err := w.hub.Full(t.Context(), b.ID, Options{}); !errors.Is(err, ErrClosed) {
			t.Errorf("Full after Close: %v", err)
		}
	})
}

func TestFullWaitsForItsTurn(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a := w.join("a")
		for range cap(w.hub.slots) {
			w.hub.slots <- struct{}{}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := w.hub.Full(ctx, a.ID, Options{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("all slots taken: %v", err)
		}
		<-w.hub.slots
		if _, err := w.hub.Full(t.Context(), a.ID, Options{}); err != nil {
			t.Errorf("a slot free: %v", err)
		}
	})
}

// script is a Source under the test's control.
type script struct {
	snap *tailnet.Snapshot
	fn   func(tailnet.ChangeSet)
}

func (s *script) Subscribe(fn func(tailnet.ChangeSet)) (*tailnet.Snapshot, func()) {
	s.fn = fn
	return s.snap, func() {}
}

func TestLostStreamAndBoundedLog(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a, b := w.join("a"), w.join("b")
		src := &script{snap: w.svc.Snapshot()}
		hub := NewHub(src, Config{})
		defer hub.Close()
		lost, err := hub.Open(a.ID, Options{})
		if err != nil {
			t.Fatal(err)
		}
		keeps, err := hub.Open(a.ID, Options{})
		if err != nil {
			t.Fatal(err)
		}
		old := b
		for i := range 2 * maxLog {
			n := *old
			n.HomeDERP = i + 1
			src.fn(tailnet.ChangeSet{Snapshot: src.snap, Changes: []tailnet.Change{{
				TailnetID: n.TailnetID, Kind: tailnet.NodeChanged, Fields: tailnet.FieldHomeDERP, Old: old, New: &n,
			}}})
			old = &n
			if i%1000 == 0 {
				time.Sleep(time.Second)
				if _, err := keeps.Next(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		time.Sleep(time.Second)
		frame, err := keeps.Next(t.Context())
		if want := fmt.Sprintf(`{"PeersChangedPatch":[{"NodeID":%d,"DERPRegion":%d}]}`, b.ID, 2*maxLog); err != nil || string(frame[4:]) != want {
			t.Errorf("the stream that keeps up: %s, %v", frame[4:], err)
		}
		if _, err := lost.Next(t.Context()); !errors.Is(err, ErrBehind) {
			t.Errorf("the stream that does not: %v", err)
		}
		if len(hub.log) > maxLog {
			t.Errorf("the log has %d entries", len(hub.log))
		}
		if got := hub.Stats(); got.Lost != 1 || got.Streams != 2 {
			t.Errorf("stats %+v", got)
		}
	})
}

func TestStalledStreamHoldsNobodyUpForLong(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a, b := w.join("a"), w.join("b")
		time.Sleep(time.Second)
		w.open(a) // never takes anything
		s, _ := w.open(a)
		for port := 1; port < 5; port++ {
			start := time.Now()
			w.endpoint(b.ID, port)
			<-s.Ready()
			if d := time.Since(start); d > maxHold+DefaultCoalesce {
				t.Errorf("told after %v", d)
			}
			if got := w.text(s); got != patchText(b.ID, port) {
				t.Errorf("%s", got)
			}
		}
	})
}

func TestCacheForgets(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a := w.join("a")
		for i := range 300 {
			n := w.join(fmt.Sprintf("n%d", i))
			if _, err := w.hub.Full(t.Context(), a.ID, Options{}); err != nil {
				t.Fatal(err)
			}
			if err := w.svc.DeleteNode(t.Context(), admin, n.ID); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if n := len(w.hub.nodes.m); n > 100 {
			t.Errorf("%d nodes cached, 1 exists", n)
		}
	})
}

func TestPatch(t *testing.T) {
	base := tailnet.Node{ID: 5, Online: true, HomeDERP: 1, Cap: 113}
	disco := key.NewDisco().Public()
	when := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tt := range []struct {
		name   string
		change func(*tailnet.Node)
		want   string // "" for nothing
	}{
		{"nothing", func(n *tailnet.Node) { n.LockHead = "x" }, ""},
		{"disco", func(n *tailnet.Node) { n.Disco = disco }, fmt.Sprintf(`{"NodeID":5,"DiscoKey":%q}`, disco)},
		{"home", func(n *tailnet.Node) { n.HomeDERP = 9 }, `{"NodeID":5,"DERPRegion":9}`},
		{"version", func(n *tailnet.Node) { n.Cap = 120 }, `{"NodeID":5,"Cap":120}`},
		{"expiry", func(n *tailnet.Node) { n.KeyExpiry = when }, `{"NodeID":5,"KeyExpiry":"2030-01-02T03:04:05Z"}`},
		{"signature", func(n *tailnet.Node) { n.KeySignature = []byte{1} }, `{"NodeID":5,"KeySignature":"AQ=="}`},
		{"offline", func(n *tailnet.Node) { n.Online, n.LastSeen = false, when }, `{"NodeID":5,"Online":false,"LastSeen":"2030-01-02T03:04:05Z"}`},
		{"offline and more", func(n *tailnet.Node) { n.Online, n.HomeDERP = false, 2 }, `{"NodeID":5,"DERPRegion":2,"Online":false}`},
	} {
		n := base
		tt.change(&n)
		got := patch(&base, &n)
		if string(got.json) != tt.want || (got.kind == opPatch) != (tt.want != "") {
			t.Errorf("%s: %d %s, want %s", tt.name, got.kind, got.json, tt.want)
		}
	}
	never := base
	never.KeyExpiry = when
	if got := patch(&never, &base); string(got.json) != `{"NodeID":5,"KeyExpiry":"0001-01-01T00:00:00Z"}` {
		t.Errorf("never expires: %s", got.json)
	}
	off := base
	off.Online = false
	if got := patch(&off, &base); got.kind != opOnline {
		t.Errorf("online: %+v", got)
	}
	moved := base
	moved.HomeDERP = 4
	if got := patch(&off, &moved); string(got.json) != `{"NodeID":5,"DERPRegion":4,"Online":true}` {
		t.Errorf("online and more: %s", got.json)
	}
}

func TestPeersSeeBoundedHostinfo(t *testing.T) {
	long := strings.Repeat("é", 1<<18)
	full := &control.Hostinfo{
		OS: long, Hostname: long, GoVersion: long, Package: long,
		SSHHostKeys: slices.Repeat([]string{"ssh-ed25519 AAAA", long}, 1000),
		Services:    slices.Repeat([]control.Service{{Proto: control.ServicePeerAPI4, Port: 1, Description: long}, {Proto: "tcp"}}, 1000),
		Location:    &control.Location{City: long, Country: long, CityCode: long, CountryCode: "CH"},
	}
	out := mustJSON(peerHostinfo(full))
	if len(out) > 8<<10 {
		t.Errorf("peers are told %d bytes", len(out))
	}
	var back control.Hostinfo
	if err := json.Unmarshal(out, &back); err != nil || !strings.HasPrefix(long, back.Hostname) || len(back.SSHHostKeys) == 0 ||
		back.Location.CountryCode != "CH" || len(back.Services) == 0 || back.GoVersion != "" {
		t.Errorf("%+v, %v", back, err)
	}
}

func TestUserChanges(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a := w.join("a")
		time.Sleep(time.Second)
		s, _ := w.open(a)
		// A user without nodes is nobody's business.
		if _, err := w.svc.CreateUser(t.Context(), admin, tailnet.DefaultTailnet, tailnet.UserParams{LoginName: "v@example.com"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if got := w.text(s); got != "" {
			t.Errorf("told of a user without nodes: %s", got)
		}
		if _, err := w.svc.RenameUser(t.Context(), admin, w.user.ID, tailnet.UserParams{DisplayName: "U"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		want := fmt.Sprintf(`{"Domain":"tail.ginnel.internal","UserProfiles":[{"ID":%d,"LoginName":"u@example.com","DisplayName":"U"}]}`, w.user.ID)
		if got := w.text(s); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

func BenchmarkFullMap(b *testing.B) {
	svc, err := tailnet.Open(b.Context(), &tailnet.MemoryStore{}, tailnet.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer svc.Close()
	user, err := svc.CreateUser(b.Context(), admin, tailnet.DefaultTailnet, tailnet.UserParams{LoginName: "u"})
	if err != nil {
		b.Fatal(err)
	}
	_, secret, err := svc.CreateAuthKey(b.Context(), admin, tailnet.AuthKeyParams{UserID: user.ID, Reusable: true})
	if err != nil {
		b.Fatal(err)
	}
	for i := range 2000 {
		if _, err := svc.Register(b.Context(), tailnet.RegisterParams{
			Machine: key.NewMachine().Public(), NodeKey: key.NewNode().Public(), AuthKey: secret, Cap: 130,
			Hostinfo: &control.Hostinfo{OS: "linux", Hostname: fmt.Sprintf("node-%d", i)},
		}); err != nil {
			b.Fatal(err)
		}
	}
	hub := NewHub(svc, Config{})
	defer hub.Close()
	var size int
	for b.Loop() {
		frame, err := hub.Full(b.Context(), 7, Options{Compress: true})
		if err != nil {
			b.Fatal(err)
		}
		size = len(frame)
	}
	b.ReportMetric(float64(size), "bytes/map")
}

func TestSilentNodeIsNotSeen(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		s, _ := w.open(w.join("a"))
		b := w.register("b")
		synctest.Wait()
		if _, first := w.open(w.join("c")); slices.ContainsFunc(first.Peers, func(p *control.Node) bool { return p.ID == b.ID }) {
			t.Error("a node that has told nothing is in a first frame")
		}
		time.Sleep(time.Second)
		if got := w.text(s); strings.Contains(got, string(b.StableID)) {
			t.Errorf("told of a silent node: %s", got)
		}
		disco := key.NewDisco().Public()
		_, err := w.svc.UpdateNode(t.Context(), b.ID, tailnet.NodeUpdate{
			Disco: disco, Hostinfo: &control.Hostinfo{OS: "linux", Hostname: "b", NetInfo: &control.NetInfo{PreferredDERP: 7}},
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		var got control.MapResponse
		if err := json.Unmarshal([]byte(w.text(s)), &got); err != nil {
			t.Fatal(err)
		}
		if len(got.PeersChanged) != 1 || got.PeersChanged[0].DiscoKey != disco || got.PeersChanged[0].HomeDERP != 7 {
			t.Errorf("first mention: %+v", got)
		}
	})
}
