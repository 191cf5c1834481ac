package main

import (
	"context"
	"fmt"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/internal/cli"
	"github.com/ginnel/ginnel/node/local/api"
)

// downCommand disconnects and stays logged in.
func (a *app) downCommand() *ffcli.Command {
	fs := newFlags("down")
	acceptRisk := fs.String("accept-risk", "", riskUsage)
	return &ffcli.Command{
		Name: "down", ShortUsage: "ginnel down [flags]", ShortHelp: "Disconnect from the network, staying logged in", FlagSet: fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := cli.Args(args); err != nil {
				return err
			}
			st, err := a.local().StatusWithoutPeers(ctx)
			if err != nil {
				return err
			}
			if st.BackendState == api.Stopped.String() {
				fmt.Fprintln(a.stderr, "Ginnel was already stopped.")
				return nil
			}
			if err := a.riskSSH(*acceptRisk, "this action"); err != nil {
				return err
			}
			_, err = a.local().EditPrefs(ctx, &api.MaskedPrefs{WantRunningSet: true})
			return err
		},
	}
}
