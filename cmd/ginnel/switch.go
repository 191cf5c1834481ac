package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/internal/cli"
	"github.com/ginnel/ginnel/node/local/api"
)

// switchCommand changes to another of the accounts this machine is logged in to.
func (a *app) switchCommand() *ffcli.Command {
	fs := newFlags("switch")
	list := fs.Bool("list", false, "show the accounts")
	asJSON := fs.Bool("json", false, "show them as JSON (the format may change)")
	return &ffcli.Command{
		Name: "switch", ShortUsage: "ginnel switch <id|tailnet|account|nickname>\n  ginnel switch --list [--json]\n  ginnel switch remove <id|tailnet|account|nickname>",
		ShortHelp: "Change to another account",
		LongHelp: `Changes to another of the accounts that this machine is logged in to. The one that
is left stays logged in. 'ginnel login' adds an account.

'switch remove' forgets an account on this machine without telling its server; to have
the node's key expired there too, switch to it and run 'ginnel logout' instead.`,
		FlagSet: fs,
		Exec: func(ctx context.Context, args []string) error {
			switch {
			case *list && len(args) > 0:
				return cli.Args(args)
			case *list:
				return a.listAccounts(ctx, *asJSON)
			case *asJSON:
				return errors.New("--json argument cannot be used with ginnel switch NAME")
			case len(args) == 2 && args[0] == "remove":
				return a.removeAccount(ctx, args[1])
			case len(args) != 1 || args[0] == "remove":
				return errors.New("usage: ginnel switch NAME; 'ginnel switch --list' shows the names")
			}
			return a.switchTo(ctx, args[0])
		},
	}
}

// removeAccount forgets an account on this machine.
func (a *app) removeAccount(ctx context.Context, name string) error {
	_, p, err := a.findAccount(ctx, name)
	if err != nil {
		return err
	}
	return a.local().DeleteProfile(ctx, p.ID)
}

// accountJSON is a line of the list of accounts as JSON.
type accountJSON struct {
	ID       string `json:"id"`
	Nickname string `json:"nickname"`
	Tailnet  string `json:"tailnet"`
	Account  string `json:"account"`
	Selected bool   `json:"selected"`
}

// listAccounts shows all accounts.
func (a *app) listAccounts(ctx context.Context, asJSON bool) error {
	current, all, err := a.accounts(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		out := []accountJSON{}
		for _, p := range all {
			out = append(out, accountJSON{p.ID, p.Name, p.NetworkProfile.Tailnet(), p.UserProfile.LoginName, p.ID == current.ID})
		}
		return a.printJSON(out)
	}
	tw := tabwriter.NewWriter(a.stdout, 0, 2, 2, ' ', 0)
	fmt.Fprintln(tw, "ID\tTailnet\tAccount")
	for _, p := range all {
		mark := ""
		if p.ID == current.ID {
			mark = "*"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s%s\n", p.ID, orDash(p.NetworkProfile.Tailnet()), p.Name, mark)
	}
	return tw.Flush()
}

// accounts returns the account in use and all of them.
func (a *app) accounts(ctx context.Context) (*api.LoginProfile, []api.LoginProfile, error) {
	current, err := a.local().CurrentProfile(ctx)
	if err != nil {
		return nil, nil, err
	}
	all, err := a.local().Profiles(ctx)
	return current, all, err
}

// findAccount returns the account in use and the one that a name stands for: an ID, else
// a network, an account or a nickname that only one of them has.
func (a *app) findAccount(ctx context.Context, name string) (current, found *api.LoginProfile, err error) {
	current, all, err := a.accounts(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, what := range []func(*api.LoginProfile) string{
		func(p *api.LoginProfile) string { return p.ID },
		func(p *api.LoginProfile) string { return p.NetworkProfile.Tailnet() },
		func(p *api.LoginProfile) string { return p.UserProfile.LoginName },
		func(p *api.LoginProfile) string { return p.Name },
	} {
		var match []*api.LoginProfile
		for i := range all {
			if what(&all[i]) == name {
				match = append(match, &all[i])
			}
		}
		if len(match) == 1 {
			return current, match[0], nil
		}
		if len(match) > 1 {
			ids := []string{}
			for _, p := range match {
				ids = append(ids, p.ID)
			}
			return nil, nil, fmt.Errorf("%q stands for several accounts; use one of the IDs %s", name, strings.Join(ids, ", "))
		}
	}
	return nil, nil, fmt.Errorf("no account is called %q; 'ginnel switch --list' shows them", name)
}

// switchTo changes the account and waits for what comes of it.
func (a *app) switchTo(ctx context.Context, name string) error {
	current, p, err := a.findAccount(ctx, name)
	if err != nil {
		return err
	}
	if p.ID == current.ID {
		return a.print("Already on account %q\n", p.Name)
	}
	if err := a.print("Switching to account %q\n", p.Name); err != nil {
		return err
	}
	if err := a.local().SwitchProfile(ctx, p.ID); err != nil {
		return err
	}
	return a.awaitAccount(ctx)
}

// awaitAccount waits until the account is up or needs the user, and says so.
func (a *app) awaitAccount(ctx context.Context) error {
	watcher, err := a.local().WatchBus(ctx, api.NotifyInitialState)
	if err != nil {
		return err
	}
	defer watcher.Close()
	for n, err := range watcher.All() {
		if err != nil {
			return err
		}
		if n.State == nil {
			continue
		}
		switch *n.State {
		case api.Running:
			return a.print("Success.\n")
		case api.NeedsLogin:
			return a.print("Logged out.\nTo log in, run:\n  ginnel up\n")
		case api.Stopped:
			return a.print("Ginnel is stopped.\nTo connect, run:\n  ginnel up\n")
		case api.NeedsMachineAuth:
			return a.print("This machine must be approved by an admin of the network before it can connect.\n")
		}
	}
	return errors.New("ginneld went away while waiting for it")
}

// addAccount has a login make a new profile where the node is logged in already, and
// returns how to go back to the present one if nobody has logged in after all.
func (a *app) addAccount(ctx context.Context) (back func(), err error) {
	current, err := a.local().CurrentProfile(ctx)
	if err != nil {
		return nil, err
	}
	if err := a.local().NewProfile(ctx); err != nil {
		return nil, err
	}
	return func() {
		ctx := context.WithoutCancel(ctx) // also after an interrupt
		if now, err := a.local().CurrentProfile(ctx); err != nil || now.ID != "" || current.ID == "" {
			return
		}
		if err := a.local().SwitchProfile(ctx, current.ID); err != nil {
			fmt.Fprintf(a.stderr, "going back to account %q: %v\n", current.Name, err)
			return
		}
		fmt.Fprintf(a.stderr, "Nobody has logged in; back to account %q.\n", current.Name)
	}, nil
}
