package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/net/idna"

	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/wire/control"
)

// statusTable returns a line for this node and each peer.
func statusTable(st *api.Status, f statusFlags) string {
	var b strings.Builder
	tw := tabwriter.NewWriter(&b, 0, 2, 2, ' ', 0)
	if f.header {
		fmt.Fprintln(tw, "IP\tHostname\tOwner\tOS\tStatus")
		fmt.Fprintln(tw, "--\t--------\t-----\t--\t------")
	}
	row := func(p *api.PeerStatus, cell string) {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", firstIP(p), displayName(p, st), owner(p, st), orDash(p.OS), cell)
	}
	if f.self && st.Self != nil {
		row(st.Self, selfCell(st.Self))
	}
	now := time.Now()
	hidden := false
	for _, p := range sortedPeers(st) {
		switch {
		case p.ShareeNode, f.active && !p.Active:
		case p.Location != nil && p.ExitNodeOption && !p.ExitNode:
			hidden = true
		default:
			row(p, statusCell(p, now))
		}
	}
	tw.Flush()
	if hidden {
		b.WriteString("\n# Exit nodes with a location are not listed above.\n")
	}
	return b.String()
}

// sortedPeers returns the peers by name, those without one by host name.
func sortedPeers(st *api.Status) []*api.PeerStatus {
	var peers []*api.PeerStatus
	for _, k := range st.Peers() {
		peers = append(peers, st.Peer[k])
	}
	slices.SortStableFunc(peers, func(a, b *api.PeerStatus) int { return strings.Compare(sortName(a), sortName(b)) })
	return peers
}

// sortName is what peers are sorted by.
func sortName(p *api.PeerStatus) string {
	if p.DNSName != "" {
		return strings.ToLower(p.DNSName)
	}
	return strings.ToLower(p.HostName)
}

func firstIP(p *api.PeerStatus) string {
	if len(p.TailscaleIPs) == 0 {
		return "-"
	}
	return p.TailscaleIPs[0].String()
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// baseName returns the node's name without the tailnet's suffix, or empty.
func baseName(p *api.PeerStatus, st *api.Status) string {
	name := strings.TrimSuffix(p.DNSName, ".")
	suffix := st.MagicDNSSuffix
	if st.CurrentTailnet != nil && st.CurrentTailnet.MagicDNSSuffix != "" {
		suffix = st.CurrentTailnet.MagicDNSSuffix
	}
	if suffix = strings.Trim(suffix, "."); suffix != "" {
		name = strings.TrimSuffix(name, "."+suffix)
	}
	return name
}

// displayName returns how a node is called in lists; where that is a punycode
// name, with what it means.
func displayName(p *api.PeerStatus, st *api.Status) string {
	name := baseName(p, st)
	if name == "" {
		return fmt.Sprintf("(%q)", control.SanitizeHostname(p.HostName))
	}
	if strings.Contains(name, "xn--") {
		if text, err := idna.ToUnicode(name); err == nil && text != name {
			return fmt.Sprintf("%s (%s)", name, text)
		}
	}
	return name
}

// owner returns the login of the node's user up to and including the "@".
func owner(p *api.PeerStatus, st *api.Status) string {
	if p.UserID == 0 {
		return "-"
	}
	u, ok := st.User[p.UserID]
	if !ok || u.LoginName == "" {
		return strconv.FormatInt(int64(p.UserID), 10)
	}
	if i := strings.IndexByte(u.LoginName, '@'); i >= 0 {
		return u.LoginName[:i+1]
	}
	return u.LoginName
}

// selfCell is the last column of this node's own line.
func selfCell(p *api.PeerStatus) string {
	if p.ExitNodeOption {
		return "offers exit node"
	}
	return "-"
}

// statusCell is the last column of a peer's line: whether it is in use, how it is
// reached and how much went each way.
func statusCell(p *api.PeerStatus, now time.Time) string {
	var b strings.Builder
	role := ""
	switch {
	case p.ExitNode:
		role = "exit node"
	case p.ExitNodeOption:
		role = "offers exit node"
	}
	if p.Active {
		b.WriteString("active; " + joinRole(role, way(p)))
	} else {
		b.WriteString(idleText(p, role))
	}
	if !p.Online && b.String() != "offline" {
		b.WriteString("; offline")
	}
	if !p.Online && !p.LastSeen.IsZero() {
		b.WriteString(", last seen " + ago(now.Sub(p.LastSeen)) + " ago")
	}
	if p.TxBytes != 0 || p.RxBytes != 0 {
		fmt.Fprintf(&b, ", tx %d rx %d", p.TxBytes, p.RxBytes)
	}
	return b.String()
}

// joinRole puts a role before a way.
func joinRole(role, way string) string {
	if role == "" {
		return way
	}
	return role + "; " + way
}

// way says how an active peer is reached.
func way(p *api.PeerStatus) string {
	switch {
	case p.CurAddr != "":
		return "direct " + p.CurAddr
	case p.PeerRelay != "":
		return "peer-relay " + p.PeerRelay
	case p.Relay != "":
		return fmt.Sprintf("relay %q", p.Relay)
	}
	return "no path yet"
}

// idleText describes a peer without an active session.
func idleText(p *api.PeerStatus, role string) string {
	switch {
	case role != "":
		return "idle; " + role
	case !p.Online:
		return "offline"
	case p.TxBytes != 0 || p.RxBytes != 0 || !p.LastHandshake.IsZero():
		return "idle"
	}
	return "-"
}

// ago returns a duration in the largest unit that fits.
func ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// loggedOutText is the warning of a node that has not tried to log in. Where it is
// shown, the state has said the same.
const loggedOutText = "You are logged out."

// healthText returns the warnings, without one that has been said already.
func healthText(st *api.Status, said string) string {
	var b strings.Builder
	for _, text := range st.Health {
		if text == said || text == loggedOutText {
			continue
		}
		if b.Len() == 0 {
			b.WriteString("\n# Health check:\n")
		}
		fmt.Fprintf(&b, "#     - %s\n", strings.ReplaceAll(text, "\n", "\n#       "))
	}
	return b.String()
}
