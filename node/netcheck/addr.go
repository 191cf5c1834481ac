package netcheck

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/ginnel/ginnel/wire/control"
)

// defaultSTUNPort is used by nodes that do not name another.
const defaultSTUNPort = 3478

var errNoAddr = errors.New("no address of the family")

// stunAddr returns where to ask a node over a family.
func (r *run) stunAddr(ctx context.Context, n *control.DERPNode, ipv6 bool) (netip.AddrPort, error) {
	port := n.STUNPort
	switch {
	case port == 0:
		port = defaultSTUNPort
	case port < 0 || port > 65535:
		return netip.AddrPort{}, errors.New("node has no STUN")
	}
	ip, err := nodeAddr(ctx, n, ipv6, r.lookup)
	return netip.AddrPortFrom(ip, uint16(port)), err
}

// nodeAddr returns the address of a node for STUN over a family.
func nodeAddr(ctx context.Context, n *control.DERPNode, ipv6 bool,
	lookup func(context.Context, string) ([]netip.Addr, error)) (netip.Addr, error) {
	text := n.IPv4
	if ipv6 {
		text = n.IPv6
	}
	if n.STUNTestIP != "" {
		text = n.STUNTestIP
	}
	if text == "" {
		text = n.HostName
	}
	if ip, err := netip.ParseAddr(text); err == nil {
		if ip = ip.Unmap(); ip.Is6() != ipv6 {
			return netip.Addr{}, errNoAddr
		}
		return ip, nil
	}
	if text != n.HostName || text == "" {
		return netip.Addr{}, errNoAddr // "none", or no valid address: the family is off
	}
	list, err := lookup(ctx, text)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("look up %s: %w", text, err)
	}
	for _, ip := range list {
		if ip = ip.Unmap(); ip.Is6() == ipv6 {
			return ip, nil
		}
	}
	return netip.Addr{}, errNoAddr
}

// name is a host name that is resolved once in a check.
type name struct {
	done  chan struct{} // closed when the rest is known
	addrs []netip.Addr
	err   error
}

// resolveNames begins to resolve the names of all STUN servers of the plan, so that no
// request waits for a name before its own, and none is asked for at each try.
func (r *run) resolveNames(ctx context.Context) {
	r.names = map[string]*name{}
	begin := func(_ context.Context, host string) ([]netip.Addr, error) {
		if r.names[host] == nil {
			n := &name{done: make(chan struct{})}
			r.names[host] = n
			go func() {
				defer close(n.done)
				n.addrs, n.err = r.c.lookup(ctx, host)
			}()
		}
		return nil, errNoAddr
	}
	for _, set := range r.plan {
		for _, p := range set.probes {
			_, _ = nodeAddr(ctx, p.node, set.ipv6, begin)
		}
	}
}

// lookup returns the addresses of a name of the plan once they are known.
func (r *run) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	n := r.names[host]
	if n == nil {
		return nil, errNoAddr
	}
	select {
	case <-n.done:
		return n.addrs, n.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// lookup resolves a host name.
func (c *Client) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if c.Lookup != nil {
		return c.Lookup(ctx, host)
	}
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}
