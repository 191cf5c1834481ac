package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ginnel/ginnel/server/control/controltest"
	"github.com/ginnel/ginnel/server/maps"
	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

var admin = tailnet.Actor{Kind: tailnet.ActorAdmin, Name: "test"}

// harness is a server over real sockets, its model in memory.
type harness struct {
	t    *testing.T
	ctx  context.Context
	svc  *tailnet.Service
	hub  *maps.Hub
	srv  *Server
	http *httptest.Server
	key  key.MachinePublic
	user *tailnet.User
}

type setup struct {
	tailnet tailnet.Options
	config  Config
	tls     bool
}

func newHarness(t *testing.T, change func(*setup)) *harness {
	t.Helper()
	st := setup{config: Config{OfflineGrace: time.Millisecond}}
	if change != nil {
		change(&st)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	svc, err := tailnet.Open(ctx, &tailnet.MemoryStore{}, st.tailnet)
	if err != nil {
		t.Fatal(err)
	}
	hub := maps.NewHub(svc, maps.Config{Coalesce: time.Millisecond})
	st.config.Tailnet, st.config.Maps = svc, hub
	st.config.PrivateKey = key.NewMachine()
	st.config.Logger = slog.New(slog.NewTextHandler(logWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	srv, err := New(st.config)
	if err != nil {
		t.Fatal(err)
	}
	var hs *httptest.Server
	if st.tls {
		hs = httptest.NewTLSServer(srv.Handler())
	} else {
		hs = httptest.NewServer(srv.Handler())
	}
	t.Cleanup(func() {
		srv.Close()
		hs.Close()
		hub.Close()
		svc.Close()
	})
	user, err := svc.CreateUser(ctx, admin, tailnet.DefaultTailnet, tailnet.UserParams{LoginName: "ann@example.com", DisplayName: "Ann"})
	if err != nil {
		t.Fatal(err)
	}
	return &harness{t: t, ctx: ctx, svc: svc, hub: hub, srv: srv, http: hs, key: srv.PublicKey(), user: user}
}

// logWriter passes the server's log to the test's.
type logWriter struct{ t *testing.T }

func (w logWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", bytes.TrimSpace(p))
	return len(p), nil
}

func (h *harness) authKey(p tailnet.AuthKeyParams) string {
	h.t.Helper()
	p.UserID = h.user.ID
	_, secret, err := h.svc.CreateAuthKey(h.ctx, admin, p)
	if err != nil {
		h.t.Fatal(err)
	}
	return secret
}

func (h *harness) client(name string) *controltest.Client {
	c := controltest.New(controltest.Options{
		URL: h.http.URL, ServerKey: h.key,
		Hostinfo: &control.Hostinfo{OS: "linux", Hostname: name, BackendLogID: "x", GoVersion: "secret to peers"},
	})
	h.t.Cleanup(c.Close)
	return c
}

// join returns a client that has joined with a key of its own, and its node.
func (h *harness) join(name string, p tailnet.AuthKeyParams) (*controltest.Client, *tailnet.Node) {
	h.t.Helper()
	c := h.client(name)
	if err := c.Join(h.ctx, h.authKey(p)); err != nil {
		h.t.Fatal(err)
	}
	if err := c.Update(h.ctx, nil); err != nil { // others see it from now on
		h.t.Fatal(err)
	}
	return c, h.node(c)
}

func (h *harness) node(c *controltest.Client) *tailnet.Node {
	h.t.Helper()
	n := h.svc.Snapshot().NodeByKey(c.Node.Public())
	if n == nil {
		h.t.Fatal("node is not in the model")
	}
	return n
}

// watcher is a long poll whose frames can be waited for.
type watcher struct {
	t      *testing.T
	stream *controltest.Stream
	frames chan frame
}

type frame struct {
	raw []byte
	err error
}

func (h *harness) poll(c *controltest.Client) *watcher {
	h.t.Helper()
	s, err := c.Poll(h.ctx)
	if err != nil {
		h.t.Fatal(err)
	}
	w := &watcher{t: h.t, stream: s, frames: make(chan frame, 1024)}
	go func() {
		for {
			raw, err := s.Raw()
			w.frames <- frame{raw, err}
			if err != nil {
				return
			}
		}
	}()
	h.t.Cleanup(s.Close)
	return w
}

// next returns the next frame and its members.
func (w *watcher) next() (*control.MapResponse, []string) {
	w.t.Helper()
	select {
	case f := <-w.frames:
		if f.err != nil {
			w.t.Fatalf("stream ended: %v", f.err)
		}
		return decodeFrame(w.t, f.raw)
	case <-time.After(20 * time.Second):
		w.t.Fatal("no frame")
	}
	return nil, nil
}

// wantEnd waits for the stream to end. No frames but those in before may come first.
func (w *watcher) wantEnd(before ...string) {
	w.t.Helper()
	for {
		select {
		case f := <-w.frames:
			switch {
			case f.err == nil && slices.Contains(before, string(f.raw)):
				continue
			case f.err == nil:
				w.t.Fatalf("frame %s, want the end", f.raw)
			case !errors.Is(f.err, io.EOF):
				w.t.Fatalf("stream ended with %v, want a clean end", f.err)
			}
		case <-time.After(20 * time.Second):
			w.t.Fatal("stream goes on")
		}
		return
	}
}

// wantFrame waits for a frame that is want, JSON with members in any order.
func (w *watcher) wantFrame(want string) {
	w.t.Helper()
	select {
	case f := <-w.frames:
		if f.err != nil {
			w.t.Fatalf("stream ended: %v, want %s", f.err, want)
		}
		if canonical(w.t, f.raw) != canonical(w.t, []byte(want)) {
			w.t.Fatalf("frame %s, want %s", f.raw, want)
		}
	case <-time.After(20 * time.Second):
		w.t.Fatalf("no frame, want %s", want)
	}
}

func canonical(t *testing.T, raw []byte) string {
	t.Helper()
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func decodeFrame(t *testing.T, raw []byte) (*control.MapResponse, []string) {
	t.Helper()
	var resp control.MapResponse
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &resp); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	if err := json.Unmarshal(raw, &members); err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range members {
		names = append(names, name)
	}
	slices.Sort(names)
	return &resp, names
}

// eventually polls a condition.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// wantStatus checks the answer to a request inside Noise.
func (h *harness) wantStatus(c *controltest.Client, method, path string, body any, code int, text string) {
	h.t.Helper()
	resp, err := c.Do(h.ctx, method, path, body)
	if err != nil {
		h.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	if resp.StatusCode != code || !strings.Contains(string(got), text) {
		h.t.Errorf("%s %s: %s %q, want %d with %q", method, path, resp.Status, got, code, text)
	}
}

// each runs fn n times at once.
func each(n int, fn func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { fn(i) })
	}
	wg.Wait()
}
