package main

import (
	"context"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/internal/cli"
	"github.com/ginnel/ginnel/node/local/api"
)

// loginCommand logs in without asking for preferences to be mentioned.
func (a *app) loginCommand() *ffcli.Command {
	j := newJoinFlags("login", prefFlags())
	return &ffcli.Command{
		Name: "login", ShortUsage: "ginnel login [flags]", ShortHelp: "Log in to a network",
		LongHelp: `Logs this machine in to a network and connects it, with preferences as the flags
say and all others at their defaults. A machine that is logged in already keeps that
login; 'ginnel switch' changes between the two.`,
		FlagSet: j.fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := cli.Args(args); err != nil {
				return err
			}
			return a.login(ctx, j)
		},
	}
}

// login logs in, in a new profile if the present one has a login.
func (a *app) login(ctx context.Context, j *joinFlags) error {
	if err := checkQRFormat(j.qrFormat); err != nil {
		return err
	}
	st, err := a.local().StatusWithoutPeers(ctx)
	if err != nil {
		return err
	}
	prefs, err := a.local().Prefs(ctx)
	if err != nil {
		return err
	}
	authKey, err := readAuthKey(j.authKey)
	if err != nil {
		return err
	}
	wanted := api.NewPrefs()
	wanted.OperatorUser = prefs.OperatorUser
	applied, err := applyGiven(j.fs, j.table, wanted, a.flagEnv(ctx))
	if err != nil {
		return err
	}
	if wanted.ControlURL, err = a.chooseServer(j.loginServer, prefs.ControlURL); err != nil {
		return err
	}
	a.warnIdle(applied, wanted)
	wanted.WantRunning, wanted.LoggedOut = true, false
	p := &plan{prefs: wanted, login: true, authKey: authKey, force: true}
	if !st.HaveNodeKey {
		return a.join(ctx, j, p)
	}
	back, err := a.addAccount(ctx)
	if err != nil {
		return err
	}
	err = a.join(ctx, j, p)
	if err != nil {
		back()
	}
	return err
}
