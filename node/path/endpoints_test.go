package path

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ginnel/ginnel/node/netcheck"
	"github.com/ginnel/ginnel/wire/control"
)

func TestLocalAddrs(t *testing.T) {
	ifc := func(name string, up, loopback bool, addrs ...string) Interface {
		i := Interface{Name: name, Up: up, Loopback: loopback}
		for _, a := range addrs {
			i.Addrs = append(i.Addrs, netip.MustParsePrefix(a))
		}
		return i
	}
	lo := ifc("lo", true, true, "127.0.0.1/8", "::1/128")
	for _, c := range []struct {
		name string
		in   []Interface
		want []string
	}{
		{"ordinary", []Interface{lo, ifc("eth0", true, false, "192.168.1.5/24", "2001:db8::5/64", "fe80::1/64")}, []string{"192.168.1.5", "2001:db8::5"}},
		{"down", []Interface{lo, ifc("eth0", false, false, "192.168.1.5/24")}, []string{"127.0.0.1", "::1"}},
		{"loopback only", []Interface{lo}, []string{"127.0.0.1", "::1"}},
		{"tunnels", []Interface{ifc("tailscale0", true, false, "10.9.9.9/32"), ifc("eth0", true, false, "100.64.0.7/10", "10.0.0.1/8"),
			ifc("wt0", true, false, "10.7.0.1/16"), ifc("ztabcd", true, false, "10.8.0.1/16"), ifc("ginnel0", true, false, "10.6.0.1/16")}, []string{"10.0.0.1"}},
		{"virtual machines of ChromeOS", []Interface{ifc("eth0", true, false, "100.115.92.5/24")}, []string{"100.115.92.5"}},
		{"mesh IPv6", []Interface{ifc("eth0", true, false, "fd7a:115c:a1e0::5/128", "10.0.0.1/8")}, []string{"10.0.0.1"}},
		{"many IPv6", []Interface{ifc("eth0", true, false, "2001:db8::1/64", "2001:db8::2/64", "2001:db8::3/64", "2001:db8:1::1/64")},
			[]string{"2001:db8::1", "2001:db8::2", "2001:db8:1::1"}},
		{"link-local and unique local, if nothing else", []Interface{lo, ifc("eth0", true, false, "169.254.3.4/16", "fd00::5/64")}, []string{"169.254.3.4", "fd00::5"}},
		{"unique local next to better", []Interface{ifc("eth0", true, false, "10.0.0.1/8", "fd00::5/64")}, []string{"10.0.0.1"}},
		{"same twice", []Interface{ifc("eth0", true, false, "10.0.0.1/8"), ifc("eth1", true, false, "10.0.0.1/8")}, []string{"10.0.0.1"}},
		{"nothing", nil, nil},
	} {
		var want []netip.Addr
		for _, s := range c.want {
			want = append(want, netip.MustParseAddr(s))
		}
		if got := localAddrs(c.in); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", c.name, got, want)
		}
	}
}

func TestBuildEndpoints(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	ap := netip.MustParseAddrPort
	cache := new(endpointCache)
	in := endpointInput{
		report: &netcheck.Report{
			GlobalV4: ap("203.0.113.7:5000"), GlobalV6: ap("[2001:db8::7]:41641"), MappingVariesByDestIP: control.True,
			GlobalV4Counters: map[netip.AddrPort]int{ap("203.0.113.7:5000"): 1, ap("203.0.113.7:5001"): 2, ap("203.0.113.7:5002"): 1},
		},
		fixedPort: 41641, port4: 41641, port6: 41642, static: []netip.AddrPort{ap("198.51.100.9:1")},
		local: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::7")}, cache: cache, now: now,
	}
	want := []Endpoint{
		{ap("203.0.113.7:5000"), control.EndpointSTUN}, {ap("[2001:db8::7]:41641"), control.EndpointSTUN},
		{ap("203.0.113.7:5001"), control.EndpointSTUN}, {ap("203.0.113.7:41641"), control.EndpointSTUN4LocalPort},
		{ap("198.51.100.9:1"), control.EndpointExplicit}, {ap("10.0.0.1:41641"), control.EndpointLocal},
		{ap("[2001:db8::7]:41642"), control.EndpointLocal},
	}
	if got := buildEndpoints(in); !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	in.report, in.now = nil, now.Add(5*time.Minute)
	if got := buildEndpoints(in); len(got) != 7 {
		t.Errorf("after five minutes without STUN: %v, want the cached ones too", got)
	}
	in.now = now.Add(6 * time.Minute)
	if got := buildEndpoints(in); len(got) != 3 {
		t.Errorf("after six minutes: %v, want the cached ones gone", got)
	}
	for i := range 20 {
		cache.update(now, []Endpoint{{netip.AddrPortFrom(netip.MustParseAddr("203.0.113.7"), uint16(i+1)), control.EndpointSTUN}})
	}
	if got := cache.update(now, nil); len(got) != endpointCachePerIP || got[0].Addr.Port() != 20 {
		t.Errorf("cached %v, want the six newest", got)
	}
}

// TestPortMappedEndpoints has the gateway's address come first, unless it is one inside
// another translator.
func TestPortMappedEndpoints(t *testing.T) {
	external, pinhole := netip.MustParseAddrPort("203.0.113.7:4000"), netip.MustParseAddrPort("[2001:db8::7]:41641")
	local := netip.MustParseAddr("192.168.1.2")
	in := endpointInput{port4: 41641, local: []netip.Addr{local}, cache: &endpointCache{}, now: time.Unix(1, 0)}
	in.portmap = PortMapping{External: external, Pinhole: pinhole}
	got := buildEndpoints(in)
	if len(got) != 3 || got[0] != (Endpoint{external, control.EndpointPortMapped}) || got[1] != (Endpoint{pinhole, control.EndpointPortMapped}) {
		t.Errorf("endpoints %v", got)
	}
	in.cache, in.portmap.DoubleNAT = &endpointCache{}, true
	if got = buildEndpoints(in); len(got) != 3 || got[2] != (Endpoint{external, control.EndpointPortMapped}) {
		t.Errorf("behind two translators: %v", got)
	}
}
