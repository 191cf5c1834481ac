package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/internal/cli"
	"github.com/ginnel/ginnel/node/local/api"
)

// ipFlags are the flags of ip.
type ipFlags struct {
	one, four, six bool
	assert         string
}

// ipCommand shows the addresses of a node.
func (a *app) ipCommand() *ffcli.Command {
	var f ipFlags
	fs := newFlags("ip")
	fs.BoolVar(&f.one, "1", false, "print only the first address")
	fs.BoolVar(&f.four, "4", false, "print only IPv4 addresses")
	fs.BoolVar(&f.six, "6", false, "print only IPv6 addresses")
	fs.StringVar(&f.assert, "assert", "", "fail unless one of this node's addresses is this `IP`")
	return &ffcli.Command{
		Name: "ip", ShortUsage: "ginnel ip [-1] [-4] [-6] [peer hostname or IP]", ShortHelp: "Show addresses in the network", FlagSet: fs,
		LongHelp: "Shows the addresses of this machine, or of a peer, one in a line.",
		Exec:     func(ctx context.Context, args []string) error { return a.ip(ctx, f, args) },
	}
}

// ip prints the addresses the flags ask for.
func (a *app) ip(ctx context.Context, f ipFlags, args []string) error {
	if len(args) > 1 {
		return cli.Usagef("unexpected argument: %s", args[1])
	}
	if f.one && f.four || f.one && f.six || f.four && f.six {
		return cli.Usagef("-1, -4, and -6 are mutually exclusive")
	}
	st, err := a.local().Status(ctx)
	if err != nil {
		return err
	}
	ips := st.TailscaleIPs
	if f.assert != "" {
		return assertIP(ips, f.assert)
	}
	if len(args) == 1 {
		peer, _, err := findPeer(st, args[0])
		if err != nil {
			return err
		}
		ips = peer.TailscaleIPs
	} else if len(ips) == 0 {
		return noIPs(st)
	}
	return a.printIPs(f, ips)
}

// noIPs says why this node has no addresses.
func noIPs(st *api.Status) error {
	return fmt.Errorf("no current Ginnel IPs; state: %v", st.BackendState)
}

// assertIP fails unless text is one of the addresses.
func assertIP(ips []netip.Addr, text string) error {
	want, err := netip.ParseAddr(text)
	if err != nil {
		return cli.Usagef("--assert: %q is not an IP address", text)
	}
	if !slices.Contains(ips, want) {
		return fmt.Errorf("assertion failed: IP %v not found among %v", want, ips)
	}
	return nil
}

// printIPs prints the addresses of the wanted family, IPv4 first.
func (a *app) printIPs(f ipFlags, ips []netip.Addr) error {
	ips = slices.Clone(ips)
	slices.SortStableFunc(ips, func(a, b netip.Addr) int { return a.BitLen() - b.BitLen() })
	ips = slices.DeleteFunc(ips, func(ip netip.Addr) bool { return f.four && !ip.Is4() || f.six && !ip.Is6() })
	if len(ips) == 0 {
		family := "IPv4"
		if f.six {
			family = "IPv6"
		}
		return fmt.Errorf("no Ginnel %s address", family)
	}
	if f.one {
		ips = ips[:1]
	}
	for _, ip := range ips {
		if err := a.print("%s\n", ip); err != nil {
			return err
		}
	}
	return nil
}
