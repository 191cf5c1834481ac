package relay

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	rclient "github.com/ginnel/ginnel/relay/client"
	"github.com/ginnel/ginnel/wire/key"
)

func TestParseRateLimit(t *testing.T) {
	l, err := ParseRateLimit([]byte(`{"PerClientRateLimitBytesPerSec": 1000000, "PerClientRateBurstBytes": 500000}`))
	if err != nil || l != (RateLimit{1000000, 500000}) {
		t.Errorf("%+v, %v", l, err)
	}
	for _, bad := range []string{``, `[]`, `{"PerClientRateLimit": 1}`, `{"PerClientRateLimitBytesPerSec": -1}`,
		`{"PerClientRateBurstBytes": -1}`, `{"PerClientRateBurstBytes": 9999999999}`, `{"PerClientRateLimitBytesPerSec": 1.5}`} {
		if l, err := ParseRateLimit([]byte(bad)); err == nil {
			t.Errorf("%s: %+v", bad, l)
		}
	}
	if _, err := New(Config{RateLimit: RateLimit{BytesPerSecond: -1}}); err == nil {
		t.Error("a relay with such a limit")
	}
}

// The reader waits as long as it takes for what it has read to be within the limit,
// and not for what fits the burst.
func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New(Config{RateLimit: RateLimit{BytesPerSecond: 1000, Burst: 1}})
		if err != nil {
			t.Fatal(err)
		}
		var th throttle
		took := func(n int) time.Duration {
			start := time.Now()
			th.wait(&s.rateLimit, n, s)
			return time.Since(start)
		}
		if d := took(minBurst); d != 0 {
			t.Errorf("the burst took %v", d)
		}
		if d := took(5000); d != 5*time.Second {
			t.Errorf("5000 bytes took %v", d)
		}
		if d := took(2 * minBurst); d.Round(time.Second) != 131*time.Second {
			t.Errorf("more than a burst took %v", d)
		}
		if got := s.stats.rateWaits.Load(); got != 2 {
			t.Errorf("%d waits counted", got)
		}
		if err := s.SetRateLimit(RateLimit{BytesPerSecond: 1 << 20, Burst: 1 << 20}); err != nil {
			t.Fatal(err)
		}
		if d := took(1 << 20); d != 0 {
			t.Errorf("the new burst took %v", d)
		}
		if d := took(1 << 19); d != time.Second/2 {
			t.Errorf("at the new rate half a mebibyte took %v", d)
		}
		if err := s.SetRateLimit(RateLimit{}); err != nil {
			t.Fatal(err)
		}
		if d := took(1 << 30); d != 0 {
			t.Errorf("without a limit: %v", d)
		}
		// The end of the relay ends the waiting.
		if err := s.SetRateLimit(RateLimit{BytesPerSecond: 1}); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Minute, func() { s.Close() })
		if d := took(1 << 20); d != time.Minute {
			t.Errorf("a closed relay ended the wait after %v", d)
		}
	})
}

// Over the limit nothing is lost: the sender waits. A relay of the region does not.
func TestRateLimitLosesNothing(t *testing.T) {
	mesh := key.NewMeshKey()
	r := startRelay(t, Config{RateLimit: RateLimit{BytesPerSecond: 2 << 20, Burst: minBurst}, MeshKey: mesh})
	a, b := r.dial(t, rclient.Options{}), r.dial(t, rclient.Options{PrivateKey: key.NewNode()})
	peer := r.dial(t, rclient.Options{MeshKey: mesh})
	bKey := rclientKey(t, r, b)
	const packets, size = 300, 1000
	send := func(c *rclient.Conn) {
		for i := range packets {
			p := make([]byte, size)
			p[0] = byte(i)
			if err := c.SendBatch(bKey, [][]byte{p}); err != nil {
				t.Error(err)
			}
		}
	}
	recv := func() {
		for i := range packets {
			m, err := b.Recv()
			if err != nil || m.Kind != rclient.KindPacket || m.Data[0] != byte(i) {
				t.Fatalf("packet %d: %+v, %v", i, m.Kind, err)
			}
		}
	}
	go send(peer)
	recv()
	if got := r.stats.rateWaits.Load(); got != 0 {
		t.Errorf("a relay of the region waited %d times", got)
	}
	go send(a)
	recv()
	if got := r.stats.rateWaits.Load(); got == 0 {
		t.Error("nobody waited")
	}
}

// rclientKey returns the key that the relay knows a client by.
func rclientKey(t *testing.T, r *testRelay, c *rclient.Conn) key.NodePublic {
	t.Helper()
	var found key.NodePublic
	r.table.each(func(p *peer) {
		if d := p.active.Load(); d != nil && d.addr == c.LocalAddr() {
			found = p.key
		}
	})
	if found.IsZero() {
		t.Fatal("the relay does not know the client")
	}
	return found
}

// Before a restart every client is told, each with a time of its own, and the notice
// is out when Restart returns.
func TestRestartIsTold(t *testing.T) {
	r := startRelay(t, Config{})
	var conns []*rclient.Conn
	for range 5 {
		conns = append(conns, r.dial(t, rclient.Options{}))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r.Restart(ctx, time.Hour, 7*time.Second)
	if ctx.Err() != nil {
		t.Fatal("the notices were not written")
	}
	r.Close()
	waits := map[time.Duration]bool{}
	for _, c := range conns {
		m, err := c.Recv()
		if err != nil || m.Kind != rclient.KindRestarting {
			t.Fatalf("%+v, %v", m, err)
		}
		if m.Restarting.TryFor != 7*time.Second || m.Restarting.ReconnectIn > time.Hour {
			t.Errorf("notice %+v", m.Restarting)
		}
		waits[m.Restarting.ReconnectIn] = true
		if _, err := c.Recv(); err == nil {
			t.Error("the connection goes on")
		}
	}
	if len(waits) < 2 {
		t.Error("all come back at the same moment")
	}
}

// A key that has ever more connections loses the oldest.
func TestConnectionsOfOneKeyAreBounded(t *testing.T) {
	r := startRelay(t, Config{})
	priv := key.NewNode()
	first := r.dial(t, rclient.Options{PrivateKey: priv})
	for range maxConnsPerKey {
		r.dial(t, rclient.Options{PrivateKey: priv})
	}
	if m, err := first.Recv(); err == nil {
		t.Fatalf("the oldest goes on: %+v", m)
	}
	if got := r.stats.dupConnsClosed.Load(); got != 1 {
		t.Errorf("%d counted", got)
	}
}

// Round-trip times come from the socket under TLS; what has none is told apart.
func TestRTTIsSampled(t *testing.T) {
	r := startRelay(t, Config{})
	r.dial(t, rclient.Options{})
	r.table.each(func(p *peer) { r.stats.noteRTT(p.active.Load().raw) })
	r.stats.noteRTT(&shortWrites{})
	var total, quick int64
	for i := range r.stats.rtt {
		total += r.stats.rtt[i].Load()
	}
	for i := range rttInf + 1 {
		quick += r.stats.rtt[i].Load()
	}
	if total != 2 || quick != 1 || r.stats.rtt[rttNonTCP].Load() != 1 {
		t.Errorf("%d samples, %d with a time", total, quick)
	}
	for want, rtt := range map[int]time.Duration{0: 10 * time.Millisecond, 1: 11 * time.Millisecond, 6: 400 * time.Millisecond, rttInf: time.Second} {
		if got := rttBucket(rtt, nil); got != want {
			t.Errorf("%v is in bucket %s, want %s", rtt, rttLabels[got], rttLabels[want])
		}
	}
	if got := rttBucket(0, context.Canceled); got != rttError {
		t.Errorf("a failure is in bucket %s", rttLabels[got])
	}
}
