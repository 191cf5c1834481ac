package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/internal/cli"
)

// pathsDebug is what is shown of the daemon's answer about paths.
type pathsDebug struct {
	Port4, Port6 uint16
	Relays       []struct {
		Code            string
		Home, Connected bool
		LastError       string
	}
	Endpoints []struct{ Addr netip.AddrPort }
	Peers     map[string]json.RawMessage // each a peerPaths
}

// peerPaths is what is shown of the paths to one peer. Times are zero for never.
type peerPaths struct {
	Name               string
	CurAddr            netip.AddrPort // zero without a direct path
	Latency            time.Duration  // over CurAddr
	RelayCode          string
	LastSend, LastRecv time.Time
	Active             bool
	Candidates         []struct {
		Addr           netip.AddrPort
		Listed, Called bool
		Heard          time.Time
		Pinged, Ponged time.Time
		Latency        time.Duration
		Best           bool
	}
}

// pathsCommand shows the candidate paths of all peers.
func (a *app) pathsCommand() *ffcli.Command {
	fs := newFlags("paths")
	asJSON := fs.Bool("json", false, "print JSON, with more in it")
	return &ffcli.Command{
		Name: "paths", ShortUsage: "ginnel debug paths [--json]", ShortHelp: "Show the candidate paths of all peers", FlagSet: fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := cli.Args(args); err != nil {
				return err
			}
			text, err := a.local().DebugAction(ctx, "paths")
			if err != nil {
				return err
			}
			if *asJSON {
				return a.printIndented(text)
			}
			var all pathsDebug
			if err := json.Unmarshal(text, &all); err != nil {
				return fmt.Errorf("paths: %w", err)
			}
			return a.printPaths(&all)
		},
	}
}

// pathCommand shows the candidate paths of one peer.
func (a *app) pathCommand() *ffcli.Command {
	fs := newFlags("path")
	asJSON := fs.Bool("json", false, "print JSON, with more in it")
	return &ffcli.Command{
		Name: "path", ShortUsage: "ginnel debug path [--json] <hostname or IP>", ShortHelp: "Show the candidate paths of one peer", FlagSet: fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := cli.Args(args, "the hostname or IP of a peer"); err != nil {
				return err
			}
			text, err := a.peerPaths(ctx, args[0])
			if err != nil {
				return err
			}
			if *asJSON {
				return a.printIndented(text)
			}
			return a.printPeerPaths(text)
		},
	}
}

// peerPaths returns what the daemon knows of the paths to a peer, as JSON.
func (a *app) peerPaths(ctx context.Context, name string) (json.RawMessage, error) {
	st, err := a.runningStatus(ctx)
	if err != nil {
		return nil, err
	}
	peer, isSelf, err := findPeer(st, name)
	if err != nil {
		return nil, err
	}
	if isSelf {
		return nil, fmt.Errorf("%s is this machine", name)
	}
	text, err := a.local().DebugAction(ctx, "paths")
	if err != nil {
		return nil, err
	}
	var all pathsDebug
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("paths: %w", err)
	}
	paths, ok := all.Peers[peer.PublicKey.String()]
	if !ok {
		return nil, fmt.Errorf("ginneld has no paths for %s", name)
	}
	return paths, nil
}

// printPaths describes this node's own side, then each peer by name.
func (a *app) printPaths(all *pathsDebug) error {
	var own []string
	for _, ep := range all.Endpoints {
		own = append(own, ep.Addr.String())
	}
	a.print("UDP ports:  %d (IPv4), %d (IPv6)\nEndpoints:  %s\n", all.Port4, all.Port6, orDash(strings.Join(own, " ")))
	for _, r := range all.Relays {
		state := "connected"
		switch {
		case !r.Connected && r.LastError != "":
			state = "not connected: " + r.LastError
		case !r.Connected:
			state = "not connected"
		}
		if r.Home {
			state = "home, " + state
		}
		a.print("Relay:      %q, %s\n", r.Code, state)
	}
	type named struct {
		name string
		text json.RawMessage
	}
	var peers []named
	for k, text := range all.Peers {
		var p struct{ Name string }
		if err := json.Unmarshal(text, &p); err != nil {
			return fmt.Errorf("paths of %s: %w", k, err)
		}
		peers = append(peers, named{p.Name + " " + k, text})
	}
	slices.SortFunc(peers, func(a, b named) int { return cmp.Compare(a.name, b.name) })
	for _, p := range peers {
		a.print("\n")
		if err := a.printPeerPaths(p.text); err != nil {
			return err
		}
	}
	return nil
}

// printPeerPaths describes how a peer is reached, with a line for each candidate; a
// star marks the best.
func (a *app) printPeerPaths(text json.RawMessage) error {
	var p peerPaths
	if err := json.Unmarshal(text, &p); err != nil {
		return fmt.Errorf("paths: %w", err)
	}
	now := time.Now()
	since := func(t time.Time) string {
		if t.IsZero() {
			return "never"
		}
		return ago(now.Sub(t)) + " ago"
	}
	way := fmt.Sprintf("relay %q", p.RelayCode)
	switch {
	case p.CurAddr.IsValid():
		way = fmt.Sprintf("direct %v (%s)", p.CurAddr, latency(p.Latency.Seconds()))
	case p.RelayCode == "":
		way = "no path yet"
	}
	use := "idle"
	if p.Active {
		use = "active"
	}
	a.print("%s: %s; %s; sent %s, received %s\n", orDash(p.Name), use, way, since(p.LastSend), since(p.LastRecv))
	if len(p.Candidates) == 0 {
		return a.print("  no candidate addresses\n")
	}
	tw := tabwriter.NewWriter(a.stdout, 0, 2, 2, ' ', 0)
	fmt.Fprintln(tw, "    Candidate\tFrom\tPinged\tAnswered\tLatency\tHeard")
	for _, c := range p.Candidates {
		var from []string
		mark, rtt := " ", "-"
		if c.Best {
			mark = "*"
		}
		if c.Listed {
			from = append(from, "map")
		}
		if c.Called {
			from = append(from, "peer")
		}
		if !c.Ponged.IsZero() {
			rtt = latency(c.Latency.Seconds())
		}
		fmt.Fprintf(tw, "  %s %v\t%s\t%s\t%s\t%s\t%s\n", mark, c.Addr, orDash(strings.Join(from, ",")), since(c.Pinged), since(c.Ponged), rtt, since(c.Heard))
	}
	return tw.Flush()
}
