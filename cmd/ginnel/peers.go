package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/ginnel/ginnel/internal/cli"
	"github.com/ginnel/ginnel/node/local/api"
)

// findPeer returns the node, this one included, that text names: by full name,
// base name, host name or address. It fails with a suggestion.
func findPeer(st *api.Status, text string) (p *api.PeerStatus, isSelf bool, err error) {
	ip, parseErr := netip.ParseAddr(text)
	isIP := parseErr == nil
	matches := func(p *api.PeerStatus, match func(*api.PeerStatus) bool) bool { return p != nil && match(p) }
	for _, match := range []func(*api.PeerStatus) bool{
		func(p *api.PeerStatus) bool { return isIP && hasIP(p, ip) || isPeerNamed(p, st, text) },
		func(p *api.PeerStatus) bool { return !isIP && strings.EqualFold(p.HostName, text) },
	} {
		if matches(st.Self, match) {
			return st.Self, true, nil
		}
		for _, peer := range sortedPeers(st) {
			if match(peer) {
				return peer, false, nil
			}
		}
	}
	return nil, false, unknownPeer(st, text)
}

// unknownPeer makes the error for a name or address that no node has.
func unknownPeer(st *api.Status, text string) error {
	err := fmt.Errorf("no node in the network is called %q", text)
	if _, parseErr := netip.ParseAddr(text); parseErr == nil {
		err = fmt.Errorf("no node in the network has the IP %s", text)
	}
	if s := cli.Suggest(text, peerNames(st)); s != "" {
		err = fmt.Errorf("%w\nDid you mean %q?", err, s)
	}
	return err
}

// peerNames returns the base names of all nodes, this one first.
func peerNames(st *api.Status) []string {
	var names []string
	nodes := sortedPeers(st)
	if st.Self != nil {
		nodes = append([]*api.PeerStatus{st.Self}, nodes...)
	}
	for _, p := range nodes {
		if name := baseName(p, st); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// runningStatus returns the status with peers. When the node is not up it prints
// why and returns the error of exit code 1.
func (a *app) runningStatus(ctx context.Context) (*api.Status, error) {
	st, err := a.local().Status(ctx)
	if err != nil {
		return nil, err
	}
	if problem, ok := stateProblem(st); !ok {
		a.print("%s\n", problem)
		return nil, exitError(1)
	}
	return st, nil
}
