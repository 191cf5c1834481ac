//go:build linux

package netlab

import (
	"fmt"
	"os/exec"
	"strings"
)

// Rules are a named set of firewall rules: the body of one nftables table of
// the family inet, in the language of nft. A host has at most one set of a
// name, and sets do not know of each other.
type Rules struct{ Name, Body string }

// Apply loads the rules into the host, in one step, in the place of those with
// the same name.
func (h *Host) Apply(r Rules) error {
	// An empty declaration makes the removal work where there is none to remove.
	return h.nft(fmt.Sprintf("table inet %[1]s {}\ndelete table inet %[1]s\ntable inet %[1]s {\n%[2]s\n}\n", r.Name, r.Body))
}

// Remove takes the rules of the name out of the host, which must have them.
func (h *Host) Remove(name string) error { return h.nft("delete table inet " + name + "\n") }

func (h *Host) nft(text string) error {
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(text)
	return h.runCmd(cmd)
}

// HomeNAT translates IPv4 that leaves by the interface to its address, keeping
// the port where it is free, and drops IPv4 that comes in by it unasked: an
// ordinary home router. What is for the router itself is dropped too; accepted,
// it would leave a connection entry that takes the port of the machine behind
// it that is about to send the other way. IPv6 passes.
func HomeNAT(outside string) Rules {
	return Rules{Name: "homenat", Body: strings.ReplaceAll(`
	chain out {
		type nat hook postrouting priority srcnat;
		meta nfproto ipv4 oifname "OUTSIDE" masquerade
	}
	chain forward {
		type filter hook forward priority filter;
		meta nfproto ipv4 iifname "OUTSIDE" ct state != { established, related } drop
	}
	chain in {
		type filter hook input priority filter;
		meta nfproto ipv4 iifname "OUTSIDE" ct state != { established, related } drop
	}`, "OUTSIDE", outside)}
}

// NoUDP drops all UDP that enters or leaves by the host's links. What passes a
// device that a program made is not looked at.
func NoUDP() Rules {
	return Rules{Name: "noudp", Body: `
	chain in { type filter hook input priority filter; iifname "eth*" meta l4proto udp drop; }
	chain out { type filter hook output priority filter; oifname "eth*" meta l4proto udp drop; }`}
}
