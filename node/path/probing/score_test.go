package probing

import (
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func quality(addr string, ms int) Quality {
	return Quality{Addr: netip.MustParseAddrPort(addr), Latency: time.Duration(ms) * time.Millisecond}
}

// TestBetter has the rows of wire document paths, section 10, and its rules.
func TestBetter(t *testing.T) {
	const pub4, other4, lan, lan2, pub6 = "203.0.113.1:1", "203.0.113.2:1", "10.0.0.2:1", "192.168.7.7:1", "[2001:db8::1]:1"
	withVNI := func(q Quality, vni uint32) Quality { q.VNI = vni; return q }
	withMTU := func(q Quality, mtu int) Quality { q.MTU = mtu; return q }
	for _, c := range []struct {
		name string
		a, b Quality
		want bool
	}{
		{"1 ms of 100", quality(pub4, 100), quality(other4, 101), false},
		{"3 ms of 100", quality(pub4, 100), quality(other4, 103), true},
		{"slower", quality(pub4, 103), quality(other4, 100), false},
		{"private, little slower", quality(lan, 100), quality(pub4, 91), true},
		{"private, much slower", quality(lan, 100), quality(pub4, 30), false},
		{"IPv6, little slower", quality(pub6, 100), quality(pub4, 91), true},
		{"IPv6, much slower", quality(pub6, 100), quality(pub4, 30), false},
		{"private over IPv6", quality(lan2, 100), quality(pub6, 101), true},
		{"loopback over private", quality("127.0.0.1:1", 10), quality(lan, 10), true},
		{"link-local over private", quality("169.254.1.1:1", 10), quality(lan, 10), true},
		{"carrier NAT is public", quality("100.64.0.1:1", 10), quality(pub4, 10), false},
		{"unique local over global", quality("[fd00::1]:1", 10), quality(pub6, 10), true},
		{"same address", quality(pub4, 10), quality(pub4, 100), false},
		{"same address, larger MTU", withMTU(quality(pub4, 100), 1500), withMTU(quality(pub4, 10), 1280), true},
		{"something over nothing", quality(pub4, 100), Quality{}, true},
		{"nothing over something", Quality{}, quality(pub4, 100), false},
		{"direct over relayed", quality(pub4, 300), withVNI(quality(other4, 1), 7), true},
		{"relayed over direct", withVNI(quality(other4, 1), 7), quality(pub4, 300), false},
		{"no latency at all", quality(pub4, 0), quality(other4, 0), false},
	} {
		if got := Better(c.a, c.b); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// TestBetterNeverBothWays has no pair of paths that replace each other in turn.
func TestBetterNeverBothWays(t *testing.T) {
	addrs := []string{"203.0.113.1:1", "203.0.113.2:2", "10.0.0.2:1", "[2001:db8::1]:1", "[fd00::1]:1", "127.0.0.1:1", "169.254.0.1:2"}
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) Quality {
			q := quality(rapid.SampledFrom(addrs).Draw(t, name), rapid.IntRange(0, 500).Draw(t, name+" ms"))
			q.VNI = rapid.Uint32Range(0, 1).Draw(t, name+" VNI")
			q.MTU = rapid.SampledFrom([]int{0, 1280, 1500}).Draw(t, name+" MTU")
			return q
		}
		a, b := draw("a"), draw("b")
		if Better(a, b) && Better(b, a) {
			t.Fatalf("%+v and %+v are each better than the other", a, b)
		}
	})
}
