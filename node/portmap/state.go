package portmap

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/pcp"
)

// Protocol is how a gateway was asked.
type Protocol string

// The protocols.
const (
	PMP  Protocol = "NAT-PMP"
	PCP  Protocol = "PCP"
	UPnP Protocol = "UPnP"
)

// State is what a Mapper has reached. The zero value is nothing.
type State struct {
	// External is where the IPv4 port is reachable from outside. It is not valid while
	// there is no mapping.
	External netip.AddrPort
	// Via is how External is known, "" without one.
	Via Protocol
	// DoubleNAT says that External is not an address of the Internet but of another NAT's
	// inside, such as a carrier's: only who is behind that NAT too can use it.
	DoubleNAT bool
	// Pinhole is where the IPv6 port is reachable through the gateway's firewall. It is
	// not valid while there is no hole.
	Pinhole netip.AddrPort
	// Services are the protocols that the IPv4 gateway was heard to speak.
	Services Services
}

// Services tells which protocols a gateway speaks. Unset is: not known.
type Services struct{ PMP, PCP, UPnP control.OptBool }

// mapping is one that a gateway has granted.
type mapping struct {
	via       Protocol
	gateway   netip.Addr
	internal  netip.AddrPort
	external  netip.AddrPort
	doubleNAT bool
	renewAt   time.Time
	expires   time.Time
	nonce     pcp.Nonce // of PCP
	device    service   // of UPnP
}

// grant is what a gateway says that it granted.
type grant struct {
	via                Protocol
	internal, external netip.AddrPort
	lifetime           time.Duration
	device             service
}

// judge checks a grant and makes it a mapping of the session.
func (s *session) judge(g grant, now time.Time) (*mapping, error) {
	mp := &mapping{
		via: g.via, gateway: s.key.gateway, internal: s.internal(), external: g.external, nonce: s.nonce, device: g.device,
	}
	switch {
	case g.internal != mp.internal:
		return mp, fmt.Errorf("mapping leads to %v instead of %v", g.internal, mp.internal)
	case g.external.Port() == 0:
		return mp, fmt.Errorf("external port is 0")
	case g.lifetime < minLease:
		return mp, fmt.Errorf("lifetime of %v is too short", g.lifetime)
	}
	usable, public := judgeAddr(g.external.Addr(), s.key.self, s.key.gateway)
	if !usable {
		return mp, fmt.Errorf("external address %v cannot be one", g.external.Addr())
	}
	mp.doubleNAT = !public
	lifetime := min(g.lifetime, maxLease)
	mp.renewAt, mp.expires = now.Add(lifetime/2), now.Add(lifetime)
	return mp, nil
}

var (
	notAddress = []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"),
		netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("240.0.0.0/4"),
	}
	notPublic = []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
		netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("198.18.0.0/15"),
	}
)

func within(a netip.Addr, list []netip.Prefix) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// judgeAddr says whether an address can be that of a mapping of ours at all, and whether
// it is one of the Internet.
func judgeAddr(external, self, gateway netip.Addr) (usable, public bool) {
	if external.Is6() {
		usable = self.Is6() && external.IsGlobalUnicast() && !external.IsPrivate()
		return usable, usable
	}
	if !external.IsValid() || !self.Is4() || within(external, notAddress) {
		return false, false
	}
	public = !within(external, notPublic)
	return public || external != self && external != gateway, public
}
