package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/node/local/api"
)

// loginCommand logs in without asking for preferences to be mentioned.
func (a *app) loginCommand() *ffcli.Command {
	j := newJoinFlags("login", prefFlags())
	return &ffcli.Command{
		Name: "login", ShortUsage: "ginnel login [flags]", ShortHelp: "Log in to a network",
		LongHelp: `Logs this machine in to a network and connects it, with preferences as the flags
say and all others at their defaults. A machine that is logged in must log out first.`,
		FlagSet: j.fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			return a.login(ctx, j)
		},
	}
}

// login logs in a node that is not.
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
	if st.HaveNodeKey && st.BackendState != api.NeedsLogin.String() {
		return alreadyLoggedIn(prefs)
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
	return a.join(ctx, j, &plan{prefs: wanted, login: true, authKey: authKey})
}

// alreadyLoggedIn says who is logged in and what can be done.
func alreadyLoggedIn(prefs *api.Prefs) error {
	who := ""
	if prefs.Config != nil && prefs.Config.UserProfile.LoginName != "" {
		who = " as " + prefs.Config.UserProfile.LoginName
	}
	return errors.New(fmt.Sprintf("already logged in to %s%s, and this version keeps one login at a time.\n", prefs.ControlURL, who) +
		"To change it, run 'ginnel logout' first; to renew it, 'ginnel up --force-reauth'.")
}
