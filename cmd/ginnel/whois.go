package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/internal/cli"
	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/node/local/client"
	"github.com/ginnel/ginnel/wire/control"
)

// whoisCommand says who is behind an address.
func (a *app) whoisCommand() *ffcli.Command {
	fs := newFlags("whois")
	asJSON := fs.Bool("json", false, "print JSON")
	proto := fs.String("proto", "", "`protocol` of the address and port: tcp or udp; empty for both")
	return &ffcli.Command{
		Name: "whois", ShortUsage: "ginnel whois [--json] <ip[:port] or hostname>", ShortHelp: "Show the machine and user of an address", FlagSet: fs,
		LongHelp: "Shows which machine and user is behind an address of the network, or behind\na connection that this node made for it.",
		Exec: func(ctx context.Context, args []string) error {
			if err := cli.Args(args, "the IP[:port] or hostname"); err != nil {
				return err
			}
			if *proto != "" && *proto != "tcp" && *proto != "udp" {
				return cli.Usagef("invalid value --proto=%q; must be tcp or udp", *proto)
			}
			who, err := a.whois(ctx, *proto, args[0])
			if err != nil {
				return err
			}
			if *asJSON {
				return a.printJSON(who)
			}
			return a.print("%s", whoText(who, nil))
		},
	}
}

// whois asks the daemon, and explains its refusal.
func (a *app) whois(ctx context.Context, proto, addr string) (*api.WhoIsResponse, error) {
	if !isAddress(addr) {
		st, err := a.runningStatus(ctx)
		if err != nil {
			return nil, err
		}
		peer, _, err := findPeer(st, addr)
		if err != nil {
			return nil, err
		}
		addr = peer.PublicKey.String()
	}
	who, err := a.local().WhoIsProto(ctx, proto, addr)
	if errors.Is(err, client.ErrPeerNotFound) {
		return nil, errors.New("peer not found")
	}
	if err == nil && who.Node == nil {
		return nil, errors.New("the daemon answered without a node")
	}
	return who, err
}

// isAddress reports whether text is what the daemon takes: an IP address, with or
// without a port, or a node key.
func isAddress(text string) bool {
	_, err := netip.ParseAddr(text)
	_, portErr := netip.ParseAddrPort(text)
	return err == nil || portErr == nil || strings.HasPrefix(text, "nodekey:")
}

// whoamiCommand says who this node is.
func (a *app) whoamiCommand() *ffcli.Command {
	fs := newFlags("whoami")
	asJSON := fs.Bool("json", false, "print JSON")
	return &ffcli.Command{
		Name: "whoami", ShortUsage: "ginnel whoami [--json]", ShortHelp: "Show the machine and user of this node", FlagSet: fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := cli.Args(args); err != nil {
				return err
			}
			st, err := a.local().StatusWithoutPeers(ctx)
			if err != nil {
				return err
			}
			if len(st.TailscaleIPs) == 0 {
				return noIPs(st)
			}
			who, err := a.whois(ctx, "", st.TailscaleIPs[0].String())
			if err != nil {
				return err
			}
			if *asJSON {
				return a.printJSON(who)
			}
			return a.print("%s", whoText(who, st.CurrentTailnet))
		},
	}
}

// whoText describes a machine and its user, and the tailnet unless it is nil.
func whoText(who *api.WhoIsResponse, tailnet *api.TailnetStatus) string {
	var b strings.Builder
	n := who.Node
	line := func(name, value string) { fmt.Fprintf(&b, "  %-16s %s\n", name+":", value) }
	b.WriteString("Machine:\n")
	line("Name", strings.TrimSuffix(n.Name, "."))
	line("ID", string(n.StableID))
	line("Addresses", fmt.Sprint(n.Addresses))
	if extra := extraRoutes(n); len(extra) > 0 {
		line("AllowedIPs", fmt.Sprint(extra))
	}
	if n.IsTagged() {
		line("Tags", strings.Join(n.Tags, ", "))
	} else if who.UserProfile != nil {
		b.WriteString("User:\n")
		line("Name", who.UserProfile.LoginName)
		line("ID", fmt.Sprint(int64(who.UserProfile.ID)))
	}
	if tailnet != nil {
		b.WriteString("Tailnet:\n")
		line("Name", tailnet.Name)
		line("MagicDNS Suffix", tailnet.MagicDNSSuffix)
	}
	b.WriteString(capsText(who.CapMap))
	return b.String()
}

// extraRoutes returns what is routed to the node beside its own addresses.
func extraRoutes(n *control.Node) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(n.AllowedIPs), func(p netip.Prefix) bool { return slices.Contains(n.Addresses, p) })
}

// capsText lists capabilities with their values.
func capsText(caps control.PeerCapMap) string {
	if len(caps) == 0 {
		return ""
	}
	names := make([]string, 0, len(caps))
	for name := range caps {
		names = append(names, string(name))
	}
	slices.Sort(names)
	var b strings.Builder
	b.WriteString("Capabilities:\n")
	for _, name := range names {
		values := caps[control.PeerCapability(name)]
		if len(values) == 0 {
			fmt.Fprintf(&b, "  - %s\n", name)
			continue
		}
		fmt.Fprintf(&b, "  - %s:\n", name)
		text, err := json.MarshalIndent(values, "    ", "  ")
		if err != nil {
			text = fmt.Appendf(nil, "(cannot be shown: %v)", err)
		}
		fmt.Fprintf(&b, "    %s\n", text)
	}
	return b.String()
}
