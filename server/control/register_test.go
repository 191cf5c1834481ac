package control

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ginnel/ginnel/server/control/controltest"
	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

func (h *harness) register(c *controltest.Client, change func(*control.RegisterRequest)) *control.RegisterResponse {
	h.t.Helper()
	req := c.RegisterRequest()
	if change != nil {
		change(req)
	}
	out, err := c.Register(h.ctx, req)
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

func withKey(secret string) func(*control.RegisterRequest) {
	return func(r *control.RegisterRequest) { r.Auth = &control.RegisterAuth{AuthKey: secret} }
}

func TestJoinAndRestart(t *testing.T) {
	h := newHarness(t, nil)
	secret := h.authKey(tailnet.AuthKeyParams{})
	c := h.client("a")
	out := h.register(c, withKey(secret))
	if out.Error != "" || out.AuthURL != "" || out.NodeKeyExpired || !out.MachineAuthorized ||
		out.User.ID != h.user.ID || out.Login.LoginName != "ann@example.com" || out.User.DisplayName != "Ann" {
		t.Fatalf("join: %+v", out)
	}
	id := h.node(c).ID
	// A restart with the key or without it changes nothing, spent as it is.
	for _, change := range []func(*control.RegisterRequest){nil, withKey(secret)} {
		if out := h.register(c, change); out.Error != "" || out.AuthURL != "" || out.Login.LoginName == "" {
			t.Fatalf("restart: %+v", out)
		}
	}
	if n := h.node(c); n.ID != id || h.svc.Snapshot().NodeCount() != 1 {
		t.Errorf("restart made another node")
	}
	// The same machine over a new connection is the same node.
	again := controltest.New(controltest.Options{URL: h.http.URL, Machine: c.Machine, Node: c.Node})
	defer again.Close()
	if out := h.register(again, nil); out.Error != "" || out.AuthURL != "" {
		t.Fatalf("new connection: %+v", out)
	}
	// Another machine may not have its node key.
	thief := h.client("thief")
	thief.Node = c.Node
	if out := h.register(thief, nil); out.Error == "" {
		t.Fatalf("another machine: %+v", out)
	}
}

func TestAuthKeyRefusals(t *testing.T) {
	h := newHarness(t, nil)
	used := h.authKey(tailnet.AuthKeyParams{})
	if err := h.client("first").Join(h.ctx, used); err != nil {
		t.Fatal(err)
	}
	k, revoked, err := h.svc.CreateAuthKey(h.ctx, admin, tailnet.AuthKeyParams{UserID: h.user.ID})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.svc.RevokeAuthKey(h.ctx, admin, k.ID); err != nil {
		t.Fatal(err)
	}
	for secret, want := range map[string]string{
		"nonsense": tailnet.ErrAuthKeyInvalid.Error(),
		used:       tailnet.ErrAuthKeyUsed.Error(),
		revoked:    tailnet.ErrAuthKeyRevoked.Error(),
	} {
		c := h.client("c")
		if out := h.register(c, withKey(secret)); !strings.Contains(out.Error, want) || out.AuthURL != "" {
			t.Errorf("key %q: %+v, want %q", secret, out, want)
		}
		if h.svc.Snapshot().NodeByKey(c.Node.Public()) != nil {
			t.Errorf("key %q made a node", secret)
		}
	}
}

func TestOneOffKeyIsUsedOnce(t *testing.T) {
	h := newHarness(t, nil)
	secret := h.authKey(tailnet.AuthKeyParams{})
	var won, refused atomic.Int32
	each(50, func(int) {
		c := h.client("c")
		req := c.RegisterRequest()
		req.Auth = &control.RegisterAuth{AuthKey: secret}
		out, err := c.Register(h.ctx, req)
		switch {
		case err != nil:
			t.Error(err)
		case out.Error == "":
			won.Add(1)
		default:
			refused.Add(1)
		}
	})
	if won.Load() != 1 || refused.Load() != 49 || h.svc.Snapshot().NodeCount() != 1 {
		t.Errorf("%d joined, %d were refused, %d nodes", won.Load(), refused.Load(), h.svc.Snapshot().NodeCount())
	}
}

func TestInteractiveLogin(t *testing.T) {
	h := newHarness(t, func(s *setup) { s.config.PublicURL = "https://mesh.example/" })
	c := h.client("a")
	out := h.register(c, nil)
	id, ok := strings.CutPrefix(out.AuthURL, "https://mesh.example/register/")
	if !ok || id == "" || out.Error != "" {
		t.Fatalf("register: %+v", out)
	}
	follow := func(ctx context.Context) chan *control.RegisterResponse {
		answers := make(chan *control.RegisterResponse, 1)
		go func() {
			req := c.RegisterRequest()
			req.Followup = out.AuthURL
			resp, err := c.Register(ctx, req)
			if err != nil && ctx.Err() == nil {
				t.Error(err)
			}
			answers <- resp
		}()
		return answers
	}
	// A follow-up whose connection is lost leaves the login pending.
	ctx, cancel := context.WithCancel(h.ctx)
	lost := follow(ctx)
	cancel()
	<-lost
	held := follow(h.ctx)
	select {
	case resp := <-held:
		t.Fatalf("answered before the decision: %+v", resp)
	default:
	}
	if _, err := h.svc.ApproveLogin(h.ctx, admin, id, h.user.ID, nil); err != nil {
		t.Fatal(err)
	}
	if resp := <-held; resp.Error != "" || resp.AuthURL != "" || resp.Login.LoginName != "ann@example.com" || resp.NodeKeyExpired {
		t.Fatalf("approved: %+v", resp)
	}
	// Asked again, the answer is the same.
	if resp := <-follow(h.ctx); resp.Error != "" || resp.AuthURL != "" || resp.Login.LoginName == "" {
		t.Fatalf("asked again: %+v", resp)
	}
	if resp, _ := h.poll(c).next(); resp.Node.Key != c.Node.Public() {
		t.Fatal("the map has another node")
	}
}

func TestInteractiveLoginDenied(t *testing.T) {
	h := newHarness(t, nil)
	c := h.client("a")
	out := h.register(c, nil)
	if !strings.HasPrefix(out.AuthURL, h.http.URL+"/register/") {
		t.Fatalf("register: %+v", out)
	}
	held := make(chan *control.RegisterResponse)
	go func() {
		req := c.RegisterRequest()
		req.Followup = out.AuthURL
		resp, err := c.Register(h.ctx, req)
		if err != nil {
			t.Error(err)
		}
		held <- resp
	}()
	id := out.AuthURL[strings.LastIndex(out.AuthURL, "/")+1:]
	if err := h.svc.DenyLogin(h.ctx, admin, id); err != nil {
		t.Fatal(err)
	}
	// Denied, or asked after that: refused, or offered a new login.
	if resp := <-held; resp.Error == "" && (resp.AuthURL == "" || resp.AuthURL == out.AuthURL) {
		t.Fatalf("denied: %+v", resp)
	}
	for _, followup := range []string{"https://elsewhere/x", "://", "/register/"} {
		if out := h.register(c, func(r *control.RegisterRequest) { r.Followup = followup }); out.Error != "invalid followup URL" {
			t.Errorf("followup %q: %+v", followup, out)
		}
	}
	gone := h.register(c, func(r *control.RegisterRequest) { r.Followup = "https://x/register/gone" })
	if gone.Error != "" || gone.AuthURL == "" {
		t.Errorf("login that is gone: %+v", gone)
	}
}

func TestLogoutAndExpiredNode(t *testing.T) {
	h := newHarness(t, nil)
	a, _ := h.join("a", tailnet.AuthKeyParams{})
	b, bn := h.join("b", tailnet.AuthKeyParams{})
	wa, wb := h.poll(a), h.poll(b)
	wa.next()
	wb.next()
	eventually(t, "both online", func() bool { return h.node(a).Online && h.node(b).Online })
	past := time.Unix(123, 0).UTC()
	// The configured auth key comes along and must not save the node.
	out := h.register(b, func(r *control.RegisterRequest) {
		r.Expiry = past
		withKey(h.authKey(tailnet.AuthKeyParams{Reusable: true}))(r)
	})
	if out.Error != "" || out.AuthURL != "" {
		t.Fatalf("logout: %+v", out)
	}
	expired := func(w *watcher, self bool) bool {
		resp, _ := w.next()
		if self {
			return resp.Node != nil && resp.Node.Expired && !resp.Node.KeyExpiry.IsZero()
		}
		return len(resp.PeersChanged) == 1 && resp.PeersChanged[0].ID == bn.ID && resp.PeersChanged[0].Expired
	}
	for !expired(wa, false) {
	}
	for !expired(wb, true) {
	}
	// Its map is still served, since that is how it learns.
	if resp, _ := h.poll(b).next(); !resp.Node.Expired {
		t.Error("first frame of an expired node does not say so")
	}
	// At its next start it is told to make a new key, and then to log in.
	if out := h.register(b, nil); !out.NodeKeyExpired || out.AuthURL != "" || out.Error != "" {
		t.Fatalf("start with the expired key: %+v", out)
	}
	old := b.Node
	b.Node = key.NewNode()
	out = h.register(b, func(r *control.RegisterRequest) { r.OldNodeKey = old.Public() })
	if out.NodeKeyExpired || out.AuthURL == "" {
		t.Fatalf("start with a new key: %+v", out)
	}
	out = h.register(b, func(r *control.RegisterRequest) {
		r.OldNodeKey = old.Public()
		withKey(h.authKey(tailnet.AuthKeyParams{}))(r)
	})
	if out.Error != "" || h.node(b).ID != bn.ID || h.node(b).Expired(time.Now()) {
		t.Fatalf("login with a new key: %+v", out)
	}
}

func TestKeyRunsOut(t *testing.T) {
	h := newHarness(t, nil)
	a, _ := h.join("a", tailnet.AuthKeyParams{})
	b, bn := h.join("b", tailnet.AuthKeyParams{})
	wa, wb := h.poll(a), h.poll(b)
	wa.next()
	wb.next()
	if _, err := h.svc.ExpireNode(h.ctx, admin, bn.ID, time.Now().Add(50*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	for seen := false; !seen; { // first the new expiry, then its passing
		resp, _ := wa.next()
		seen = len(resp.PeersChanged) == 1 && resp.PeersChanged[0].Expired
	}
	for seen := false; !seen; {
		resp, _ := wb.next()
		seen = resp.Node != nil && resp.Node.Expired
	}
}

func TestEphemeralNodeGoes(t *testing.T) {
	h := newHarness(t, func(s *setup) { s.tailnet.EphemeralTimeout = 20 * time.Millisecond })
	a, _ := h.join("a", tailnet.AuthKeyParams{})
	wa := h.poll(a)
	wa.next()
	b, bn := h.join("b", tailnet.AuthKeyParams{Ephemeral: true})
	wb := h.poll(b)
	wb.next()
	eventually(t, "b is online", func() bool { return h.node(b).Online })
	wb.stream.Close()
	for gone := false; !gone; {
		resp, _ := wa.next()
		gone = len(resp.PeersRemoved) == 1 && resp.PeersRemoved[0] == bn.ID
	}
	// Logging out removes one at once.
	c, _ := h.join("c", tailnet.AuthKeyParams{Ephemeral: true})
	h.register(c, func(r *control.RegisterRequest) { r.Expiry = time.Unix(123, 0) })
	if h.svc.Snapshot().NodeByKey(c.Node.Public()) != nil {
		t.Error("logged out, but still there")
	}
}

func TestFutureExpiry(t *testing.T) {
	h := newHarness(t, func(s *setup) { s.tailnet.NodeKeyExpiry = time.Hour })
	c, n := h.join("a", tailnet.AuthKeyParams{})
	sooner := n.KeyExpiry.Add(-time.Minute)
	if out := h.register(c, func(r *control.RegisterRequest) { r.Expiry = sooner }); out.Error != "" || !h.node(c).KeyExpiry.Equal(sooner) {
		t.Errorf("sooner: %+v, expiry %v", out, h.node(c).KeyExpiry)
	}
	if out := h.register(c, func(r *control.RegisterRequest) { r.Expiry = sooner.Add(time.Hour) }); out.Error != tailnet.ErrExtendExpiry.Error() {
		t.Errorf("later: %+v", out)
	}
}

// What is too large to keep is refused in words, to a joining node and to one that
// is in.
func TestTooLargeHostinfo(t *testing.T) {
	h := newHarness(t, nil)
	a, _ := h.join("a", tailnet.AuthKeyParams{})
	large := *a.Hostinfo
	large.DeviceModel = strings.Repeat("x", 64<<10)
	req := a.MapRequest()
	req.OmitPeers, req.Hostinfo = true, &large
	h.wantStatus(a, http.MethodPost, "/machine/map", req, http.StatusRequestEntityTooLarge, "host information of")
	b := h.client("b")
	b.Hostinfo = &large
	if out := h.register(b, withKey(h.authKey(tailnet.AuthKeyParams{}))); !strings.Contains(out.Error, "too large") {
		t.Errorf("answer %+v", out)
	}
}
