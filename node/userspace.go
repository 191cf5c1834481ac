package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/ginnel/ginnel/node/netstack"
	"github.com/ginnel/ginnel/node/netstack/proxy"
)

// newUserspaceStack starts the stack, whose services are those of this host.
func newUserspaceStack(o planeOptions) (*netstack.Stack, error) {
	stack, err := netstack.New(netstack.Config{
		MTU: tunnelMTU, Logger: o.Logger.With("part", "netstack"), Forward: &netstack.Forward{},
	})
	if err != nil {
		return nil, fmt.Errorf("starting userspace networking: %w", err)
	}
	return stack, nil
}

// serveProxies opens the proxies that are asked for and serves them until ctx
// ends.
func (p *realPlane) serveProxies(ctx context.Context, o planeOptions) error {
	if o.SOCKS5Addr == "" && o.HTTPProxyAddr == "" {
		return nil
	}
	server := &proxy.Server{
		Mesh: p.dialMesh, Resolve: o.hooks.resolve, InMesh: p.inMesh, Bad: o.hooks.badConnection, Logger: o.Logger.With("part", "proxy"),
	}
	type service struct {
		what, flag, addr string
		serve            func(context.Context, net.Listener) error
	}
	services := []service{
		{"the SOCKS5 server", "--socks5-server", o.SOCKS5Addr, server.ServeSOCKS5},
		{"the HTTP proxy", "--outbound-http-proxy-listen", o.HTTPProxyAddr, server.ServeHTTP1},
	}
	if o.SOCKS5Addr == o.HTTPProxyAddr {
		services = []service{{"the proxy", "--socks5-server", o.SOCKS5Addr, server.ServeBoth}}
	}
	var listeners []net.Listener
	for i, s := range services {
		if s.addr == "" {
			services[i].serve = nil
			listeners = append(listeners, nil)
			continue
		}
		l, err := net.Listen("tcp", s.addr)
		if err != nil {
			for _, open := range listeners {
				if open != nil {
					err = errors.Join(err, open.Close())
				}
			}
			return fmt.Errorf("%s cannot listen on %s: %w; choose another address with %s", s.what, s.addr, err, s.flag)
		}
		listeners = append(listeners, l)
	}
	for i, s := range services {
		if s.serve == nil {
			continue
		}
		p.wg.Go(func() {
			if err := s.serve(ctx, listeners[i]); err != nil && ctx.Err() == nil {
				p.log.Error("a proxy ended", "proxy", s.what, "err", err)
			}
		})
	}
	return nil
}

// dialMesh dials a literal address in the mesh.
func (p *realPlane) dialMesh(ctx context.Context, network, address string) (net.Conn, error) {
	if p.user != nil {
		return p.user.DialContext(ctx, network, address)
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// inMesh reports whether an address is that of a node, or routed to one. The mesh's
// own ranges always are, so that nothing meant for the mesh goes elsewhere.
func (p *realPlane) inMesh(ip netip.Addr) bool {
	ip = ip.Unmap()
	if meshIPv4.Contains(ip) || meshIPv6.Contains(ip) {
		return true
	}
	c := p.cfg.Load()
	if c.Map == nil {
		return false
	}
	peer := c.Map.PeerForIP(ip)
	if peer == nil {
		return false
	}
	for _, r := range allowedIPs(peer, c.Map.Self, c.Prefs) {
		if r.Contains(ip) {
			return true
		}
	}
	return false
}
