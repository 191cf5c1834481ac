package path

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ginnel/ginnel/node/netcheck"
	"github.com/ginnel/ginnel/wire/control"
)

// Limits of wire document paths, section 6.
const (
	endpointCacheAge   = 5*time.Minute + 10*time.Second
	endpointCachePerIP = 6
	maxIPv6PerSubnet   = 2
)

// endpointInput is what the node's endpoints are made of.
type endpointInput struct {
	report       *netcheck.Report // nil before the first
	mapped       []netip.AddrPort // seen by a check that is under way
	fixedPort    uint16           // UDP port asked for, 0 for any
	port4, port6 uint16           // UDP ports bound, 0 if not
	portmap      PortMapping
	static       []netip.AddrPort
	local        []netip.Addr
	cache        *endpointCache
	now          time.Time
}

// buildEndpoints returns the node's endpoints without duplicates, those first that are
// reached from farther away (wire document paths, section 12).
func buildEndpoints(in endpointInput) []Endpoint {
	list := []Endpoint{}
	add := func(a netip.AddrPort, t control.EndpointType) {
		if a.IsValid() && a.Port() != 0 && !slices.ContainsFunc(list, func(e Endpoint) bool { return e.Addr == a }) {
			list = append(list, Endpoint{a, t})
		}
	}
	in.portmap.addTo(true, add)
	for _, a := range in.mapped {
		add(a, control.EndpointSTUN)
	}
	if r := in.report; r != nil {
		addSTUN(r, in.fixedPort, add)
	}
	for _, ep := range in.cache.update(in.now, list) {
		add(ep.Addr, ep.Type)
	}
	for _, a := range in.static {
		add(a, control.EndpointExplicit)
	}
	for _, ip := range in.local {
		port := in.port4
		if ip.Is6() {
			port = in.port6
		}
		add(netip.AddrPortFrom(ip, port), control.EndpointLocal)
	}
	in.portmap.addTo(false, add)
	return list
}

// addSTUN adds the endpoints that a report found.
func addSTUN(r *netcheck.Report, fixedPort uint16, add func(netip.AddrPort, control.EndpointType)) {
	add(r.GlobalV4, control.EndpointSTUN)
	add(r.GlobalV6, control.EndpointSTUN)
	for _, counters := range []map[netip.AddrPort]int{r.GlobalV4Counters, r.GlobalV6Counters} {
		var more []netip.AddrPort
		for a, n := range counters {
			if n > 1 {
				more = append(more, a)
			}
		}
		slices.SortFunc(more, netip.AddrPort.Compare)
		for _, a := range more {
			add(a, control.EndpointSTUN)
		}
	}
	if varies, _ := r.MappingVariesByDestIP.Get(); varies && fixedPort != 0 && r.GlobalV4.IsValid() {
		// Somebody may have forwarded the port by hand.
		add(netip.AddrPortFrom(r.GlobalV4.Addr(), fixedPort), control.EndpointSTUN4LocalPort)
	}
}

// endpointCache remembers endpoints that were found, since what one check misses often
// still works.
type endpointCache struct {
	entries []cachedEndpoint // oldest first
}

type cachedEndpoint struct {
	Endpoint
	seen time.Time
}

// forget empties the cache.
func (c *endpointCache) forget() { c.entries = nil }

// update notes the endpoints seen now and returns all that are remembered.
func (c *endpointCache) update(now time.Time, seen []Endpoint) []Endpoint {
	for _, ep := range seen {
		c.entries = slices.DeleteFunc(c.entries, func(o cachedEndpoint) bool { return o.Addr == ep.Addr })
		c.entries = append(c.entries, cachedEndpoint{ep, now})
	}
	perIP := map[netip.Addr]int{}
	var out []Endpoint
	kept := c.entries[:0:0]
	for _, o := range slices.Backward(c.entries) {
		ip := o.Addr.Addr()
		if now.Sub(o.seen) > endpointCacheAge || perIP[ip] >= endpointCachePerIP {
			continue
		}
		perIP[ip]++
		out = append(out, o.Endpoint)
		kept = append(kept, o)
	}
	slices.Reverse(kept)
	c.entries = kept
	return out
}

// The tunnels' own address ranges, which are no way to reach anybody.
var (
	tunnelIPv4   = netip.MustParsePrefix("100.64.0.0/10")
	chromeOSVM   = netip.MustParsePrefix("100.115.92.0/23")
	tunnelIPv6   = netip.MustParsePrefix("fd7a:115c:a1e0::/48")
	notInterface = []string{"zt", "wt0", "tailscale", "ginnel"}
)

// isTunnelAddr reports whether ip is an address inside the mesh.
func isTunnelAddr(ip netip.Addr) bool {
	return tunnelIPv4.Contains(ip) && !chromeOSVM.Contains(ip) || tunnelIPv6.Contains(ip)
}

// localAddrs returns the interface addresses at which peers may reach this machine.
// IPv4 link-local and IPv6 unique local addresses are used only if there is nothing
// better, loopback only if there is nothing else.
func localAddrs(ifaces []Interface) []netip.Addr {
	var good, poor, loopback []netip.Addr
	subnets := map[netip.Prefix]int{}
	for _, i := range ifaces {
		if !i.Up || slices.ContainsFunc(notInterface, func(p string) bool { return strings.HasPrefix(i.Name, p) }) {
			continue
		}
		for _, prefix := range i.Addrs {
			ip := prefix.Addr().Unmap()
			switch {
			case !ip.IsValid() || ip.IsUnspecified() || ip.IsMulticast() || isTunnelAddr(ip):
			case i.Loopback || ip.IsLoopback():
				if ip.IsLoopback() {
					loopback = append(loopback, ip)
				}
			case ip.Is6() && ip.IsLinkLocalUnicast():
			case ip.Is6() && subnets[prefix.Masked()] >= maxIPv6PerSubnet:
			case ip.IsLinkLocalUnicast() || ip.Is6() && ip.IsPrivate():
				subnets[prefix.Masked()]++
				poor = append(poor, ip)
			default:
				subnets[prefix.Masked()]++
				good = append(good, ip)
			}
		}
	}
	list := good
	if len(list) == 0 {
		list = poor
	}
	if len(list) == 0 {
		list = loopback
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list)
}

// families says which address families some interface has beyond the link.
func (e *Engine) families() (ipv4, ipv6 bool) {
	ifaces, err := e.opts.Interfaces()
	if err != nil {
		return true, true
	}
	for _, i := range ifaces {
		if !i.Up || i.Loopback {
			continue
		}
		for _, p := range i.Addrs {
			ip := p.Addr().Unmap()
			if isTunnelAddr(ip) || ip.IsLinkLocalUnicast() && ip.Is6() {
				continue
			}
			ipv4, ipv6 = ipv4 || ip.Is4(), ipv6 || ip.Is6()
		}
	}
	return ipv4, ipv6
}
