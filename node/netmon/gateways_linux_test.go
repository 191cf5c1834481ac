package netmon

import (
	"net/netip"
	"testing"

	"github.com/ginnel/ginnel/internal/testns"
)

// TestSystemGateways reads default routes of both families, of which another is better
// than the tunnel's.
func TestSystemGateways(t *testing.T) {
	if !testns.Enter(t) {
		return
	}
	none, err := SystemGateways("tun0")
	if err != nil || none != (Gateways{}) {
		t.Errorf("without a network: %+v, %v", none, err)
	}
	for _, args := range [][]string{
		{"link", "add", "lan0", "type", "veth", "peer", "name", "far0"}, {"link", "add", "tun0", "type", "veth", "peer", "name", "far1"},
		{"addr", "add", "10.9.9.9/24", "dev", "lan0"}, {"addr", "add", "192.168.7.20/24", "dev", "lan0"},
		{"addr", "add", "2001:db8:7::20/64", "dev", "lan0", "nodad"}, {"addr", "add", "fd00:7::20/64", "dev", "lan0", "nodad"},
		{"addr", "add", "100.64.0.9/32", "dev", "tun0"},
		{"link", "set", "lan0", "up"}, {"link", "set", "tun0", "up"}, {"link", "set", "far0", "up"}, {"link", "set", "far1", "up"},
		{"route", "add", "default", "via", "192.168.7.1", "dev", "lan0", "metric", "100"},
		{"route", "add", "default", "dev", "tun0", "metric", "1"},
		{"-6", "route", "add", "default", "via", "fe80::1", "dev", "lan0"},
	} {
		testns.IP(t, args...)
	}
	got, err := SystemGateways("tun0")
	want := Gateways{
		V4: Gateway{netip.MustParseAddr("192.168.7.1"), netip.MustParseAddr("192.168.7.20"), "lan0"},
		V6: Gateway{netip.MustParseAddr("fe80::1%lan0"), netip.MustParseAddr("2001:db8:7::20"), "lan0"},
	}
	if err != nil || got != want {
		t.Errorf("gateways %+v, %v, want %+v", got, err, want)
	}
}
