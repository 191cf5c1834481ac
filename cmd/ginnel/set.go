package main

import (
	"context"
	"flag"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/internal/cli"
	"github.com/ginnel/ginnel/node/local/api"
)

// setCommand changes the preferences that are mentioned.
func (a *app) setCommand() *ffcli.Command {
	fs := newFlags("set")
	table := prefFlags()
	addPrefFlags(fs, table, nil)
	acceptRisk := fs.String("accept-risk", "", riskUsage)
	return &ffcli.Command{
		Name: "set", ShortUsage: "ginnel set [flags]", ShortHelp: "Change preferences",
		LongHelp: "Changes the preferences that are mentioned and leaves all others as they are.\nUnlike 'ginnel up', it neither connects nor asks for everything to be mentioned.",
		FlagSet:  fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := cli.Args(args); err != nil {
				return err
			}
			names := given(fs)
			if len(names) == 0 || len(names) == 1 && names[0] == "accept-risk" {
				return flag.ErrHelp
			}
			return a.set(ctx, fs, table, *acceptRisk)
		},
	}
}

// set changes what the given flags say.
func (a *app) set(ctx context.Context, fs *flag.FlagSet, table []prefFlag, acceptRisk string) error {
	prefs, err := a.local().Prefs(ctx)
	if err != nil {
		return err
	}
	wanted := prefs.Public()
	applied, err := applyGiven(fs, table, wanted, a.flagEnv(ctx))
	if err != nil {
		return err
	}
	if risky(prefs, wanted) {
		if err := a.riskSSH(acceptRisk, "this change"); err != nil {
			return err
		}
	}
	if err := a.local().CheckPrefs(ctx, wanted); err != nil {
		return err
	}
	if _, err = a.local().EditPrefs(ctx, mask(wanted, applied)); err != nil {
		return err
	}
	a.warnIdle(applied, wanted)
	return nil
}

// risky reports whether a change may cut off connections to this node.
func risky(now, then *api.Prefs) bool {
	return !now.ShieldsUp && then.ShieldsUp || now.RunSSH != then.RunSSH
}
