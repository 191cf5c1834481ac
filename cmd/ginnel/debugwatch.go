package main

import (
	"context"
	"fmt"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/internal/cli"
	"github.com/ginnel/ginnel/node/local/api"
)

// watchCommand prints what the daemon tells its watchers.
func (a *app) watchCommand(name, help string) *ffcli.Command {
	fs := newFlags(name)
	count := fs.Int("count", 0, "end after this `number` of messages; 0 for no end")
	bits := map[api.NotifyMask]*bool{
		api.NotifyInitialState | api.NotifyInitialPrefs: fs.Bool("initial", false, "begin with the present state and preferences"),
		api.NotifyInitialStatus:                         fs.Bool("initial-status", false, "begin with the present status"),
		api.NotifyInitialHealthState:                    fs.Bool("initial-health", false, "begin with the present health"),
		api.NotifyInitialClientVersion:                  fs.Bool("initial-client-version", false, "begin with what is known of new releases"),
		api.NotifyEngineUpdates:                         fs.Bool("engine-updates", false, "show traffic counters"),
		api.NotifyPeerChanges:                           fs.Bool("peer-changes", true, "show changes of peers"),
	}
	return &ffcli.Command{
		Name: name, ShortUsage: "ginnel debug " + name + " [flags]", ShortHelp: help, FlagSet: fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := cli.Args(args); err != nil {
				return err
			}
			mask := api.NotifyNoPrivateKeys
			for bit, on := range bits {
				if *on {
					mask |= bit
				}
			}
			return a.watch(ctx, mask, *count)
		},
	}
}

// watch prints messages until there have been count, or for ever.
func (a *app) watch(ctx context.Context, mask api.NotifyMask, count int) error {
	w, err := a.local().WatchBus(ctx, mask)
	if err != nil {
		return err
	}
	defer w.Close()
	fmt.Fprintln(a.stderr, "Connected.")
	seen := 0
	for n, err := range w.All() {
		if err != nil {
			return err
		}
		if err := a.printJSON(n); err != nil {
			return err
		}
		if seen++; seen == count {
			break
		}
	}
	return nil
}
