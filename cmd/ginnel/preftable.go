package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/wire/control"
)

// isTrue and isFalse are conditions on the text of a flag.
func isTrue(text string) bool  { return text == "true" }
func isFalse(text string) bool { return text == "false" }

// prefFlags returns the table of flags that stand for preferences, by name.
func prefFlags() []prefFlag {
	flags := []prefFlag{
		boolPref("accept-dns", "accept DNS configuration from the server", "CorpDNS",
			func(p *api.Prefs) *bool { return &p.CorpDNS }).butIdle("this version does not change the host's DNS yet", isTrue),
		boolPref("accept-routes", "accept routes that other nodes advertise", "RouteAll",
			func(p *api.Prefs) *bool { return &p.RouteAll }),
		boolPref("exit-node-allow-lan-access", "reach the local network directly while using an exit node", "ExitNodeAllowLANAccess",
			func(p *api.Prefs) *bool { return &p.ExitNodeAllowLANAccess }).butIdle(noExitNodes, isTrue),
		textPref("hostname", "`name` to use instead of the one the system has", "Hostname",
			func(p *api.Prefs) *string { return &p.Hostname }).only(validHostname),
		textPref("operator", "Unix `user` who may change things without sudo", "OperatorUser",
			func(p *api.Prefs) *string { return &p.OperatorUser }),
		boolPref("shields-up", "do not let others start connections to this node", "ShieldsUp",
			func(p *api.Prefs) *bool { return &p.ShieldsUp }),
		boolPref("ssh", "run an SSH server for the network", "RunSSH",
			func(p *api.Prefs) *bool { return &p.RunSSH }).refused(),
		advertiseExitNode(), advertiseRoutes(), advertiseTags(), exitNode(), netfilterMode(), snat(), statefulFiltering(),
	}
	nickname := textPref("nickname", "`name` for this account", "ProfileName", func(p *api.Prefs) *string { return &p.ProfileName })
	nickname.notUp = true
	flags = append(flags, nickname)
	slices.SortFunc(flags, func(a, b prefFlag) int { return strings.Compare(a.name, b.name) })
	return flags
}

// upFlags returns the flags of the table that up has.
func upFlags() []prefFlag {
	return slices.DeleteFunc(prefFlags(), func(f prefFlag) bool { return f.notUp })
}

// What this version does not do yet, as users are told.
const (
	noExitNodes = "this version does not use exit nodes yet"
	noRouter    = "this version does not route for others yet"
)

// exitRoutes are the two prefixes that together offer an exit node.
var exitRoutes = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}

func isExitRoute(p netip.Prefix) bool { return p.Bits() == 0 }

func advertiseExitNode() prefFlag {
	return prefFlag{
		name: "advertise-exit-node", usage: "offer to be an exit node for the network", isBool: true, fields: []string{"AdvertiseRoutes"},
		get: func(p *api.Prefs) string { return strconv.FormatBool(p.AdvertisesExitNode()) },
		set: func(p *api.Prefs, text string, _ *flagEnv) error {
			routes := slices.DeleteFunc(slices.Clone(p.AdvertiseRoutes), isExitRoute)
			if text == "true" {
				routes = append(routes, exitRoutes...)
			}
			p.AdvertiseRoutes = routes
			return nil
		},
	}.refused()
}

func advertiseRoutes() prefFlag {
	return prefFlag{
		name: "advertise-routes", usage: "`routes` to offer to other nodes, comma-separated, such as \"10.0.0.0/8,192.168.0.0/24\"; empty for none",
		fields: []string{"AdvertiseRoutes"},
		get: func(p *api.Prefs) string {
			var texts []string
			for _, r := range p.AdvertiseRoutes {
				if !isExitRoute(r) || !p.AdvertisesExitNode() {
					texts = append(texts, r.String())
				}
			}
			return strings.Join(texts, ",")
		},
		set: func(p *api.Prefs, text string, _ *flagEnv) error {
			routes, err := parseRoutes(text)
			if err != nil {
				return err
			}
			if p.AdvertisesExitNode() && !slices.ContainsFunc(routes, isExitRoute) {
				routes = append(routes, exitRoutes...)
			}
			p.AdvertiseRoutes = routes
			return nil
		},
	}.refused()
}

// parseRoutes reads a comma list of prefixes.
func parseRoutes(text string) ([]netip.Prefix, error) {
	var routes []netip.Prefix
	for _, part := range splitList(text) {
		route, err := netip.ParsePrefix(part)
		if err != nil {
			return nil, fmt.Errorf("%q is not a valid IP address or CIDR prefix", part)
		}
		if route != route.Masked() {
			return nil, fmt.Errorf("%s has non-address bits set; expected %s", route, route.Masked())
		}
		if err := checkSiteRoute(route); err != nil {
			return nil, err
		}
		if !slices.Contains(routes, route) {
			routes = append(routes, route)
		}
	}
	if exits := len(slices.DeleteFunc(slices.Clone(routes), func(p netip.Prefix) bool { return !isExitRoute(p) })); exits == 1 {
		return nil, errors.New("0.0.0.0/0 and ::/0 must be advertised together; did you mean --advertise-exit-node?")
	}
	return routes, nil
}

// siteRange holds IPv4 networks that are told apart by a site number (4via6).
var siteRange = netip.MustParsePrefix("fd7a:115c:a1e0:b1a::/64")

// checkSiteRoute fails for a prefix of siteRange that does not hold a site number
// and an IPv4 prefix.
func checkSiteRoute(route netip.Prefix) error {
	if !siteRange.Contains(route.Addr()) || route.Addr().Is4() {
		return nil
	}
	raw := route.Addr().As16()
	if route.Bits() < 96 {
		return fmt.Errorf("route %s in the range for IPv4 networks by site must be at least a /96", route)
	}
	if raw[8] != 0 || raw[9] != 0 {
		return fmt.Errorf("route %s has a site number over 65535", route)
	}
	return nil
}

func advertiseTags() prefFlag {
	return prefFlag{
		name: "advertise-tags", usage: "`tags` to ask for, comma-separated, such as \"tag:eng,tag:montreal\"", fields: []string{"AdvertiseTags"},
		get: func(p *api.Prefs) string { return strings.Join(p.AdvertiseTags, ",") },
		set: func(p *api.Prefs, text string, _ *flagEnv) error {
			p.AdvertiseTags = nil
			for _, tag := range splitList(text) {
				if !strings.HasPrefix(tag, "tag:") {
					tag = "tag:" + tag
				}
				if err := checkTag(tag); err != nil {
					return err
				}
				p.AdvertiseTags = append(p.AdvertiseTags, tag)
			}
			return nil
		},
	}
}

// checkTag fails for what cannot be a tag.
func checkTag(tag string) error {
	name := strings.TrimPrefix(tag, "tag:")
	bad := strings.IndexFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-')
	}) >= 0
	if name == "" || bad || name[0] >= '0' && name[0] <= '9' || name[0] == '-' {
		return fmt.Errorf("tag: %q: tag names start with a letter and hold only letters, numbers and dashes", tag)
	}
	return nil
}

func netfilterMode() prefFlag {
	return prefFlag{
		name: "netfilter-mode", usage: "how much of the host's firewall to manage, the `mode` being on, nodivert or off", fields: []string{"NetfilterMode"},
		get: func(p *api.Prefs) string { return p.NetfilterMode.String() },
		set: func(p *api.Prefs, text string, _ *flagEnv) error {
			for _, m := range []api.NetfilterMode{api.NetfilterOff, api.NetfilterNoDivert, api.NetfilterOn} {
				if m.String() == text {
					p.NetfilterMode = m
					return nil
				}
			}
			return fmt.Errorf("invalid value --netfilter-mode=%q; must be on, nodivert or off", text)
		},
	}.butIdle("this version leaves the host's firewall alone", func(text string) bool { return text != "off" })
}

func snat() prefFlag {
	f := boolPref("snat-subnet-routes", "hide the sources of traffic to advertised routes behind this node", "NoSNAT", nil)
	f.get = func(p *api.Prefs) string { return strconv.FormatBool(!p.NoSNAT) }
	f.set = func(p *api.Prefs, text string, _ *flagEnv) error { p.NoSNAT = text == "false"; return nil }
	return f.butIdle(noRouter, isFalse)
}

func statefulFiltering() prefFlag {
	f := boolPref("stateful-filtering", "filter by connection what is forwarded to and from advertised routes", "NoStatefulFiltering", nil)
	f.get = func(p *api.Prefs) string { return strconv.FormatBool(!p.NoStatefulFiltering.OrElse(true)) }
	f.set = func(p *api.Prefs, text string, _ *flagEnv) error {
		p.NoStatefulFiltering = control.OptBoolOf(text == "false")
		return nil
	}
	return f.butIdle(noRouter, isTrue)
}

// splitList takes a comma list apart; empty text is no element.
func splitList(text string) []string {
	var parts []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}
