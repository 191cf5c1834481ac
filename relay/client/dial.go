package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/relay"
)

// target is one relay to connect to.
type target struct {
	host     string // SNI, Host header, what a proxy is asked for
	port     int
	dialHost string // what TCP goes to when there is no node; empty means host
	useTLS   bool
	node     *control.DERPNode // nil for a URL
	certName string            // what is verified; see DERPNode.CertName
	insecure bool              // verify nothing
	ideal    string            // name of the region's first node when this is another
}

// hostPort is the target as a proxy or a dial function takes it.
func (t *target) hostPort() string { return net.JoinHostPort(t.host, strconv.Itoa(t.port)) }

// hostHeader is the target as a Host header: the port only when it is not the
// scheme's own.
func (t *target) hostHeader() string {
	if (t.useTLS && t.port == 443) || (!t.useTLS && t.port == 80) {
		if ip, err := netip.ParseAddr(t.host); err == nil && ip.Is6() {
			return "[" + t.host + "]"
		}
		return t.host
	}
	return t.hostPort()
}

// scheme is the URL scheme of the target.
func (t *target) scheme() string {
	if t.useTLS {
		return "https"
	}
	return "http"
}

// urlTarget reads Options.URL.
func urlTarget(o *Options) (*target, error) {
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, fmt.Errorf("relay client: %w", err)
	}
	t := &target{host: u.Hostname(), dialHost: o.DialHost, certName: o.CertName, useTLS: u.Scheme == "https"}
	if t.host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return nil, fmt.Errorf("relay client: URL %q: want https://host[:port] or http://host[:port]", o.URL)
	}
	t.port = 80
	if t.useTLS {
		t.port = 443
	}
	if p := u.Port(); p != "" {
		if t.port, err = strconv.Atoi(p); err != nil || t.port < 1 || t.port > 65535 {
			return nil, fmt.Errorf("relay client: URL %q: bad port", o.URL)
		}
	}
	return t, nil
}

// nodeTargets lists the usable nodes of a region, in order.
func nodeTargets(r *control.DERPRegion) []*target {
	var ts []*target
	first := ""
	for i, n := range r.Nodes {
		if n == nil {
			continue
		}
		if i == 0 {
			first = n.Name
		}
		if n.STUNOnly {
			continue
		}
		t := &target{host: n.HostName, port: n.DERPPort, useTLS: true, node: n, certName: n.CertName, insecure: n.InsecureForTests}
		if t.port == 0 {
			t.port = relay.DefaultRelayPort
		}
		if i > 0 {
			t.ideal = first
		}
		ts = append(ts, t)
	}
	return ts
}

// dial opens a TCP connection to the URL's host or to the first node of the region
// that answers, and says which target it is.
func dial(ctx context.Context, o *Options) (net.Conn, *target, error) {
	if o.Region == nil {
		t, err := urlTarget(o)
		if err != nil {
			return nil, nil, err
		}
		nc, err := dialTarget(ctx, o, t)
		if err != nil {
			return nil, nil, fmt.Errorf("relay client: %s: %w", o.URL, err)
		}
		return nc, t, nil
	}
	var firstErr error
	for _, t := range nodeTargets(o.Region) {
		nc, err := dialTarget(ctx, o, t)
		if err == nil {
			return nc, t, nil
		}
		if firstErr == nil {
			firstErr = fmt.Errorf("relay client: region %d, node %s (%s): %w", o.Region.RegionID, t.node.Name, t.hostPort(), err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	if firstErr == nil {
		firstErr = fmt.Errorf("relay client: region %d has no usable node", o.Region.RegionID)
	}
	return nil, nil, firstErr
}

// dialTarget opens a TCP connection to one target, through a proxy if one is set.
func dialTarget(ctx context.Context, o *Options, t *target) (net.Conn, error) {
	proxy, err := proxyFor(o, t)
	if err != nil {
		return nil, err
	}
	if proxy != nil {
		return dialProxy(ctx, o, proxy, t.hostPort())
	}
	if t.node != nil {
		return dialNode(ctx, o, t)
	}
	host := t.host
	if t.dialHost != "" {
		host = t.dialHost
	}
	return o.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(t.port)))
}

// candidate is one address family of a node.
type candidate struct {
	network string
	host    string
	delay   time.Duration
}

// candidates lists the families by which a node may be dialled.
func candidates(n *control.DERPNode, preferIPv6 bool) []candidate {
	var cs []candidate
	if host, ok := familyHost(n.IPv4, n.HostName, netip.Addr.Is4); ok {
		cs = append(cs, candidate{network: "tcp4", host: host})
	}
	if host, ok := familyHost(n.IPv6, n.HostName, netip.Addr.Is6); ok {
		cs = append(cs, candidate{network: "tcp6", host: host})
	}
	if preferIPv6 && len(cs) == 2 {
		cs[0].delay = ipv4Delay
	}
	return cs
}

// familyHost reads an address field of a node: empty means the host name, which may
// be an address of the other family, an address of the family means that, and
// anything else disables the family.
func familyHost(field, hostName string, family func(netip.Addr) bool) (host string, ok bool) {
	if field == "" {
		literal, err := netip.ParseAddr(hostName)
		return hostName, err != nil || family(literal)
	}
	ip, err := netip.ParseAddr(field)
	return field, err == nil && family(ip)
}

// dialed is the end of one attempt.
type dialed struct {
	conn net.Conn
	err  error
}

// dialNode races the address families of a node; the first connection wins.
func dialNode(ctx context.Context, o *Options, t *target) (net.Conn, error) {
	cs := candidates(t.node, o.PreferIPv6())
	if len(cs) == 0 {
		return nil, errors.New("both address families are disabled")
	}
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	results := make(chan dialed, len(cs))
	for _, c := range cs {
		go func() {
			nc, err := dialCandidate(ctx, o, c, t.port)
			results <- dialed{nc, err}
		}()
	}
	var firstErr error
	for i := range cs {
		r := <-results
		if r.err == nil {
			go closeLosers(results, len(cs)-i-1)
			return r.conn, nil
		}
		if firstErr == nil {
			firstErr = r.err
		}
	}
	return nil, firstErr
}

// dialCandidate dials one family after its delay.
func dialCandidate(ctx context.Context, o *Options, c candidate, port int) (net.Conn, error) {
	if c.delay > 0 {
		timer := time.NewTimer(c.delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return o.DialContext(ctx, c.network, net.JoinHostPort(c.host, strconv.Itoa(port)))
}

// closeLosers closes the connections that came too late.
func closeLosers(results <-chan dialed, n int) {
	for range n {
		if r := <-results; r.conn != nil {
			r.conn.Close()
		}
	}
}
