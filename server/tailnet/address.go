package tailnet

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// The ranges that the protocol gives to nodes, by section 10.4 of the wire
// document control. Ranges outside them break what nodes assume.
var (
	DefaultIPv4 = netip.MustParsePrefix("100.64.0.0/10")
	DefaultIPv6 = netip.MustParsePrefix("fd7a:115c:a1e0::/48")
)

var (
	// mappedIPv6 holds one IPv6 address for every IPv4 address of DefaultIPv4:
	// the last three bytes are the same.
	mappedIPv6 = netip.MustParsePrefix("fd7a:115c:a1e0:ab12:4843:cd96:6200::/104")

	// reservedIPv4 are never given to a node: the resolver and local services,
	// and addresses that ChromeOS uses inside.
	reservedIPv4 = []netip.Prefix{
		netip.MustParsePrefix("100.100.100.100/32"),
		netip.MustParsePrefix("100.115.92.0/23"),
	}
	// reservedIPv6 are never given to a node: the resolver, the placeholder at
	// the base of the mapped range, and the ranges with other meanings.
	reservedIPv6 = []netip.Prefix{
		netip.MustParsePrefix("fd7a:115c:a1e0::53/128"),
		netip.PrefixFrom(mappedIPv6.Addr(), 128),
		netip.MustParsePrefix("fd7a:115c:a1e0:b1a::/64"),
		netip.MustParsePrefix("fd7a:115c:a1e0:efe3::/64"),
	}
)

// CheckRanges reports what is wrong with the ranges that an operator chose for
// node addresses. A zero Prefix stands for the default.
func CheckRanges(v4, v6 netip.Prefix) error {
	_, err := newAddrPool(v4, v6)
	return err
}

// addrPool hands out addresses. It belongs to the loop.
type addrPool struct {
	v4, v6 netip.Prefix
	// last is the IPv4 address handed out last: going on from there keeps a
	// freed address unused for as long as possible.
	last netip.Addr
}

func newAddrPool(v4, v6 netip.Prefix) (addrPool, error) {
	if !v4.IsValid() {
		v4 = DefaultIPv4
	}
	if !v6.IsValid() {
		v6 = DefaultIPv6
	}
	if v4 != v4.Masked() || v6 != v6.Masked() {
		return addrPool{}, fmt.Errorf("address range %s or %s has bits set behind its length", v4, v6)
	}
	if !v4.Addr().Is4() || v4.Bits() < DefaultIPv4.Bits() || !DefaultIPv4.Contains(v4.Addr()) || v4.Bits() > 30 {
		return addrPool{}, fmt.Errorf("IPv4 range %s must lie within %s and be a /30 or larger", v4, DefaultIPv4)
	}
	if !v6.Addr().Is6() || v6.Bits() < DefaultIPv6.Bits() || !DefaultIPv6.Contains(v6.Addr()) || v6.Bits() > 104 {
		return addrPool{}, fmt.Errorf("IPv6 range %s must lie within %s and be a /104 or larger", v6, DefaultIPv6)
	}
	return addrPool{v4: v4, v6: v6, last: v4.Addr()}, nil
}

// sawAddr notes an address that a node has already.
func (p *addrPool) sawAddr(a netip.Addr) {
	if p.v4.Contains(a) && p.last.Less(a) {
		p.last = a
	}
}

// next returns free addresses for a new node.
func (p *addrPool) next(taken func(netip.Addr) bool) (v4, v6 netip.Addr, err error) {
	v4 = p.last
	for range 1 << (32 - p.v4.Bits()) {
		if v4 = v4.Next(); !p.v4.Contains(v4) {
			v4 = p.v4.Addr()
		}
		if p.reserved4(v4) || taken(v4) {
			continue
		}
		if v6 = p.map6(v4); reserved(reservedIPv6, v6) || taken(v6) {
			continue
		}
		p.last = v4
		return v4, v6, nil
	}
	return netip.Addr{}, netip.Addr{}, ErrPoolEmpty
}

func (p *addrPool) reserved4(a netip.Addr) bool {
	first := a == p.v4.Addr()
	last := !p.v4.Contains(a.Next())
	return first || last || reserved(reservedIPv4, a)
}

// map6 returns the IPv6 address that goes with an IPv4 address: in the mapped
// range by default, else at the end of the chosen range.
func (p *addrPool) map6(v4 netip.Addr) netip.Addr {
	base := p.v6
	if base == DefaultIPv6 {
		base = mappedIPv6
	}
	out, low := base.Addr().As16(), v4.As4()
	if base.Bits() <= 96 {
		binary.BigEndian.PutUint32(out[12:], binary.BigEndian.Uint32(low[:]))
	} else {
		copy(out[13:], low[1:])
	}
	return netip.AddrFrom16(out)
}

func reserved(set []netip.Prefix, a netip.Addr) bool {
	for _, p := range set {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
