package netmon

import (
	"maps"
	"net"
	"net/netip"
	"slices"
)

// Interface is a network interface.
type Interface struct {
	Index    int
	Up       bool
	Loopback bool
	// MTU in bytes.
	MTU int
	// Addrs are the interface's addresses, sorted.
	Addrs []netip.Prefix
}

// State is a snapshot of the machine's network. It is not to be changed.
type State struct {
	// Interfaces by name.
	Interfaces map[string]Interface
	// Tunnel is the name of the node's own interface, which counts for nothing.
	Tunnel string
	// DefaultInterface is the one that the default route leaves by, IPv4's if
	// there is one; empty if there is none.
	DefaultInterface string
	// Gateway is the next hop of the default route, if it has one.
	Gateway netip.Addr
	// HaveV4 and HaveV6 tell whether some interface that is up has an address
	// that can be reached from beyond its link.
	HaveV4, HaveV6 bool
}

// interesting reports whether the interface can carry traffic to peers.
func (s *State) interesting(name string) bool {
	return name != s.Tunnel && !s.Interfaces[name].Loopback
}

var meshRanges = []netip.Prefix{
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("fd7a:115c:a1e0::/48"),
}

// reachable reports whether an address can be reached from beyond its link, not
// counting those of meshes on the IPv6 side and on tunnels.
func reachable(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !meshRanges[1].Contains(a)
}

// LocalAddrs returns the addresses at which peers might reach this machine: those
// of interfaces that are up, without loopback, link-local and the tunnel's own.
// They are sorted by interface name, then address.
func (s *State) LocalAddrs() []netip.Addr {
	var out []netip.Addr
	for _, name := range slices.Sorted(maps.Keys(s.Interfaces)) {
		ifi := s.Interfaces[name]
		if !ifi.Up || !s.interesting(name) {
			continue
		}
		for _, p := range ifi.Addrs {
			if reachable(p.Addr()) {
				out = append(out, p.Addr())
			}
		}
	}
	return out
}

// AnyUp reports whether any way out of the machine is up.
func (s *State) AnyUp() bool { return s.HaveV4 || s.HaveV6 }

// complete derives HaveV4 and HaveV6.
func (s *State) complete() {
	s.HaveV4, s.HaveV6 = false, false
	for _, a := range s.LocalAddrs() {
		if a.Is4() {
			s.HaveV4 = true
		} else {
			s.HaveV6 = true
		}
	}
}

// Equal reports whether nothing differs that counts: the tunnel's own interface, which
// comes up and gets its addresses by our doing, does not.
func (s *State) Equal(o *State) bool {
	return s.Tunnel == o.Tunnel && s.DefaultInterface == o.DefaultInterface && s.Gateway == o.Gateway &&
		s.HaveV4 == o.HaveV4 && s.HaveV6 == o.HaveV6 &&
		maps.EqualFunc(s.withoutTunnel(), o.withoutTunnel(), func(a, b Interface) bool {
			return a.Index == b.Index && a.Up == b.Up && a.Loopback == b.Loopback && a.MTU == b.MTU && slices.Equal(a.Addrs, b.Addrs)
		})
}

// withoutTunnel returns the interfaces other than the tunnel's own.
func (s *State) withoutTunnel() map[string]Interface {
	if _, ok := s.Interfaces[s.Tunnel]; !ok {
		return s.Interfaces
	}
	out := maps.Clone(s.Interfaces)
	delete(out, s.Tunnel)
	return out
}

// interfaces lists the machine's interfaces.
func interfaces() (map[string]Interface, error) {
	list, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	out := make(map[string]Interface, len(list))
	for _, i := range list {
		x := Interface{
			Index: i.Index, MTU: i.MTU,
			Up:       i.Flags&net.FlagUp != 0 && i.Flags&net.FlagRunning != 0,
			Loopback: i.Flags&net.FlagLoopback != 0,
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // the interface has just gone
		}
		for _, a := range addrs {
			n, ok := a.(*net.IPNet)
			if !ok {
				continue
			}
			ip, ok := netip.AddrFromSlice(n.IP)
			if !ok {
				continue
			}
			ones, _ := n.Mask.Size()
			x.Addrs = append(x.Addrs, netip.PrefixFrom(ip.Unmap(), ones))
		}
		slices.SortFunc(x.Addrs, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
		out[i.Name] = x
	}
	return out, nil
}

// Change is what a Monitor reports.
type Change struct {
	// Old and New are the states before and after. Old is nil at first.
	Old, New *State
	// RebindLikely says that existing sockets and connections may be bound to
	// what no longer works: rebind, and check connections.
	RebindLikely bool
	// Down says that no way out is left, Up that there is one again.
	Down, Up bool
	// Slept is set if the wall clock jumped, as it does when a machine wakes
	// up. LongSleep is a jump after which nothing held by others about us is
	// likely to be valid.
	Slept, LongSleep bool
}

// classify compares two states (wire document paths, section 19).
func classify(old, now *State, slept, long bool) Change {
	c := Change{Old: old, New: now, Slept: slept, LongSleep: long}
	c.Down = (old == nil || old.AnyUp()) && !now.AnyUp()
	c.Up = old != nil && !old.AnyUp() && now.AnyUp()
	usable := now.DefaultInterface != "" && now.DefaultInterface != now.Tunnel && now.Interfaces[now.DefaultInterface].Up
	c.RebindLikely = usable && (old == nil || long ||
		old.DefaultInterface != now.DefaultInterface || old.Gateway != now.Gateway ||
		old.HaveV4 != now.HaveV4 || old.HaveV6 != now.HaveV6 ||
		!waysEqual(old, now))
	return c
}

// waysEqual reports whether the interfaces that carry traffic have the same
// reachable addresses and are up or down alike. Other flags and MTUs flap
// without consequence.
func waysEqual(a, b *State) bool {
	return maps.EqualFunc(ways(a), ways(b), slices.Equal)
}

func ways(s *State) map[string][]netip.Addr {
	out := map[string][]netip.Addr{}
	for name, i := range s.Interfaces {
		if !i.Up || !s.interesting(name) {
			continue
		}
		var addrs []netip.Addr
		for _, p := range i.Addrs {
			if reachable(p.Addr()) {
				addrs = append(addrs, p.Addr())
			}
		}
		if len(addrs) > 0 {
			out[name] = addrs
		}
	}
	return out
}
