package netmon

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/ginnel/ginnel/internal/testns"
)

func TestRealNetwork(t *testing.T) {
	if !testns.Enter(t) {
		return
	}
	testns.IP(t, "link", "add", "eth0", "type", "veth", "peer", "name", "peer0")
	testns.IP(t, "tuntap", "add", "dev", "tun0", "mode", "tun")
	m, err := New(Options{Tunnel: "tun0"})
	if err != nil {
		t.Fatal(err)
	}
	if s := m.State(); s.AnyUp() || s.DefaultInterface != "" || !s.Interfaces["lo"].Loopback {
		t.Errorf("state of an empty machine: %+v", s)
	}
	ctx, cancel := context.WithCancel(t.Context())
	changes := make(chan Change, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Run(ctx, func(c Change) { changes <- c })
	}()
	// until waits for a state for which f holds.
	until := func(what string, f func(*State) bool) (seen []Change) {
		t.Helper()
		timeout := time.After(20 * time.Second)
		for {
			if f(m.State()) {
				return seen
			}
			select {
			case c := <-changes:
				seen = append(seen, c)
			case <-timeout:
				t.Fatalf("%s: not noticed; state %+v", what, m.State())
			}
		}
	}
	testns.IP(t, "addr", "add", "192.0.2.5/24", "dev", "eth0")
	testns.IP(t, "link", "set", "peer0", "up")
	testns.IP(t, "link", "set", "eth0", "up")
	testns.IP(t, "route", "add", "default", "via", "192.0.2.1", "metric", "100")
	until("default route", func(s *State) bool {
		return s.DefaultInterface == "eth0" && s.Gateway == netip.MustParseAddr("192.0.2.1") && s.HaveV4
	})
	// The node's own interface and routes are no news.
	testns.IP(t, "link", "set", "tun0", "up")
	testns.IP(t, "addr", "add", "100.64.0.9/32", "dev", "tun0")
	testns.IP(t, "route", "add", "default", "dev", "tun0", "metric", "1")
	testns.IP(t, "addr", "add", "192.0.2.6/24", "dev", "eth0")
	for _, c := range until("second address", func(s *State) bool { return len(s.LocalAddrs()) == 2 }) {
		if c.New.DefaultInterface != "eth0" {
			t.Errorf("default interface %q", c.New.DefaultInterface)
		}
	}
	testns.IP(t, "link", "set", "peer0", "down")
	until("cable pulled", func(s *State) bool { return !s.AnyUp() })
	testns.IP(t, "link", "set", "peer0", "up")
	until("cable back", func(s *State) bool { return s.AnyUp() })
	cancel()
	<-done
}
