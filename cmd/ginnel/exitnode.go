package main

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/wire/control"
)

// autoPrefix starts the value that leaves the choice to the daemon.
const autoPrefix = "auto:"

// exitNode is the flag for the exit node to use.
func exitNode() prefFlag {
	return prefFlag{
		name: "exit-node", usage: "exit `node` to use: its IP, name, or \"auto:any\"; empty for none",
		fields: []string{"ExitNodeID", "ExitNodeIP", "AutoExitNode"},
		get: func(p *api.Prefs) string {
			switch {
			case p.AutoExitNode != "":
				return autoPrefix + p.AutoExitNode
			case p.ExitNodeID != "":
				return string(p.ExitNodeID)
			case p.ExitNodeIP.IsValid():
				return p.ExitNodeIP.String()
			}
			return ""
		},
		set: func(p *api.Prefs, text string, env *flagEnv) error {
			p.ExitNodeID, p.ExitNodeIP, p.AutoExitNode = "", netip.Addr{}, ""
			switch {
			case text == "":
				return nil
			case strings.HasPrefix(text, autoPrefix):
				p.AutoExitNode = "any" // the only kind there is
				return nil
			}
			st, err := env.status()
			if err != nil {
				return err
			}
			p.ExitNodeID, p.ExitNodeIP, err = findExitNode(st, text)
			return err
		},
	}.refused()
}

// findExitNode returns the exit node that text means: its stable ID, or its
// address while the peers are not known yet.
func findExitNode(st *api.Status, text string) (control.StableNodeID, netip.Addr, error) {
	none := netip.Addr{}
	ip, err := netip.ParseAddr(text)
	isIP := err == nil
	for _, own := range st.TailscaleIPs {
		if isIP && own == ip {
			return "", none, fmt.Errorf("cannot use %s as an exit node as it is a local IP address to this machine", text)
		}
	}
	if st.BackendState != api.Running.String() {
		if isIP {
			return "", ip, nil
		}
		return "", none, fmt.Errorf("cannot look up exit node %q while not running; use its IP address", text)
	}
	var found *api.PeerStatus
	for _, k := range st.Peers() {
		peer := st.Peer[k]
		if !isPeerNamed(peer, st, text) && !(isIP && hasIP(peer, ip)) && string(peer.ID) != text {
			continue
		}
		if found != nil {
			return "", none, fmt.Errorf("ambiguous exit node name %q", text)
		}
		found = peer
	}
	switch {
	case found == nil && isIP:
		return "", none, fmt.Errorf("no node found in netmap with IP %s", text)
	case found == nil:
		return "", none, fmt.Errorf("invalid value %q for --exit-node; must be IP or peer hostname", text)
	case !found.ExitNodeOption:
		return "", none, fmt.Errorf("node %s is not advertising an exit node", text)
	}
	return found.ID, none, nil
}

// hasIP reports whether ip is one of the node's.
func hasIP(p *api.PeerStatus, ip netip.Addr) bool {
	for _, own := range p.TailscaleIPs {
		if own == ip {
			return true
		}
	}
	return false
}

// isPeerNamed reports whether text is the node's full name, with or without the
// final dot, or its base name in the tailnet.
func isPeerNamed(p *api.PeerStatus, st *api.Status, text string) bool {
	if text == "" || p.DNSName == "" {
		return false
	}
	full := strings.TrimSuffix(p.DNSName, ".")
	return strings.EqualFold(strings.TrimSuffix(text, "."), full) || strings.EqualFold(text, baseName(p, st))
}
