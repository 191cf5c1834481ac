package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/internal/cli"
	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/node/local/client"
)

// pingInterval is the time between pings.
const pingInterval = time.Second

// pingFlags are the flags of ping.
type pingFlags struct {
	count, size                   int
	timeout                       time.Duration
	untilDirect, icmp, tsmp, long bool
}

// pingCommand measures the way to a peer.
func (a *app) pingCommand() *ffcli.Command {
	var f pingFlags
	fs := newFlags("ping")
	fs.IntVar(&f.count, "c", 10, "`number` of pings at most; 0 for no end")
	fs.IntVar(&f.size, "size", 0, "`bytes` of the ping message, for disco pings; 0 for the smallest")
	fs.DurationVar(&f.timeout, "timeout", 5*time.Second, "`time` to wait for each answer")
	fs.BoolVar(&f.untilDirect, "until-direct", true, "stop once a direct path is established")
	fs.BoolVar(&f.icmp, "icmp", false, "send an ICMP echo through the tunnel, answered by the peer's operating system")
	fs.BoolVar(&f.tsmp, "tsmp", false, "send a ping through the tunnel that the peer's daemon answers, not its operating system")
	fs.BoolVar(&f.long, "verbose", false, "say more")
	return &ffcli.Command{
		Name: "ping", ShortUsage: "ginnel ping [flags] <hostname or IP>", ShortHelp: "Ping a peer and see how it is reached", FlagSet: fs,
		LongHelp: `Pings a peer below IP, at the level at which nodes find their paths, and shows
which path each answer took. By default it stops when the path is direct, and
after 10 pings; the exit code is 1 when no answer came or no direct path was found.
A peer that ginneld does not know may just have joined: ping waits for it, at most
--timeout, while ginneld is not connected to the server.`,
		Exec: func(ctx context.Context, args []string) error { return a.ping(ctx, f, args) },
	}
}

// kind returns the type of ping that the flags ask for.
func (f *pingFlags) kind() (api.PingType, error) {
	switch {
	case f.icmp && f.tsmp:
		return "", cli.Usagef("--icmp and --tsmp cannot be used together")
	case f.size != 0 && (f.icmp || f.tsmp):
		return "", cli.Usagef("--size is for disco pings only")
	case f.size < 0:
		return "", cli.Usagef("--size=%d is negative", f.size)
	case f.count < 0:
		return "", cli.Usagef("-c=%d is negative", f.count)
	case f.icmp:
		return api.PingICMP, nil
	case f.tsmp:
		return api.PingTSMP, nil
	}
	return api.PingDisco, nil
}

// ping pings the peer named by the only argument.
func (a *app) ping(ctx context.Context, f pingFlags, args []string) error {
	kind, err := f.kind()
	if err != nil {
		return err
	}
	if err := cli.Args(args, "the hostname or IP of a peer"); err != nil {
		return err
	}
	peer, isSelf, err := a.awaitPeer(ctx, args[0], f.timeout)
	if err != nil {
		return err
	}
	ip, err := pingAddr(peer, args[0])
	if err != nil {
		return err
	}
	if isSelf {
		return a.print("%v is local Ginnel IP\n", ip)
	}
	if f.long && args[0] != ip.String() {
		a.print("lookup %q => %q\n", args[0], ip)
	}
	return a.pingLoop(ctx, f, kind, ip)
}

// lookAgain is the time between two looks for a peer that is not there yet, and
// underWay how long news from the server may take to get here.
const (
	lookAgain = 200 * time.Millisecond
	underWay  = 3 * lookAgain
)

// awaitPeer finds a node as findPeer does. One that is not there may just have joined: it
// is looked for until the first ping to it would have timed out or, while ginneld is
// connected to the server and so knows all nodes, until news under way have come.
func (a *app) awaitPeer(ctx context.Context, text string, patience time.Duration) (p *api.PeerStatus, isSelf bool, err error) {
	for waited := time.Duration(0); ; waited += lookAgain {
		st, err := a.runningStatus(ctx)
		if err != nil {
			return nil, false, err
		}
		connected := st.Self != nil && st.Self.Online
		p, isSelf, err := findPeer(st, text)
		if err == nil || connected && waited >= underWay {
			return p, isSelf, err
		}
		if waited+lookAgain > patience {
			if !connected {
				err = fmt.Errorf("%w\nginneld has no connection to the server at present, so it may not know all nodes", err)
			}
			return nil, false, err
		}
		if err := a.rest(ctx, lookAgain); err != nil {
			return nil, false, err
		}
	}
}

// pingAddr returns the address to ping: the one asked for, or the first.
func pingAddr(peer *api.PeerStatus, text string) (netip.Addr, error) {
	if ip, err := netip.ParseAddr(text); err == nil {
		return ip, nil
	}
	if len(peer.TailscaleIPs) == 0 {
		return netip.Addr{}, fmt.Errorf("node %q has no IP address", text)
	}
	return peer.TailscaleIPs[0], nil
}

// pingLoop sends pings until the flags are satisfied.
func (a *app) pingLoop(ctx context.Context, f pingFlags, kind api.PingType, ip netip.Addr) error {
	answered := false
	for n := 1; ; n++ {
		began := time.Now()
		result, err := a.pingOnce(ctx, f, kind, ip)
		if err != nil {
			return err
		}
		if result == nil {
			a.print("ping %q timed out\n", ip)
		} else {
			if result.IsLocalIP {
				return a.print("%s\n", result.Err)
			}
			if result.Err != "" {
				return errors.New(result.Err)
			}
			answered = true
			a.print("%s\n", pongLine(result, kind))
			if kind != api.PingDisco || f.untilDirect && result.Endpoint != "" {
				return nil
			}
		}
		if n == f.count {
			break
		}
		if err := a.rest(ctx, time.Until(began.Add(pingInterval))); err != nil {
			return err
		}
	}
	switch {
	case !answered:
		return errors.New("no reply")
	case f.untilDirect:
		return errors.New("direct connection not established")
	}
	return nil
}

// pingOnce sends one ping; no answer in time is a nil result.
func (a *app) pingOnce(ctx context.Context, f pingFlags, kind api.PingType, ip netip.Addr) (*api.PingResult, error) {
	once, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	result, err := a.local().Ping(once, ip, kind, f.size)
	var http *client.HTTPError
	daemonTimeout := errors.As(err, &http) && strings.Contains(http.Text, context.DeadlineExceeded.Error())
	if err != nil && ctx.Err() == nil && (once.Err() != nil || daemonTimeout) {
		return nil, nil
	}
	return result, err
}

// pongLine returns the line for an answer.
func pongLine(r *api.PingResult, kind api.PingType) string {
	via := ""
	switch {
	case r.Endpoint != "":
		via = r.Endpoint
	case r.PeerRelay != "":
		via = fmt.Sprintf("peer-relay(%s)", r.PeerRelay)
	case r.DERPRegionID != 0:
		code := r.DERPRegionCode
		if code == "" {
			code = strconv.Itoa(r.DERPRegionID)
		}
		via = fmt.Sprintf("DERP(%s)", code)
	}
	if kind != api.PingDisco {
		via = string(kind)
	}
	extra := ""
	if r.PeerAPIPort != 0 {
		extra = fmt.Sprintf(", %d", r.PeerAPIPort)
	}
	return fmt.Sprintf("pong from %s (%s%s) via %s in %s", strings.TrimSuffix(r.NodeName, "."), r.NodeIP, extra, via, latency(r.LatencySeconds))
}

// latency returns seconds as people read them: whole milliseconds, and finer below
// ten of them.
func latency(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	if d < 10*time.Millisecond {
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(time.Millisecond).String()
}
