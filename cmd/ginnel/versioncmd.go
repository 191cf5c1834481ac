package main

import (
	"context"
	"strings"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/internal/cli"
	"github.com/ginnel/ginnel/internal/version"
	"github.com/ginnel/ginnel/wire/control"
)

// versionJSON is what version prints with --json (wire document cli, section 3.8).
type versionJSON struct {
	MajorMinorPatch string                    `json:"majorMinorPatch"`
	IsDev           bool                      `json:"isDev,omitempty"`
	Short           string                    `json:"short"`
	Long            string                    `json:"long"`
	GitCommit       string                    `json:"gitCommit,omitempty"`
	GitDirty        bool                      `json:"gitDirty,omitempty"`
	DaemonLong      string                    `json:"daemonLong,omitempty"`
	GitCommitTime   *time.Time                `json:"gitCommitTime,omitempty"`
	Cap             control.CapabilityVersion `json:"cap"`
}

// versionCommand shows the version.
func (a *app) versionCommand() *ffcli.Command {
	fs := newFlags("version")
	daemon := fs.Bool("daemon", false, "show the version of ginneld too")
	asJSON := fs.Bool("json", false, "print JSON")
	return &ffcli.Command{
		Name: "version", ShortUsage: "ginnel version [flags]", ShortHelp: "Show the version", FlagSet: fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := cli.Args(args); err != nil {
				return err
			}
			daemonLong := ""
			if *daemon {
				st, err := a.local().StatusWithoutPeers(ctx)
				if err != nil {
					return err
				}
				daemonLong = st.Version
			}
			switch {
			case *asJSON:
				return a.printJSON(versionInfo(version.Get(), daemonLong))
			case *daemon:
				return a.print("Client: %s\nDaemon: %s\n", version.Long(), daemonLong)
			}
			return a.print("%s", version.Text())
		},
	}
}

// versionInfo puts a version into its JSON form.
func versionInfo(v version.Info, daemonLong string) versionJSON {
	out := versionJSON{
		MajorMinorPatch: v.MajorMinorPatch(), IsDev: strings.Contains(v.Long(), "-dev") || v.Dirty, Short: v.Short, Long: v.Long(),
		GitCommit: v.Commit, GitDirty: v.Dirty, DaemonLong: daemonLong, Cap: control.CurrentCapabilityVersion,
	}
	if !v.Time.IsZero() {
		out.GitCommitTime = &v.Time
	}
	return out
}
