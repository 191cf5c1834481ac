package ctl

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/ginnel/ginnel/internal/jitter"
	"github.com/ginnel/ginnel/relay/client"
	"github.com/ginnel/ginnel/wire/control"
)

// Limits of asking relays for the server's address (wire document relay, section 13).
const (
	resolveTimeout   = 5 * time.Second // for the system's way, when there are relays to ask
	bootstrapRelays  = 6
	bootstrapTimeout = 3 * time.Second        // for one relay
	bootstrapDelay   = 500 * time.Millisecond // from one relay to the next
	maxBootstrap     = 256 << 10
)

// open connects to addr. If the name in it does not resolve, relays are asked for its
// addresses (wire document control, section 3.11).
func (d *dialer) open(ctx context.Context, network, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	relays := d.bootstrapRelays(host)
	if err != nil || len(relays) == 0 {
		return d.dial(ctx, network, addr)
	}
	first, cancel := context.WithTimeout(ctx, resolveTimeout)
	conn, err := d.dial(first, network, addr)
	cancel()
	var dns *net.DNSError
	if err == nil || !errors.As(err, &dns) || ctx.Err() != nil {
		return conn, err
	}
	for _, ip := range askRelays(ctx, relays, host, d.dial) {
		if conn, again := d.dial(ctx, network, net.JoinHostPort(ip.String(), port)); again == nil {
			return conn, nil
		}
	}
	return nil, err
}

// bootstrapRelays returns relays that can be asked for the addresses of host, each with
// the one address to ask it at: those of the two families in turn, otherwise in no order.
func (d *dialer) bootstrapRelays(host string) []*control.DERPNode {
	if _, err := netip.ParseAddr(host); err == nil || d.relays == nil || host == "localhost" {
		return nil
	}
	m := d.relays()
	if m == nil {
		return nil
	}
	var v4, v6 []*control.DERPNode
	for _, region := range m.Regions {
		if region == nil {
			continue
		}
		for _, n := range region.Nodes {
			if n == nil || n.STUNOnly || n.InsecureForTests {
				continue
			}
			if ip, err := netip.ParseAddr(n.IPv4); err == nil && ip.Is4() {
				only := *n
				only.IPv6 = "none"
				v4 = append(v4, &only)
			}
			if ip, err := netip.ParseAddr(n.IPv6); err == nil && ip.Is6() {
				only := *n
				only.IPv4 = "none"
				v6 = append(v6, &only)
			}
		}
	}
	for _, list := range [][]*control.DERPNode{v4, v6} {
		jitter.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	var out []*control.DERPNode
	for i := 0; i < max(len(v4), len(v6)) && len(out) < bootstrapRelays; i++ {
		if i < len(v4) {
			out = append(out, v4[i])
		}
		if i < len(v6) {
			out = append(out, v6[i])
		}
	}
	return out
}

// askRelays returns the addresses that the first relay to answer knows of host.
func askRelays(ctx context.Context, relays []*control.DERPNode, host string,
	dial func(ctx context.Context, network, addr string) (net.Conn, error)) []netip.Addr {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan []netip.Addr, len(relays))
	for i, n := range relays {
		go func() {
			if !sleep(ctx, time.Duration(i)*bootstrapDelay, nil) {
				answers <- nil
				return
			}
			ips, err := askRelay(ctx, n, host, dial)
			if err != nil {
				ips = nil
			}
			answers <- ips
		}()
	}
	for range relays {
		if ips := <-answers; len(ips) > 0 {
			return ips
		}
	}
	return nil
}

// askRelay asks one relay for the addresses of host.
func askRelay(ctx context.Context, n *control.DERPNode, host string,
	dial func(ctx context.Context, network, addr string) (net.Conn, error)) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, bootstrapTimeout)
	defer cancel()
	conn, err := client.DialTLS(ctx, n, client.Options{
		DialContext: dial, Proxy: func(*http.Request) (*url.URL, error) { return nil, nil },
	})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.NetConn().Close() })()
	u := url.URL{Scheme: "https", Host: n.HostName, Path: "/bootstrap-dns", RawQuery: url.Values{"q": {host}}.Encode()}
	req := &http.Request{Method: http.MethodGet, URL: &u, Header: http.Header{}, Close: true}
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(io.LimitReader(conn, maxBootstrap)), req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("relay %s: status %d", n.HostName, resp.StatusCode)
	}
	return parseBootstrap(resp.Body, host)
}

// parseBootstrap reads a relay's answer: a JSON object of names and their addresses.
func parseBootstrap(r io.Reader, host string) ([]netip.Addr, error) {
	var answer map[string][]netip.Addr
	if err := json.NewDecoder(r).Decode(&answer); err != nil {
		return nil, fmt.Errorf("bootstrap dns: %w", err)
	}
	var ips []netip.Addr
	for _, ip := range answer[host] {
		if ip.IsValid() && len(ips) < maxPlanned {
			ips = append(ips, ip.WithZone(""))
		}
	}
	return ips, nil
}
