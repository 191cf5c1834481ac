package tunnel

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ginnel/ginnel/wire/key"
)

// peerState is a peer's configuration as WireGuard has it.
type peerState struct {
	allowed   map[netip.Prefix]bool
	keepalive int // seconds
}

// resolve returns the state that a configuration asks for. Each prefix has one owner.
func resolve(cfg Config) map[key.NodePublic]peerState {
	self := cfg.PrivateKey.Public()
	owned := make(map[netip.Prefix]bool, 2*len(cfg.Peers))
	peers := make(map[key.NodePublic]peerState, len(cfg.Peers))
	for _, p := range cfg.Peers {
		if _, twice := peers[p.Key]; twice || p.Key.IsZero() || p.Key == self {
			continue
		}
		s := peerState{allowed: make(map[netip.Prefix]bool, len(p.AllowedIPs)), keepalive: int(p.PersistentKeepalive / time.Second)}
		for _, prefix := range p.AllowedIPs {
			if prefix = prefix.Masked(); prefix.IsValid() && !owned[prefix] {
				owned[prefix] = true
				s.allowed[prefix] = true
			}
		}
		peers[p.Key] = s
	}
	return peers
}

// writeDiff writes what leads from one state to another in WireGuard's configuration
// protocol. Prefixes are given to their new owner before they are taken from the old
// one, so that no packet in between finds nobody.
func writeDiff(b *strings.Builder, from, to map[key.NodePublic]peerState) {
	for _, k := range sortedKeys(to) {
		old, known := from[k]
		writeAdditions(b, k, known, old, to[k])
	}
	for _, k := range sortedKeys(from) {
		s, stays := to[k]
		if !stays {
			writeLine(b, "public_key", k.UntypedHex())
			writeLine(b, "remove", "true")
			continue
		}
		named := false
		for _, prefix := range sortedPrefixes(from[k].allowed) {
			if s.allowed[prefix] {
				continue
			}
			if !named {
				writeLine(b, "public_key", k.UntypedHex())
				named = true
			}
			writeLine(b, "allowed_ip", "-"+prefix.String())
		}
	}
}

// writeAdditions writes what a peer gets.
func writeAdditions(b *strings.Builder, k key.NodePublic, known bool, from, to peerState) {
	named := false
	name := func() {
		if !named {
			writeLine(b, "public_key", k.UntypedHex())
			named = true
		}
	}
	if !known {
		name()
		writeLine(b, "endpoint", k.UntypedHex())
	}
	if from.keepalive != to.keepalive {
		name()
		writeLine(b, "persistent_keepalive_interval", strconv.Itoa(to.keepalive))
	}
	for _, prefix := range sortedPrefixes(to.allowed) {
		if !from.allowed[prefix] {
			name()
			writeLine(b, "allowed_ip", prefix.String())
		}
	}
}

func writeLine(b *strings.Builder, name, value string) {
	b.WriteString(name)
	b.WriteByte('=')
	b.WriteString(value)
	b.WriteByte('\n')
}

func sortedKeys(m map[key.NodePublic]peerState) []key.NodePublic {
	return slices.SortedFunc(maps.Keys(m), key.NodePublic.Compare)
}

func sortedPrefixes(m map[netip.Prefix]bool) []netip.Prefix {
	return slices.SortedFunc(maps.Keys(m), func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
}
