package netcheck

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/stun"
)

// Client makes reports and remembers the last ones. Its fields must not change after
// the first report.
type Client struct {
	// Send sends a STUN packet over UDP, through the socket of the address's family. Nil
	// means that UDP is not to be used.
	Send func(pkt []byte, to netip.AddrPort) error
	// Families says which address families some interface has. Nil means both.
	Families func() (ipv4, ipv6 bool)
	// HasIPv6 reports whether the system can do IPv6 at all; nil asks it.
	HasIPv6 func() bool
	// Lookup resolves a host name; nil uses the system's resolver.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	// Dial opens TCP connections for latencies over HTTPS; nil uses package net.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Logger may be nil.
	Logger *slog.Logger

	mu       sync.Mutex
	running  *run
	lastFull time.Time
	history  []*Report // the last is the newest
}

// Request says what kind of report is wanted.
type Request struct {
	// Full asks all regions even if that was done lately.
	Full bool
	// STUNOnly leaves out HTTPS when UDP does not work.
	STUNOnly bool
	// Home is the current home relay, 0 if none.
	Home int
	// HomeLost says that the home relay cannot be connected to, whatever its STUN server
	// says. It is not asked, and another is chosen if there is one.
	HomeLost bool
	// Fresh forgets what earlier reports measured, and so asks all regions: the machine is
	// in another network now.
	Fresh bool
	// OnMapping, if not nil, is called with each address under which a STUN server saw
	// this node, at the first time in a report. It must not block.
	OnMapping func(netip.AddrPort)
	// HomeHeard returns when the home relay was last heard, zero if never. It may be nil.
	HomeHeard func() time.Time
}

// ErrBusy is the error of a second report at the same time.
var ErrBusy = errors.New("netcheck: a check is already running")

// Report makes a report about the regions of m, which takes at most five seconds. It is
// cut short by ctx.
func (c *Client) Report(ctx context.Context, m *control.DERPMap, req Request) (*Report, error) {
	if m == nil {
		return nil, errors.New("netcheck: no relay map")
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	r, err := c.start(m, req)
	if err != nil {
		return nil, err
	}
	defer c.stop()
	r.hasIPv6 = c.hasIPv6()
	r.measure(ctx)
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return nil, err
	}
	return c.finish(r), nil
}

// start makes the plan of a report and registers it for answers.
func (c *Client) start(m *control.DERPMap, req Request) (*run, error) {
	have := families{true, true}
	if c.Families != nil {
		have.ipv4, have.ipv6 = c.Families()
	}
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running != nil {
		return nil, ErrBusy
	}
	if req.Fresh {
		c.history = nil
	}
	var last *Report
	if n := len(c.history); n > 0 {
		last = c.history[n-1]
	}
	full := req.Full || last == nil || now.Sub(c.lastFull) > fullInterval || len(last.RegionLatency) == 0
	r := newRun(c, m, req, now, full)
	if full {
		r.plan = fullPlan(m, have)
	} else {
		r.plan = incrementalPlan(m, have, last, req.Home)
	}
	if req.HomeLost {
		r.plan = slices.DeleteFunc(r.plan, func(s probeSet) bool { return s.region == req.Home })
	}
	c.running = r
	return r, nil
}

// stop ends the registration for answers.
func (c *Client) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = nil
}

// finish chooses the home and adds the report to the history.
func (c *Client) finish(r *run) *Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	report := r.result()
	now := time.Now()
	in := homeInput{report: report, history: c.history, params: r.m.HomeParams, old: r.req.Home, began: r.began, now: now}
	if r.req.HomeHeard != nil {
		in.heard = r.req.HomeHeard()
	}
	if r.req.HomeLost {
		in.old = 0
	}
	report.Home = chooseHome(in)
	report.OSHasIPv6 = r.hasIPv6
	if r.full {
		c.lastFull = r.began
	}
	c.history = slices.DeleteFunc(c.history, func(old *Report) bool { return now.Sub(old.Time) > historyLength })
	c.history = append(c.history, report)
	return report.clone()
}

// Last returns the newest report, nil before the first.
func (c *Client) Last() *Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.history) == 0 {
		return nil
	}
	return c.history[len(c.history)-1].clone()
}

// HandleSTUN takes a STUN packet that came over UDP, and reports whether it answers a
// request; others are ignored. It may be called at any time.
func (c *Client) HandleSTUN(pkt []byte) bool {
	c.mu.Lock()
	r := c.running
	c.mu.Unlock()
	if r == nil {
		return false
	}
	tx, addr, err := stun.ParseResponse(pkt)
	return err == nil && r.answer(tx, addr)
}

// hasIPv6 reports whether the system can do IPv6, which it may be told to at any time.
func (c *Client) hasIPv6() bool {
	if c.HasIPv6 != nil {
		return c.HasIPv6()
	}
	pc, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		return false
	}
	pc.Close()
	return true
}

// newTxID returns a random transaction ID.
func newTxID() (tx stun.TxID) {
	rand.Read(tx[:])
	return tx
}
