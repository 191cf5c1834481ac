package ctl

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/ginnel/ginnel/internal/noiseconn"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// Limits of what a dial plan may ask for.
const (
	maxPlanned  = 16               // candidates
	maxPlanTime = 60 * time.Second // any delay, and any attempt
	// planPatience is how long after the plan's first candidate the host of the server
	// URL is tried too, whatever the plan says.
	planPatience = 5 * time.Second
)

// detour is another address for the server than its host name.
type detour struct {
	ip  netip.Addr // what TCP goes to, invalid for the name
	ace string     // an HTTPS proxy that the server named, empty for none; ip is then its address
}

// setPlan takes over the dial plan of a frame. One without candidates ends the one before.
func (d *dialer) setPlan(plan *control.ControlDialPlan) {
	if plan == nil {
		return
	}
	d.plan.Store(plan)
}

// planned returns the attempts that the dial plan asks for (wire document control,
// section 3.10), in the order of their delays.
func (d *dialer) planned(server key.MachinePublic) []try {
	plan := d.plan.Load()
	if plan == nil {
		return nil
	}
	if via, err := d.proxyFor(d.server.scheme, d.server.authority()); via != nil || err != nil {
		return nil // the user's own proxy is the way out
	}
	var tries []try
	for _, c := range plan.Candidates {
		over := detour{c.IP, c.ACEHost}
		limit := seconds(c.DialTimeoutSec)
		if limit <= 0 || !c.IP.IsValid() && c.ACEHost == "" {
			continue
		}
		tries = append(tries, try{
			delay: max(seconds(c.DialStartDelaySec), 0), limit: limit,
			run: func(ctx context.Context) (*noiseconn.Conn, error) { return d.connectVia(ctx, over, server) },
		})
	}
	slices.SortStableFunc(tries, func(a, b try) int { return cmp.Compare(a.delay, b.delay) })
	return tries[:min(len(tries), maxPlanned)]
}

// seconds converts a number of the plan, within its limits.
func seconds(n float64) time.Duration {
	return time.Duration(min(max(n, 0), maxPlanTime.Seconds()) * float64(time.Second))
}

// dialOver connects to addr, or by what the detour says instead.
func (d *dialer) dialOver(ctx context.Context, over detour, scheme, addr string) (net.Conn, error) {
	switch {
	case over.ace != "":
		return d.dialACE(ctx, over, addr)
	case over.ip.IsValid():
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		return d.dial(ctx, "tcp", net.JoinHostPort(over.ip.String(), port))
	}
	return d.dialVia(ctx, scheme, addr)
}

// dialACE connects to addr through the HTTPS proxy of a dial plan.
func (d *dialer) dialACE(ctx context.Context, over detour, addr string) (net.Conn, error) {
	host := over.ace
	if over.ip.IsValid() {
		host = over.ip.String()
	}
	raw, err := d.dial(ctx, "tcp", net.JoinHostPort(host, "443"))
	if err != nil {
		return nil, fmt.Errorf("proxy of the dial plan: %w", err)
	}
	cfg := &tls.Config{}
	if d.tls != nil {
		cfg = d.tls.Clone()
	}
	cfg.ServerName = over.ace
	conn := tls.Client(raw, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, fmt.Errorf("proxy of the dial plan: tls: %w", err)
	}
	tunnel, err := tunnelThrough(ctx, conn, &url.URL{Scheme: "https", Host: over.ace}, addr)
	if err != nil {
		return nil, fmt.Errorf("proxy of the dial plan: %w", err)
	}
	return tunnel, nil
}
