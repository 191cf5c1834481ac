package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/peterbourgon/ff/v3/ffcli"
)

// debugPaths prints all that the daemon knows of its paths.
func (a *app) debugPaths(ctx context.Context) error {
	text, err := a.local().DebugAction(ctx, "paths")
	if err != nil {
		return err
	}
	return a.printIndented(text)
}

// pathCommand shows the candidate paths of one peer.
func (a *app) pathCommand() *ffcli.Command {
	return &ffcli.Command{
		Name: "path", ShortUsage: "ginnel debug path <hostname or IP>", ShortHelp: "Show the candidate paths of one peer", FlagSet: newFlags("path"),
		Exec: func(ctx context.Context, args []string) error {
			if len(args) != 1 {
				return errOneArg("debug path", "hostname or IP")
			}
			return a.debugPath(ctx, args[0])
		},
	}
}

// debugPath prints what the daemon knows of the paths to a peer.
func (a *app) debugPath(ctx context.Context, name string) error {
	st, err := a.runningStatus(ctx)
	if err != nil {
		return err
	}
	peer, isSelf, err := findPeer(st, name)
	if err != nil {
		return err
	}
	if isSelf {
		return fmt.Errorf("%s is this machine", name)
	}
	text, err := a.local().DebugAction(ctx, "paths")
	if err != nil {
		return err
	}
	var all struct {
		Peers map[string]json.RawMessage
	}
	if err := json.Unmarshal(text, &all); err != nil {
		return fmt.Errorf("paths: %w", err)
	}
	paths, ok := all.Peers[peer.PublicKey.String()]
	if !ok {
		return fmt.Errorf("ginneld has no paths for %s", name)
	}
	return a.printIndented(paths)
}
