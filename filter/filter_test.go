package filter

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"github.com/ginnel/ginnel/internal/packet"
	"github.com/ginnel/ginnel/wire/control"
)

const (
	self4 = "100.64.0.9"
	self6 = "fd7a:115c:a1e0::9"
	peer4 = "100.64.0.1"
	peer6 = "fd7a:115c:a1e0::1"
	else4 = "100.64.0.2"
)

func addr(s string) netip.Addr                { return netip.MustParseAddr(s) }
func ap(s string, port uint16) netip.AddrPort { return netip.AddrPortFrom(addr(s), port) }

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func prefixes(s ...string) (out []netip.Prefix) {
	for _, x := range s {
		out = append(out, netip.MustParsePrefix(x))
	}
	return out
}

var local = prefixes(self4+"/32", self6+"/128", "10.20.0.0/16")

func dst(ip string, firstPort, lastPort uint16) control.NetPortRange {
	return control.NetPortRange{IP: ip, Ports: control.PortRange{First: firstPort, Last: lastPort}}
}

func rule(src []string, protos []int, dsts ...control.NetPortRange) control.FilterRule {
	return control.FilterRule{SrcIPs: src, IPProto: protos, DstPorts: dsts}
}

func compile(t testing.TB, c Config) *Program {
	t.Helper()
	if c.Local == nil {
		c.Local = local
	}
	p, err := Compile(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func newFilter(t testing.TB, rules ...control.FilterRule) *Filter {
	f := New()
	f.Set(compile(t, Config{Rules: rules}))
	return f
}

func syn(src, dst string, port uint16) []byte {
	return must(packet.AppendTCP(nil, ap(src, 4000), ap(dst, port), packet.TCPSyn, 1, 0, nil))
}

func udp(src string, sport uint16, dst string, dport uint16) []byte {
	return must(packet.AppendUDP(nil, ap(src, sport), ap(dst, dport), []byte("x")))
}

func raw(proto packet.Proto, src, dst string, body []byte) []byte {
	return must(packet.AppendIP(nil, addr(src), addr(dst), proto, body))
}

func TestInbound(t *testing.T) {
	f := newFilter(t,
		rule([]string{peer4, peer6}, nil, dst(self4, 22, 22), dst(self6, 22, 22), dst(self4, 8000, 8010)),
		rule([]string{"100.64.0.3-100.64.0.5"}, []int{6}, dst("10.20.0.0/16", 0, 65535)),
		rule([]string{"100.64.0.6"}, []int{47, 132, 0, 999}, dst("*", 0, 65535)),
		rule([]string{"100.64.0.7"}, []int{47}, dst("*", 1, 65535)),
		rule([]string{"100.64.0.8"}, []int{0, 256}, dst("*", 0, 65535)),
		rule([]string{"*"}, []int{17}, dst("*", 53, 53)),
	)
	echo := func(src, dst string, reply bool) []byte {
		return must(packet.AppendEcho(nil, addr(src), addr(dst), reply, 1, 1, nil))
	}
	sctp := func(src string) []byte { return raw(packet.SCTP, src, self4, make([]byte, 12)) }
	frag := func(offset byte) []byte {
		b := raw(packet.TCP, else4, self4, make([]byte, 40))
		b[7] = offset
		return b
	}
	unreachable := echo(else4, self4, true)
	unreachable[20] = packet.ICMPv4Unreachable
	for _, c := range []struct {
		name string
		pkt  []byte
		want Verdict
	}{
		{"keep-alive", nil, packet.Accept},
		{"short", []byte{0x45, 0}, packet.Drop},
		{"garbage", make([]byte, 60), packet.Drop},
		{"allowed port", syn(peer4, self4, 22), packet.Accept},
		{"allowed port v6", syn(peer6, self6, 22), packet.Accept},
		{"range start", syn(peer4, self4, 8000), packet.Accept},
		{"range end", syn(peer4, self4, 8010), packet.Accept},
		{"behind range", syn(peer4, self4, 8011), packet.RefuseACL},
		{"port of the other family", syn(peer6, self6, 8000), packet.RefuseACL},
		{"other source", syn(else4, self4, 22), packet.RefuseACL},
		{"not a local destination", syn(peer4, "100.64.0.10", 22), packet.Drop},
		{"udp where all of tcp, udp, icmp", udp(peer4, 1, self4, 22), packet.Accept},
		{"continuation", must(packet.AppendTCP(nil, ap(else4, 1), ap(self4, 1), packet.TCPAck, 1, 1, nil)), packet.Accept},
		{"syn-ack", must(packet.AppendTCP(nil, ap(else4, 1), ap(self4, 1), packet.TCPSyn|packet.TCPAck, 1, 1, nil)), packet.Accept},
		{"syn with fin", must(packet.AppendTCP(nil, ap(else4, 1), ap(self4, 1), packet.TCPSyn|packet.TCPFin, 1, 1, nil)), packet.RefuseACL},
		{"range of sources", syn("100.64.0.4", "10.20.3.4", 80), packet.Accept},
		{"range of sources, last", syn("100.64.0.5", "10.20.3.4", 80), packet.Accept},
		{"behind range of sources", syn("100.64.0.6", "10.20.3.4", 80), packet.RefuseACL},
		{"tcp rule, udp packet", udp("100.64.0.4", 1, "10.20.3.4", 80), packet.Drop},
		{"ping ignores ports and protocols", echo("100.64.0.4", "10.20.3.4", false), packet.Accept},
		{"ping to another destination", echo("100.64.0.4", "10.21.3.4", false), packet.Drop},
		{"echo reply", echo(else4, self4, true), packet.Accept},
		{"icmp error", unreachable, packet.Accept},
		{"gre with all ports", raw(47, "100.64.0.6", self4, make([]byte, 20)), packet.Accept},
		{"gre with 1-65535", raw(47, "100.64.0.7", self4, make([]byte, 20)), packet.Drop},
		{"gre without rule", raw(47, peer4, self4, make([]byte, 20)), packet.Drop},
		{"sctp", sctp("100.64.0.6"), packet.Accept},
		{"sctp without rule", sctp("100.64.0.7"), packet.Drop},
		{"only impossible protocols", syn("100.64.0.8", self4, 80), packet.RefuseACL},
		{"wildcard source and destination", udp("203.0.113.1", 9, self4, 53), packet.Accept},
		{"wildcard does not widen local", udp("203.0.113.1", 9, "8.8.8.8", 53), packet.Drop},
		{"multicast", udp(peer4, 1, "224.0.0.251", 53), packet.Drop},
		{"link-local", udp(peer6, 1, "fe80::1", 53), packet.Drop},
		{"tsmp", must(packet.AppendPing(nil, addr(else4), addr(self4), [8]byte{})), packet.Accept},
		{"later fragment", frag(10), packet.Accept},
		{"overlapping fragment", frag(1), packet.Drop},
		{"icmpv6 in ipv4 is no echo reply", raw(packet.ICMPv6, else4, self4, []byte{129, 0, 0, 0, 0, 0, 0, 0}), packet.Drop},
	} {
		if got := f.In(c.pkt); got != c.want {
			t.Errorf("%s: verdict %d, want %d", c.name, got, c.want)
		}
	}
	in, _ := f.Dropped()
	for _, r := range []Reason{ReasonTooShort, ReasonUnknown, ReasonMulticast, ReasonLinkLocal, ReasonDestination, ReasonACL} {
		if in[r] == 0 {
			t.Errorf("no drop counted for %v", r)
		}
	}
}

func TestNothingPassesAsTCPBehindBrokenHeaders(t *testing.T) {
	f := newFilter(t, rule([]string{"*"}, []int{6, 17}, dst("*", 0, 65535)))
	tcp := syn(peer6, self6, 22)[40:]
	for _, next := range []uint8{0, 43, 44, 60} {
		for _, length := range []byte{1, 5, 31, 255} {
			body := append([]byte{6, length, 0, 1, 0, 0, 0, 0}, tcp...)
			got := f.In(raw(packet.Proto(next), peer6, self6, body))
			// With these lengths the TCP header would lie outside or in the
			// middle of the segment; a fragment header has no length.
			if next != 44 && got == packet.Accept {
				t.Errorf("next header %d of length %d: accepted", next, length)
			}
		}
	}
}

func TestReturnPath(t *testing.T) {
	f := newFilter(t)
	if v := f.In(udp(peer4, 53, self4, 4444)); v != packet.Drop {
		t.Fatal("answer accepted before the question")
	}
	if v := f.Out(udp(self4, 4444, peer4, 53)); v != packet.Accept {
		t.Fatal("question dropped")
	}
	if v := f.In(udp(peer4, 53, self4, 4444)); v != packet.Accept {
		t.Error("answer dropped")
	}
	for _, p := range [][]byte{udp(else4, 53, self4, 4444), udp(peer4, 54, self4, 4444), udp(peer4, 53, self4, 4445)} {
		if f.In(p) != packet.Drop {
			t.Error("a flow that was not opened came in")
		}
	}
	// New rules keep the flow, shields going up cut it.
	f.Set(compile(t, Config{}))
	if v := f.In(udp(peer4, 53, self4, 4444)); v != packet.Accept {
		t.Error("new rules cut an open flow")
	}
	f.Set(compile(t, Config{ShieldsUp: true}))
	if v := f.In(udp(peer4, 53, self4, 4444)); v != packet.Drop {
		t.Error("flow survived shields going up")
	}
	f.Out(udp(self4, 4444, peer4, 53))
	if v := f.In(udp(peer4, 53, self4, 4444)); v != packet.Accept {
		t.Error("shields up forbid an answer")
	}
}

func TestFlowTableIsBounded(t *testing.T) {
	f := newFilter(t)
	const hot = 9
	for i := range 100_000 {
		f.Out(udp(self4, uint16(10+i%60000), peer4, uint16(1000+i/60000)))
		f.Out(udp(self4, hot, peer4, hot))
	}
	if f.In(udp(peer4, hot, self4, hot)) != packet.Accept {
		t.Error("a flow in constant use was forgotten")
	}
	known := 0
	for i := range 100_000 {
		if f.In(udp(peer4, uint16(1000+i/60000), self4, uint16(10+i%60000))) == packet.Accept {
			known++
		}
	}
	if known == 0 || known > flowSets*flowWays {
		t.Errorf("%d flows remembered, at most %d expected", known, flowSets*flowWays)
	}
}

func TestShieldsUp(t *testing.T) {
	f := New()
	f.Set(compile(t, Config{ShieldsUp: true, Rules: []control.FilterRule{
		rule([]string{"*"}, nil, dst("*", 0, 65535)),
		{SrcIPs: []string{"*"}, CapGrant: []control.CapGrant{{Dsts: prefixes(self4 + "/32"), CapMap: control.PeerCapMap{"x": nil}}}},
	}, Self: []netip.Addr{addr(self4)}, PeerAPI: []netip.AddrPort{ap(self4, 9999)}}))
	if v := f.In(syn(peer4, self4, 22)); v != packet.RefuseShieldsUp {
		t.Errorf("verdict %d", v)
	}
	if v := f.In(syn(peer4, self4, 9999)); v != packet.Accept {
		t.Errorf("peer API verdict %d", v)
	}
	if c := f.CapsFor(addr(peer4)); c != nil {
		t.Errorf("capabilities %v", c)
	}
}

func TestOutbound(t *testing.T) {
	f := New()
	for _, c := range []struct {
		name string
		pkt  []byte
		want Verdict
	}{
		{"tcp", syn(self4, peer4, 22), packet.Accept},
		{"gre", raw(47, self4, peer4, make([]byte, 8)), packet.Accept},
		{"tsmp from the host", must(packet.AppendPing(nil, addr(self4), addr(peer4), [8]byte{})), packet.Drop},
		{"multicast", udp(self4, 1, "224.0.0.251", 5353), packet.Drop},
		{"multicast v6", udp(self6, 1, "ff02::fb", 5353), packet.Drop},
		{"link-local", udp(self4, 1, "169.254.1.1", 80), packet.Drop},
		{"metadata", udp(self4, 1, "169.254.169.254", 80), packet.Accept},
		{"short", []byte{0x60}, packet.Drop},
	} {
		if got := f.Out(c.pkt); got != c.want {
			t.Errorf("%s: verdict %d, want %d", c.name, got, c.want)
		}
	}
	if _, out := f.Dropped(); out[ReasonMulticast] != 2 || out[ReasonControl] != 1 {
		t.Errorf("drops counted: %v", out)
	}
}

func TestCompileSkipsBadEntriesOnly(t *testing.T) {
	p, err := Compile(Config{Local: local, Rules: []control.FilterRule{
		rule([]string{"nonsense", "10.0.0.1/8", "fe80::1%eth0", "100.64.0.5-100.64.0.3", peer4}, nil,
			dst("bad", 1, 1), dst(self4, 9, 3), dst(self4, 22, 22)),
	}})
	if err == nil {
		t.Error("bad entries are not reported")
	}
	if !p.Allows(packet.TCP, addr(peer4), ap(self4, 22)) {
		t.Error("the good part of the rule is gone")
	}
	if p.Allows(packet.TCP, addr("10.0.0.2"), ap(self4, 22)) {
		t.Error("a prefix with host bits was taken")
	}
}

func TestObsoleteBitsRefuseEverything(t *testing.T) {
	eight := 8
	wide := rule([]string{"*"}, nil, dst("*", 0, 65535))
	for _, bad := range []control.FilterRule{
		{SrcIPs: []string{peer4}, SrcBits: []int{8}, DstPorts: wide.DstPorts},
		{SrcIPs: []string{peer4}, DstPorts: []control.NetPortRange{{IP: self4, Bits: &eight}}},
	} {
		p, err := Compile(Config{Local: local, Rules: []control.FilterRule{wide, bad}})
		if err == nil || p.Allows(packet.TCP, addr(peer4), ap(self4, 22)) {
			t.Errorf("obsolete fields accepted: %v", err)
		}
	}
}

func TestCapSources(t *testing.T) {
	p := compile(t, Config{
		Rules: []control.FilterRule{rule([]string{"cap:web"}, nil, dst(self4, 80, 80))},
		SourcesWithCap: func(c string) []netip.Prefix {
			if c == "web" {
				return prefixes(peer4 + "/32")
			}
			return nil
		},
	})
	if !p.Allows(packet.TCP, addr(peer4), ap(self4, 80)) || p.Allows(packet.TCP, addr(else4), ap(self4, 80)) {
		t.Error("cap: source does not stand for the peers that have it")
	}
	if p.Allows(packet.ICMPv4, addr(else4), ap(self4, 0)) || !p.Allows(packet.ICMPv4, addr(peer4), ap(self4, 0)) {
		t.Error("cap: source and ping")
	}
}

func TestCaps(t *testing.T) {
	val := func(s string) []control.RawMessage { return []control.RawMessage{json.RawMessage(s)} }
	grant := func(src, dst string, m control.PeerCapMap) control.FilterRule {
		return control.FilterRule{SrcIPs: []string{src}, CapGrant: []control.CapGrant{{Dsts: prefixes(dst), CapMap: m}}}
	}
	f := New()
	f.Set(compile(t, Config{Self: []netip.Addr{addr(self4), addr(self6)}, Rules: []control.FilterRule{
		grant(peer4, self4+"/32", control.PeerCapMap{"a": val(`1`), "empty": nil}),
		grant("*", self4+"/32", control.PeerCapMap{"a": val(`2`)}),
		grant(peer6, self6+"/128", control.PeerCapMap{"six": nil}),
		grant(peer4, "100.64.0.77/32", control.PeerCapMap{"other": nil}),
	}}))
	got := f.CapsFor(addr(peer4))
	if fmt.Sprintf("%s", got["a"]) != "[1 2]" || !got.Has("empty") || got.Has("other") || got.Has("six") {
		t.Errorf("capabilities of peer: %s", got)
	}
	if got := f.CapsFor(addr(else4)); fmt.Sprintf("%s", got["a"]) != "[2]" {
		t.Errorf("capabilities of anyone: %s", got)
	}
	if got := f.CapsFor(addr(peer6)); !got.Has("six") || len(got) != 1 {
		t.Errorf("capabilities over IPv6: %s", got)
	}
	if !f.Program().CapsBetween(addr(peer4), addr("100.64.0.77")).Has("other") {
		t.Error("capability towards a service address is missing")
	}
}

// TestTableAgainstNaive compares the segment table with a scan of all ranges.
func TestTableAgainstNaive(t *testing.T) {
	var rules []control.FilterRule
	for i := range 150 {
		rules = append(rules, rule([]string{
			fmt.Sprintf("100.64.%d.0/24", i), fmt.Sprintf("100.64.%d.7-100.64.%d.200", i/2, i/2+1),
		}, nil, dst(self4, uint16(i), uint16(i))))
	}
	p := compile(t, Config{Rules: rules})
	for i := range 150 {
		for _, host := range []int{0, 6, 7, 8, 199, 200, 201, 255} {
			for _, net := range []int{i, i / 2, i/2 + 1, i + 1} {
				src := netip.AddrFrom4([4]byte{100, 64, byte(net), byte(host)})
				n, lo, hi := net*256+host, i/2*256+7, (i/2+1)*256+200
				want := net == i || n >= lo && n <= hi
				if got := p.Allows(packet.TCP, src, ap(self4, uint16(i))); got != want {
					t.Fatalf("rule %d, source %v: %v, want %v", i, src, got, want)
				}
			}
		}
	}
}

func TestLastAddressOfAFamily(t *testing.T) {
	p := compile(t, Config{Rules: []control.FilterRule{
		rule([]string{"255.255.255.255", "0.0.0.0"}, nil, dst(self4, 1, 1)),
		rule([]string{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}, nil, dst(self6, 1, 1)),
	}})
	for src, want := range map[string]bool{"255.255.255.255": true, "0.0.0.0": true, "255.255.255.254": false, "0.0.0.1": false} {
		if got := p.Allows(packet.TCP, addr(src), ap(self4, 1)); got != want {
			t.Errorf("%s: %v", src, got)
		}
	}
	if !p.Allows(packet.TCP, addr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), ap(self6, 1)) {
		t.Error("last IPv6 address is not found")
	}
}

func TestConcurrentUse(t *testing.T) {
	f := newFilter(t)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 100 {
				f.Out(udp(self4, uint16(i), peer4, uint16(g+1)))
				if f.In(udp(peer4, uint16(g+1), self4, uint16(i))) != packet.Accept {
					t.Errorf("flow %d of %d was forgotten at once", i, g)
					return
				}
				if i%10 == 0 {
					f.Set(compile(t, Config{}))
				}
			}
		})
	}
	wg.Wait()
}

func TestPerPacketAllocations(t *testing.T) {
	f := newFilter(t, rule([]string{"*"}, nil, dst("*", 80, 80)))
	out, back, open := udp(self6, 1, peer6, 9), udp(peer6, 9, self6, 1), syn(peer4, self4, 80)
	f.Out(out)
	if n := testing.AllocsPerRun(200, func() { f.Out(out); f.In(back); f.In(open) }); n != 0 {
		t.Errorf("%v allocations for three packets", n)
	}
}

func FuzzFilter(f *testing.F) {
	f.Add(syn(peer4, self4, 22))
	f.Add(udp(peer6, 1, self6, 53))
	f.Add(must(packet.AppendPing(nil, addr(peer4), addr(self4), [8]byte{})))
	flt := New()
	flt.Set(compile(f, Config{Rules: []control.FilterRule{rule([]string{peer4, peer6}, []int{6}, dst("*", 22, 22))}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		v := flt.In(b)
		var p packet.Parsed
		if p.Decode(b) != nil && len(b) > 0 && v == packet.Accept {
			t.Fatal("unreadable packet accepted")
		}
		if v == packet.Accept && p.IsTCPSyn() && p.DstPort != 22 {
			t.Fatalf("connection to port %d accepted", p.DstPort)
		}
	})
}

func FuzzCompile(f *testing.F) {
	f.Add([]byte(`[{"SrcIPs":["*","10.0.0.0/8","a-b"],"DstPorts":[{"IP":"*","Ports":{"First":0,"Last":65535}}]}]`))
	f.Add([]byte(`[{"SrcIPs":["100.64.0.1"],"CapGrant":[{"Dsts":["100.64.0.9/32"],"CapMap":{"x":null}}]}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var rules []control.FilterRule
		if json.Unmarshal(b, &rules) != nil {
			return
		}
		p, _ := Compile(Config{Rules: rules, Local: local})
		p.Allows(packet.TCP, addr(peer4), ap(self4, 22))
		p.CapsBetween(addr(peer4), addr(self4))
	})
}

func benchRules() []control.FilterRule {
	var rules []control.FilterRule
	for i := range 500 {
		rules = append(rules, rule([]string{fmt.Sprintf("100.%d.%d.0/24", 64+i/256, i%256)}, nil, dst(self4, uint16(i), uint16(i))))
	}
	return rules
}

func BenchmarkInTCPContinuation(b *testing.B) {
	f := newFilter(b, benchRules()...)
	pkt := must(packet.AppendTCP(nil, ap(peer4, 1), ap(self4, 1), packet.TCPAck, 1, 1, make([]byte, 1200)))
	b.ReportAllocs()
	for b.Loop() {
		f.In(pkt)
	}
}

func BenchmarkInUDPByRule(b *testing.B) {
	f := newFilter(b, benchRules()...)
	pkt := udp("100.65.1.1", 9, self4, 257)
	b.ReportAllocs()
	for b.Loop() {
		if f.In(pkt) != packet.Accept {
			b.Fatal("dropped")
		}
	}
}

func BenchmarkOutUDP(b *testing.B) {
	f := newFilter(b)
	pkt := udp(self4, 9, peer4, 257)
	b.ReportAllocs()
	for b.Loop() {
		f.Out(pkt)
	}
}
