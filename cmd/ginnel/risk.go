package main

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// riskUsage is the help of the flag --accept-risk.
const riskUsage = "accept a `risk` without being asked: lose-ssh, or all"

// riskLoseSSH is the risk of cutting off the connection the user works over.
const riskLoseSSH = "lose-ssh"

// errAborted says that the user took a step back.
var errAborted = errors.New("aborted, no changes made")

// tailnetRanges hold the addresses of nodes.
var tailnetRanges = []netip.Prefix{netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("fd7a:115c:a1e0::/48")}

// riskSSH asks before doing what may cut off an SSH connection over the tailnet.
func (a *app) riskSSH(accepted, doing string) error {
	if !a.isSSHOverTailnet() {
		return nil
	}
	return a.risk(accepted, riskLoseSSH,
		"You are connected over Ginnel; "+doing+" may result in your SSH session disconnecting.")
}

// risk asks whether to go on, unless the user has accepted the risk already.
func (a *app) risk(accepted, kind, text string) error {
	for _, risk := range splitList(accepted) {
		if risk == kind || risk == "all" {
			return nil
		}
	}
	fmt.Fprintf(a.stderr, "%s\nTo skip this warning, use --accept-risk=%s\nContinue? [y/n] ", text, kind)
	answer, _ := bufio.NewReader(a.stdin).ReadString('\n') // the end of input is a no
	if !slices.Contains([]string{"y", "yes"}, strings.ToLower(strings.TrimSpace(answer))) {
		fmt.Fprintln(a.stderr)
		return errAborted
	}
	return nil
}

// isSSHOverTailnet reports whether the user came over SSH from a node.
func (a *app) isSSHOverTailnet() bool {
	fields := strings.Fields(a.getenv("SSH_CLIENT"))
	if len(fields) == 0 {
		return false
	}
	ip, err := netip.ParseAddr(fields[0])
	if err != nil {
		return false
	}
	return slices.ContainsFunc(tailnetRanges, func(p netip.Prefix) bool { return p.Contains(ip.Unmap()) })
}
