package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"
	"github.com/tailscale/hujson"

	"github.com/ginnel/ginnel/internal/cli"
	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/node/local/client"
	"github.com/ginnel/ginnel/node/netcheck"
	"github.com/ginnel/ginnel/wire/control"
)

// netcheckFlags are the flags of netcheck.
type netcheckFlags struct {
	format, mapFile string
	every           time.Duration
	verbose         bool
}

// netcheckCommand reports what the network allows.
func (a *app) netcheckCommand() *ffcli.Command {
	var f netcheckFlags
	fs := newFlags("netcheck")
	fs.StringVar(&f.format, "format", "", "output `format`: empty for text, json or json-line")
	fs.DurationVar(&f.every, "every", 0, "if not zero, make a report again and again, this `time` apart")
	fs.BoolVar(&f.verbose, "verbose", false, "say more")
	fs.StringVar(&f.mapFile, "derp-map-file", "", "JSON `file` with the relay map to use instead of ginneld's; checks from this program's own sockets")
	return &ffcli.Command{
		Name: "netcheck", ShortUsage: "ginnel netcheck [flags]", ShortHelp: "Report what the local network allows", FlagSet: fs,
		LongHelp: `Reports whether UDP works, the public addresses of this machine, what kind of NAT
it is behind, and how far the relays are.

ginneld makes the check with the sockets it uses for traffic. When it does not
run, or with --derp-map-file, this program makes it with its own.`,
		Exec: func(ctx context.Context, args []string) error {
			if err := cli.Args(args); err != nil {
				return err
			}
			return a.netcheckLoop(ctx, f)
		},
	}
}

// netcheckLoop makes one report, or one after the other.
func (a *app) netcheckLoop(ctx context.Context, f netcheckFlags) error {
	switch f.format {
	case "", "json", "json-line":
	default:
		return cli.Usagef("unknown output format %q; must be empty, json or json-line", f.format)
	}
	if f.every < 0 {
		return cli.Usagef("--every=%v is negative", f.every)
	}
	checker := &checker{app: a, mapFile: f.mapFile}
	for {
		report, regions, err := checker.check(ctx)
		if err != nil {
			return fmt.Errorf("netcheck: %w", err)
		}
		if err := a.printReport(f, report, regions); err != nil {
			return err
		}
		if f.every == 0 {
			return nil
		}
		if err := a.rest(ctx, f.every); err != nil {
			return err
		}
	}
}

// checker makes reports by the daemon, or on its own.
type checker struct {
	app     *app
	mapFile string
	own     netcheck.Client
	warned  bool
}

// check makes one report and returns it with the relays it is about.
func (c *checker) check(ctx context.Context) (*api.NetcheckReport, *control.DERPMap, error) {
	if c.mapFile != "" {
		regions, err := readDERPMap(c.mapFile)
		if err != nil {
			return nil, nil, err
		}
		return c.checkAlone(ctx, regions)
	}
	regions, mapErr := c.app.local().DERPMap(ctx)
	if mapErr == nil {
		report, err := c.app.local().Netcheck(ctx)
		var http *client.HTTPError
		var denied *client.AccessDeniedError
		if err == nil || !errors.As(err, &http) && !errors.As(err, &denied) {
			return report, regions, err
		}
	}
	if regions == nil || len(regions.Regions) == 0 {
		regions = &control.DERPMap{}
		c.warn(mapErr)
	}
	return c.checkAlone(ctx, regions)
}

// warn says, once, that no relays are known.
func (c *checker) warn(err error) {
	if c.warned {
		return
	}
	c.warned = true
	reason := "ginneld knows no relays yet"
	if err != nil {
		reason = err.Error()
	}
	fmt.Fprintf(c.app.stderr, "Warning: %s.\nWithout relays to ask, the report says little; --derp-map-file gives some.\n", reason)
}

// checkAlone makes a report with sockets of its own.
func (c *checker) checkAlone(ctx context.Context, regions *control.DERPMap) (*api.NetcheckReport, *control.DERPMap, error) {
	r, err := netcheck.Standalone(ctx, &c.own, regions)
	if err != nil {
		return nil, nil, err
	}
	return &api.NetcheckReport{
		Now: r.Time, UDP: r.UDP, IPv6: r.IPv6, IPv4: r.IPv4, IPv6CanSend: r.IPv6CanSend, IPv4CanSend: r.IPv4CanSend,
		OSHasIPv6: r.OSHasIPv6, MappingVariesByDestIP: r.MappingVariesByDestIP, UPnP: r.UPnP, PMP: r.PMP, PCP: r.PCP,
		PreferredDERP: r.Home, RegionLatency: r.RegionLatency, RegionV4Latency: r.RegionV4Latency, RegionV6Latency: r.RegionV6Latency,
		GlobalV4Counters: r.GlobalV4Counters, GlobalV6Counters: r.GlobalV6Counters, GlobalV4: r.GlobalV4, GlobalV6: r.GlobalV6,
		CaptivePortal: r.CaptivePortal,
	}, regions, nil
}

// readDERPMap reads a relay map in JSON, with comments allowed.
func readDERPMap(path string) (*control.DERPMap, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("relay map: %w", err)
	}
	if data, err = hujson.Standardize(data); err != nil {
		return nil, fmt.Errorf("relay map %s: %w", path, err)
	}
	m := new(control.DERPMap)
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("relay map %s: %w", path, err)
	}
	if len(m.Regions) == 0 {
		return nil, fmt.Errorf("relay map %s has no regions", path)
	}
	return m.Clone(), nil // without nil regions
}
