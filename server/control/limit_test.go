package control

import (
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// A machine whose registrations fail again and again is told to wait, in the way
// that its version knows; nobody else at its address is, and a node that is in
// already neither.
func TestFailingRegistrationsAreHeldBack(t *testing.T) {
	h := newHarness(t, nil)
	bad := h.client("bad")
	var refused *control.RegisterResponse
	for range machineFailures {
		if refused = h.register(bad, withKey("gkey-auth-1-x")); refused.Error != tailnet.ErrAuthKeyInvalid.Error() {
			t.Fatalf("answer %+v", refused)
		}
	}
	if out := h.register(bad, func(r *control.RegisterRequest) { r.Version = versionRateLimit - 1 }); !strings.Contains(out.Error, "too many failed registrations") {
		t.Errorf("an older machine is told %+v", out)
	}
	// A good key does not help while it waits, and is not used up.
	good := h.authKey(tailnet.AuthKeyParams{})
	req := bad.RegisterRequest()
	req.Version = versionRateLimit
	withKey(good)(req)
	resp, err := bad.Do(h.ctx, http.MethodPost, "/machine/register", req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	wait, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if resp.StatusCode != http.StatusTooManyRequests || err != nil || wait < 1 || wait > 5 {
		t.Errorf("status %s, retry after %q", resp.Status, resp.Header.Get("Retry-After"))
	}

	other := h.client("other")
	if err := other.Join(h.ctx, good); err != nil {
		t.Errorf("another machine at the same address: %v", err)
	}
	for range machineFailures + 1 { // known nodes come back as often as they like
		if out := h.register(other, nil); out.Error != "" || !out.MachineAuthorized {
			t.Fatalf("a node that is in: %+v", out)
		}
	}
	now := time.Now()
	for range 2 * machineFailures {
		h.srv.limit.failed(other.Machine.Public(), netip.Addr{}, now)
	}
	if out := h.register(other, nil); out.Error != "" || !out.MachineAuthorized {
		t.Errorf("a node that is in, but failed before: %+v", out)
	}
}

// Asking for a login again and again counts, waiting for its answer does not.
func TestPendingLoginsAreHeldBack(t *testing.T) {
	h := newHarness(t, nil)
	c := h.client("c")
	var url string
	for range machineFailures {
		if url = h.register(c, nil).AuthURL; url == "" {
			t.Fatal("no login")
		}
	}
	h.wantStatus(c, http.MethodPost, "/machine/register", c.RegisterRequest(), http.StatusTooManyRequests, "try again")
	done := make(chan *control.RegisterResponse, 1)
	go func() {
		req := c.RegisterRequest()
		req.Followup = url
		out, err := c.Register(h.ctx, req)
		if err != nil {
			t.Error(err)
		}
		done <- out
	}()
	if _, err := h.svc.ApproveLogin(h.ctx, admin, url[strings.LastIndexByte(url, '/')+1:], h.user.ID, nil); err != nil {
		t.Fatal(err)
	}
	if out := <-done; out == nil || out.Error != "" || !out.MachineAuthorized {
		t.Errorf("answer %+v", out)
	}
}

func TestRegisterLimit(t *testing.T) {
	var l registerLimit
	l.init()
	now := time.Unix(1e9, 0)
	m := key.NewMachine().Public()
	home, same, far := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::ffff:2"), netip.MustParseAddr("2001:db8:0:1::1")
	for i := range machineFailures {
		if wait := l.wait(m, home, now); wait != 0 {
			t.Fatalf("wait %v after %d failures", wait, i)
		}
		l.failed(m, home, now)
	}
	if wait := l.wait(m, far, now); wait != machineFailuresIn {
		t.Errorf("wait %v", wait)
	}
	if wait := l.wait(m, far, now.Add(machineFailuresIn)); wait != 0 {
		t.Errorf("wait %v after the wait", wait)
	}
	for range addressFailures {
		l.failed(key.NewMachine().Public(), home, now)
	}
	stranger := key.NewMachine().Public()
	if l.wait(stranger, same, now) == 0 || l.wait(stranger, far, now) != 0 || l.wait(stranger, netip.Addr{}, now) != 0 {
		t.Error("the limit is not that of the network")
	}
	if wait := l.wait(stranger, home, now.Add(2*addressFailures*addressFailuresIn)); wait != 0 {
		t.Errorf("wait %v long after", wait)
	}
	for i := range uint32(10 * maxFailing) {
		a := netip.AddrFrom4([4]byte{byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)})
		l.failed(key.MachinePublicFromRaw32([32]byte{byte(i), byte(i >> 8), byte(i >> 16), 1}), a, now)
	}
	if a, b := len(l.machines.clear), len(l.addresses.clear); a > maxFailing || b > maxFailing || a == 0 || b == 0 {
		t.Errorf("%d machines and %d addresses are kept", a, b)
	}
	l.failed(m, home, now.Add(24*time.Hour))
	if n := len(l.machines.clear); n > maxFailing {
		t.Errorf("%d machines are kept", n)
	}
}
