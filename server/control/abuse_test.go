package control

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ginnel/ginnel/internal/connlimit"
	"github.com/ginnel/ginnel/internal/noiseconn"
	"github.com/ginnel/ginnel/server/control/controltest"
	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
	"github.com/ginnel/ginnel/wire/noise"
)

func counted(t *testing.T, c prometheus.Counter) int {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(c)
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return int(all[0].GetMetric()[0].GetCounter().GetValue())
}

// waitFor waits until a condition holds.
func (h *harness) waitFor(what string, ok func() bool) {
	h.t.Helper()
	for ; !ok(); time.Sleep(time.Millisecond) {
		if h.ctx.Err() != nil {
			h.t.Fatalf("still not so: %s", what)
		}
	}
}

// A machine that opens ever more connections loses its oldest, and no other machine
// loses any.
func TestConnectionsOfOneMachineAreBounded(t *testing.T) {
	h := newHarness(t, nil)
	other, _ := h.join("other", tailnet.AuthKeyParams{})
	w := h.poll(other)
	w.next()
	many := h.client("many")
	first, err := many.DialNoise(h.ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	for range maxMachineConns {
		c, err := many.DialNoise(h.ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	first.SetReadDeadline(time.Now().Add(20 * time.Second))
	for buf := make([]byte, 1024); ; {
		if _, err := first.Read(buf); err != nil {
			if ne, ok := err.(interface{ Timeout() bool }); ok && ne.Timeout() {
				t.Fatal("the oldest connection is still open")
			}
			break
		}
	}
	h.waitFor("counted", func() bool { return counted(t, h.srv.metrics.replaced) == 1 })
	h.waitFor("the rest is there", func() bool { return h.srv.machines.count() == maxMachineConns+1 })
	if err := h.svc.DeleteNode(h.ctx, admin, h.node(other).ID); err != nil {
		t.Fatal(err)
	}
	w.wantEnd() // it was open until now
}

// An address that makes too many handshakes is told to wait before the server spends
// any arithmetic on it.
func TestHandshakeFloodIsHeldBack(t *testing.T) {
	h := newHarness(t, nil)
	from := connlimit.Source(netip.MustParseAddr("127.0.0.1"))
	h.srv.upgrades.mu.Lock()
	h.srv.upgrades.addresses.clear[from] = time.Now().Add(addressUpgrades * addressUpgradesIn).Add(time.Minute)
	h.srv.upgrades.mu.Unlock()
	_, initiation, err := noise.NewInitiator(key.NewMachine(), h.key, 113)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(h.ctx, http.MethodPost, h.http.URL+noiseconn.UpgradePath, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Upgrade", noiseconn.UpgradeProtocol)
	req.Header.Set("Connection", "upgrade")
	req.Header.Set(noiseconn.HandshakeHeader, base64.StdEncoding.EncodeToString(initiation))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" {
		t.Errorf("status %s, retry after %q", resp.Status, resp.Header.Get("Retry-After"))
	}
	if n := counted(t, h.srv.metrics.upgradesLimited); n != 1 {
		t.Errorf("%d counted", n)
	}
	// Only this address.
	if wait := h.srv.upgrades.addresses.wait(connlimit.Source(netip.MustParseAddr("127.0.0.2")), time.Now()); wait != 0 {
		t.Errorf("another address waits %v", wait)
	}
}

// All nodes behind one address may come at once.
func TestManyHandshakesOfOneAddress(t *testing.T) {
	var l upgradeLimit
	l.init()
	from, now := connlimit.Source(netip.MustParseAddr("192.0.2.1")), time.Now()
	for i := range 5000 {
		if wait := l.addresses.wait(from, now); wait != 0 {
			t.Fatalf("handshake %d must wait %v", i, wait)
		}
		l.addresses.add(from, now)
	}
}

// Large requests of strangers wait for each other, and not for those of nodes.
func TestStrangersDoNotHoldUpLargeRequests(t *testing.T) {
	h := newHarness(t, nil)
	node, _ := h.join("node", tailnet.AuthKeyParams{})
	for range maxLargeBodies { // as many slow ones
		h.srv.large.strangers <- struct{}{}
	}
	large := func(c *controltest.Client) *control.Hostinfo {
		info := *c.Hostinfo
		info.Package = strings.Repeat("x", 2*smallBody)
		return &info
	}
	stranger := h.client("stranger")
	answer := make(chan error, 1)
	go func() {
		req := stranger.RegisterRequest()
		req.Hostinfo = large(stranger)
		_, err := stranger.Register(h.ctx, req)
		answer <- err
	}()
	if err := node.Update(h.ctx, func(r *control.MapRequest) { r.Hostinfo = large(node) }); err != nil {
		t.Fatal(err)
	}
	if got := h.node(node).Hostinfo.Package; len(got) != 2*smallBody {
		t.Errorf("%d bytes are stored", len(got))
	}
	small := h.client("small")
	if out := h.register(small, nil); out.AuthURL == "" { // honest strangers are small
		t.Errorf("a small request: %+v", out)
	}
	select {
	case err := <-answer:
		t.Fatalf("the large request was let through: %v", err)
	default:
	}
	<-h.srv.large.strangers
	if err := <-answer; err != nil {
		t.Error(err)
	}
	for range maxLargeBodies - 1 {
		<-h.srv.large.strangers
	}
}

// A request that finds no place in time is refused, and counted.
func TestLargeRequestsDoNotWaitForEver(t *testing.T) {
	h := newHarness(t, nil)
	for range maxLargeBodies {
		h.srv.large.strangers <- struct{}{}
	}
	ctx, cancel := context.WithCancel(h.ctx)
	c := h.client("c")
	req := c.RegisterRequest()
	req.Hostinfo = &control.Hostinfo{Package: strings.Repeat("x", 2*smallBody)}
	done := make(chan error, 1)
	go func() {
		_, err := c.Register(ctx, req)
		done <- err
	}()
	cancel()
	if err := <-done; err == nil {
		t.Error("answered without a place")
	}
	h.waitFor("the place in the row of readers is free", func() bool { return h.srv.machines.count() <= 1 })
	if out := h.register(h.client("d"), nil); out.AuthURL == "" {
		t.Errorf("another: %+v", out)
	}
}
