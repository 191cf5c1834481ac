package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/internal/cli"
	"github.com/ginnel/ginnel/wire/control"
)

// debugCommand looks inside the daemon.
func (a *app) debugCommand() *ffcli.Command {
	return &ffcli.Command{
		Name: "debug", ShortUsage: "ginnel debug <subcommand>", ShortHelp: "Look inside ginneld", FlagSet: newFlags("debug"),
		LongHelp: "Commands to find out what is wrong. They may change without notice.",
		Subcommands: []*ffcli.Command{
			a.showCommand("netmap", "Show the network map", a.debugNetmap),
			a.pathsCommand(),
			a.pathCommand(),
			a.showCommand("prefs", "Show the preferences", a.debugPrefs),
			a.watchCommand("watch", "Show notifications as they come"),
			a.watchCommand("watch-ipn", ""), // another name for it
			a.showCommand("derp-map", "Show the relay map", a.debugDERPMap),
			a.showCommand("hostinfo", "Show what the server knows of this machine", a.debugHostinfo),
			a.localAPICommand(),
			a.showCommand("local-creds", "Show how to reach the local API", a.debugLocalCreds),
			a.debugMetricsCommand(),
			a.actionCommand("restun", "Ask anew for the public addresses"),
			a.actionCommand("rebind", "Open the sockets anew"),
			a.actionCommand("force-netmap-update", "Ask the server for a new network map"),
		},
	}
}

// showCommand is a command without flags and arguments.
func (a *app) showCommand(name, help string, show func(context.Context) error) *ffcli.Command {
	return &ffcli.Command{
		Name: name, ShortUsage: "ginnel debug " + name, ShortHelp: help, FlagSet: newFlags(name),
		Exec: func(ctx context.Context, args []string) error {
			if err := cli.Args(args); err != nil {
				return err
			}
			return show(ctx)
		},
	}
}

// actionCommand makes the daemon do something.
func (a *app) actionCommand(action, help string) *ffcli.Command {
	return a.showCommand(action, help, func(ctx context.Context) error {
		_, err := a.local().DebugAction(ctx, action)
		return err
	})
}

func (a *app) debugNetmap(ctx context.Context) error {
	text, err := a.local().DebugAction(ctx, "current-netmap")
	if err != nil {
		return err
	}
	return a.printIndented(text)
}

func (a *app) debugHostinfo(ctx context.Context) error {
	text, err := a.local().DebugAction(ctx, "current-netmap")
	if err != nil {
		return err
	}
	var m struct {
		Node *control.Node
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return fmt.Errorf("network map: %w", err)
	}
	if m.Node == nil || m.Node.Hostinfo == nil {
		return fmt.Errorf("the network map has no host information of this machine")
	}
	return a.printJSON(m.Node.Hostinfo)
}

func (a *app) debugPrefs(ctx context.Context) error {
	prefs, err := a.local().Prefs(ctx)
	if err != nil {
		return err
	}
	return a.printJSON(prefs)
}

func (a *app) debugDERPMap(ctx context.Context) error {
	m, err := a.local().DERPMap(ctx)
	if err != nil {
		return err
	}
	return a.printJSON(m)
}

func (a *app) debugLocalCreds(context.Context) error {
	socket, err := filepath.Abs(a.local().Socket())
	if err != nil {
		return fmt.Errorf("path of the socket: %w", err)
	}
	return a.print("curl --unix-socket %s http://local-tailscaled.sock/localapi/v0/status\n", shellQuote(socket))
}

// printIndented prints JSON with two spaces of indent.
func (a *app) printIndented(text []byte) error {
	var out bytes.Buffer
	if err := json.Indent(&out, bytes.TrimSpace(text), "", "  "); err != nil {
		return fmt.Errorf("the daemon's answer is no JSON: %w", err)
	}
	return a.print("%s\n", out.Bytes())
}
