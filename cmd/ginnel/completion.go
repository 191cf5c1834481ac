package main

import (
	"context"
	"flag"
	"strings"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/internal/cli"
	"github.com/ginnel/ginnel/node/local/api"
)

// completionPatience is how long completion waits for the daemon.
const completionPatience = 500 * time.Millisecond

// completer knows what arguments and values the commands take.
func (a *app) completer(root *ffcli.Command) *cli.Completer {
	c := &cli.Completer{Args: map[*ffcli.Command]func(context.Context, []string) []cli.Candidate{},
		Values: map[string]func(context.Context) []cli.Candidate{}}
	onePeer := func(ctx context.Context, before []string) []cli.Candidate {
		if len(before) > 0 {
			return nil
		}
		return a.peerCandidates(ctx, func(*api.PeerStatus) bool { return true })
	}
	for _, path := range []string{"ping", "ip", "whois", "debug path"} {
		c.Args[cli.Find(root, path)] = onePeer
	}
	c.Args[cli.Find(root, "get")] = func(_ context.Context, before []string) []cli.Candidate {
		if len(before) > 0 {
			return nil
		}
		out := []cli.Candidate{{Value: "all"}}
		for _, f := range prefFlags() {
			out = append(out, cli.Candidate{Value: f.name, Description: usageLine(f.usage)})
		}
		return out
	}
	for name, values := range map[string]string{"netfilter-mode": "on nodivert off", "qr-format": "auto ascii large small",
		"format": "json json-line", "proto": "tcp udp", "accept-risk": "lose-ssh all", "auth-key": "file:"} {
		c.Values[name] = func(context.Context) []cli.Candidate { return candidates(values) }
	}
	c.Values["exit-node"] = func(ctx context.Context) []cli.Candidate {
		return append(a.peerCandidates(ctx, func(p *api.PeerStatus) bool { return p.ExitNodeOption }), cli.Candidate{Value: "auto:any"})
	}
	return c
}

// candidates makes candidates of words.
func candidates(words string) []cli.Candidate {
	var out []cli.Candidate
	for w := range strings.FieldsSeq(words) {
		out = append(out, cli.Candidate{Value: w})
	}
	return out
}

// usageLine returns the first line of a flag's usage as plain text.
func usageLine(usage string) string {
	_, text := flag.UnquoteUsage(&flag.Flag{Usage: usage, Value: &value{}})
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// peerCandidates returns the names of the peers that want accepts. Without a
// daemon there are none: completion stays silent.
func (a *app) peerCandidates(ctx context.Context, want func(*api.PeerStatus) bool) []cli.Candidate {
	ctx, cancel := context.WithTimeout(ctx, completionPatience)
	defer cancel()
	st, err := a.local().Status(ctx)
	if err != nil {
		return nil
	}
	var out []cli.Candidate
	for _, p := range sortedPeers(st) {
		if name := baseName(p, st); name != "" && want(p) {
			out = append(out, cli.Candidate{Value: name, Description: firstIP(p)})
		}
	}
	return out
}
