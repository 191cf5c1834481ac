package tunnel

import (
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ginnel/ginnel/node/tun/tuntest"
	"github.com/ginnel/ginnel/wire/key"
)

// TestDiffIsSmall has what is told to WireGuard for typical changes.
func TestDiffIsSmall(t *testing.T) {
	a, b := key.NewNode().Public(), key.NewNode().Public()
	prefix := func(list ...string) (out []netip.Prefix) {
		for _, s := range list {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	one := Config{Peers: []PeerConfig{{Key: a, AllowedIPs: prefix("100.64.0.1/32")}}}
	two := Config{Peers: []PeerConfig{one.Peers[0], {Key: b, AllowedIPs: prefix("100.64.0.2/32"), PersistentKeepalive: 25 * time.Second}}}
	moved := Config{Peers: []PeerConfig{{Key: b, AllowedIPs: prefix("100.64.0.2/32", "100.64.0.1/32"), PersistentKeepalive: 25 * time.Second}, {Key: a}}}
	twice := Config{Peers: []PeerConfig{one.Peers[0], {Key: b, AllowedIPs: prefix("100.64.0.1/32")}}}
	ka, kb := a.UntypedHex(), b.UntypedHex()
	for _, c := range []struct {
		name     string
		from, to Config
		want     string
	}{
		{"nothing", two, two, ""},
		{"added", one, two, "public_key=" + kb + "\nendpoint=" + kb + "\npersistent_keepalive_interval=25\nallowed_ip=100.64.0.2/32\n"},
		{"removed", two, one, "public_key=" + kb + "\nremove=true\n"},
		{"moved", two, moved, "public_key=" + kb + "\nallowed_ip=100.64.0.1/32\npublic_key=" + ka + "\nallowed_ip=-100.64.0.1/32\n"},
		{"claimed twice", one, twice, "public_key=" + kb + "\nendpoint=" + kb + "\n"},
	} {
		var got strings.Builder
		writeDiff(&got, resolve(c.from), resolve(c.to))
		if got.String() != c.want {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got.String(), c.want)
		}
	}
}

// TestApplyReachesAnyState goes through arbitrary configurations and reads back what
// WireGuard has after each.
func TestApplyReachesAnyState(t *testing.T) {
	tun, err := New(tuntest.New(1280, 1), newDeaf(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tun.Close()
	self := key.NewNode()
	keys := []key.NodePublic{self.Public()}
	for range 5 {
		keys = append(keys, key.NewNode().Public())
	}
	prefixes := []string{"100.64.0.1/32", "100.64.0.2/32", "10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0", "fd7a:115c:a1e0::1/128", "::/0"}
	rapid.Check(t, func(t *rapid.T) {
		cfg := Config{PrivateKey: self}
		for range rapid.IntRange(0, 6).Draw(t, "peers") {
			p := PeerConfig{Key: rapid.SampledFrom(keys).Draw(t, "key")}
			p.PersistentKeepalive = time.Duration(rapid.IntRange(0, 1).Draw(t, "keepalive")) * time.Hour
			for _, s := range rapid.SliceOfN(rapid.SampledFrom(prefixes), 0, 4).Draw(t, "allowed") {
				p.AllowedIPs = append(p.AllowedIPs, netip.MustParsePrefix(s))
			}
			cfg.Peers = append(cfg.Peers, p)
		}
		if err := tun.Apply(cfg); err != nil {
			t.Fatal(err)
		}
		want, got := resolve(cfg), tun.actual()
		same := maps.EqualFunc(want, got, func(a, b peerState) bool {
			return a.keepalive == b.keepalive && maps.Equal(a.allowed, b.allowed)
		})
		if !same {
			t.Fatalf("WireGuard has %v, want %v", got, want)
		}
	})
}
