package filter

import (
	"net/netip"
	"testing"

	"github.com/ginnel/ginnel/internal/packet"
	"github.com/ginnel/ginnel/wire/control"
)

func TestJailedPeersOpenNothing(t *testing.T) {
	jailed := []netip.Prefix{netip.PrefixFrom(addr(peer4), 32)}
	grant := control.FilterRule{SrcIPs: []string{"*"}, CapGrant: []control.CapGrant{{
		Dsts: []netip.Prefix{netip.PrefixFrom(addr(self4), 32)}, CapMap: control.PeerCapMap{"x": nil},
	}}}
	rules := []control.FilterRule{rule([]string{"*"}, nil, dst("*", 0, 65535)), grant}
	other := addr("100.64.0.77")
	for name, c := range map[string]Config{"jailed": {Rules: rules, Jailed: jailed}, "free": {Rules: rules}} {
		c.Local, c.Self = local, []netip.Addr{addr(self4)}
		p, err := Compile(c)
		if err != nil {
			t.Fatal(err)
		}
		want := name == "free"
		if got := p.Allows(packet.TCP, addr(peer4), ap(self4, 22)); got != want {
			t.Errorf("%s: opening is %v", name, got)
		}
		if got := p.Allows(packet.ICMPv4, addr(peer4), ap(self4, 0)); got != want {
			t.Errorf("%s: a ping is %v", name, got)
		}
		if got := p.CapsFor(addr(peer4)) != nil; got != want {
			t.Errorf("%s: capabilities are %v", name, got)
		}
		if !p.Allows(packet.TCP, other, ap(self4, 22)) || p.CapsFor(other) == nil {
			t.Errorf("%s: another peer is kept out", name)
		}
	}
	// What this node opens is answered.
	f := New()
	p, err := Compile(Config{Rules: rules, Local: local, Jailed: jailed})
	if err != nil {
		t.Fatal(err)
	}
	f.Set(p)
	f.Out(udp(self4, 9, peer4, 53))
	if f.In(udp(peer4, 53, self4, 9)) != packet.Accept {
		t.Error("the answer of a jailed peer was dropped")
	}
	if f.In(udp(peer4, 54, self4, 9)) == packet.Accept {
		t.Error("a jailed peer opened a flow")
	}
}

func TestRulesForUnsignedPeersAreNotTrusted(t *testing.T) {
	unsigned := []netip.Prefix{netip.PrefixFrom(addr(peer4), 32)}
	other := addr("100.64.0.77")
	for src, trusted := range map[string]bool{"100.64.0.77": true, "*": false, peer4: false, "100.64.0.0/10": false, "cap:a": false, "cap:b": true} {
		p, err := Compile(Config{
			Rules: []control.FilterRule{rule([]string{"100.64.0.77"}, nil, dst("*", 22, 22)), rule([]string{src}, nil, dst("*", 80, 80))},
			Local: local, Unsigned: unsigned,
			SourcesWithCap: func(name string) []netip.Prefix {
				if name == "a" {
					return unsigned
				}
				return nil
			},
		})
		if (err == nil) != trusted {
			t.Errorf("%s: %v", src, err)
		}
		if got := p.Allows(packet.TCP, other, ap(self4, 22)); got != trusted {
			t.Errorf("%s: the other rule is %v", src, got)
		}
		if p.Allows(packet.TCP, addr(peer4), ap(self4, 80)) {
			t.Errorf("%s: an unsigned peer is let in", src)
		}
	}
}
