package main

import (
	"context"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/internal/cli"
)

// logoutCommand disconnects and forgets the login.
func (a *app) logoutCommand() *ffcli.Command {
	fs := newFlags("logout")
	reason := fs.String("reason", "", "`text` to say why, where the network's policy asks for it")
	return &ffcli.Command{
		Name: "logout", ShortUsage: "ginnel logout [flags]", ShortHelp: "Disconnect and expire the node's key",
		LongHelp: "Takes the network down, expires this node's key and forgets the login.\nTo use the network again, this machine has to log in again.",
		FlagSet:  fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := cli.Args(args); err != nil {
				return err
			}
			return a.local().Logout(ctx, *reason)
		},
	}
}
