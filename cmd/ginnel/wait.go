package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/internal/cli"
	"github.com/ginnel/ginnel/node/local/api"
)

// addrPoll is the time between looks for the interface's address.
const addrPoll = 100 * time.Millisecond

// waitCommand waits until the network can be used.
func (a *app) waitCommand() *ffcli.Command {
	fs := newFlags("wait")
	timeout := fs.Duration("timeout", 0, "`time` to wait at most; 0s for no end")
	return &ffcli.Command{
		Name: "wait", ShortUsage: "ginnel wait [--timeout=<duration>]", ShortHelp: "Wait until the network can be used", FlagSet: fs,
		LongHelp: "Waits until the node is up and, where it has an interface, until that has its\naddress, so that programs can listen on it.",
		Exec: func(ctx context.Context, args []string) error {
			if err := cli.Args(args); err != nil {
				return err
			}
			if *timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, *timeout)
				defer cancel()
			}
			err := a.wait(ctx)
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("timeout after %v waiting for Ginnel to be up; check \"ginnel status\"", *timeout)
			}
			return err
		},
	}
}

// wait waits for the state Running and the address.
func (a *app) wait(ctx context.Context) error {
	watcher, err := a.local().WatchBus(ctx, api.NotifyInitialState)
	if err != nil {
		return err
	}
	defer watcher.Close()
	for n, err := range watcher.All() {
		if err != nil {
			return err
		}
		if n.State != nil && *n.State == api.Running {
			break
		}
	}
	for {
		st, err := a.local().StatusWithoutPeers(ctx)
		if err != nil {
			return err
		}
		if !st.TUN || len(st.TailscaleIPs) > 0 && hostHas(st.TailscaleIPs[0]) {
			return nil
		}
		if err := sleep(ctx, addrPoll); err != nil {
			return err
		}
	}
}

// hostHas reports whether an interface of this machine has the address.
func hostHas(ip netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, addr := range addrs {
		if p, err := netip.ParsePrefix(addr.String()); err == nil && p.Addr() == ip {
			return true
		}
	}
	return false
}
