package main

import (
	"context"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/internal/cli"
	"github.com/ginnel/ginnel/node/local/api"
)

// statusFlags are the flags of status.
type statusFlags struct {
	json, active, header, peers, self bool
}

// statusCommand shows the node and its peers.
func (a *app) statusCommand() *ffcli.Command {
	var f statusFlags
	fs := newFlags("status")
	fs.BoolVar(&f.json, "json", false, "print JSON (fields may be added)")
	fs.BoolVar(&f.active, "active", false, "show only peers with an active session")
	fs.BoolVar(&f.header, "header", false, "show column headers")
	fs.BoolVar(&f.peers, "peers", true, "show peers")
	fs.BoolVar(&f.self, "self", true, "show this machine")
	return &ffcli.Command{
		Name: "status", ShortUsage: "ginnel status [flags]", ShortHelp: "Show the state of ginneld and its peers", FlagSet: fs,
		LongHelp: `Shows this machine and its peers, one in a line: address, name, owner, operating
system, and how it is reached. The exit code is 1 when the node is not up; with
--json it is 0 as long as ginneld answers.`,
		Exec: func(ctx context.Context, args []string) error {
			if err := cli.Args(args); err != nil {
				return err
			}
			return a.status(ctx, f)
		},
	}
}

// status shows the state of the daemon.
func (a *app) status(ctx context.Context, f statusFlags) error {
	get := a.local().Status
	if !f.peers {
		get = a.local().StatusWithoutPeers
	}
	st, err := get(ctx)
	if err != nil {
		return err
	}
	if f.json {
		return a.printJSON(filterStatus(st, f))
	}
	if problem, ok := stateProblem(st); !ok {
		a.print("%s\n", problem)
		a.print("%s", healthText(st, problem))
		return exitError(1)
	}
	return a.print("%s%s", statusTable(st, f), healthText(st, ""))
}

// filterStatus leaves out what the flags exclude.
func filterStatus(st *api.Status, f statusFlags) *api.Status {
	if f.active {
		for k, peer := range st.Peer {
			if !peer.Active {
				delete(st.Peer, k)
			}
		}
	}
	if !f.self {
		st.Self = nil
	}
	return st
}
