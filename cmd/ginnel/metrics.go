package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/internal/cli"
)

// metricsCommand shows the daemon's metrics.
func (a *app) metricsCommand() *ffcli.Command {
	show := func(ctx context.Context, args []string) error {
		if err := cli.Args(args); err != nil {
			return err
		}
		text, err := a.local().Get(ctx, "usermetrics")
		if err != nil {
			return err
		}
		return a.print("%s", text)
	}
	return &ffcli.Command{
		Name: "metrics", ShortUsage: "ginnel metrics [print | write <path>]", ShortHelp: "Show metrics of ginneld", FlagSet: newFlags("metrics"),
		LongHelp: "Shows ginneld's metrics in the text format of Prometheus, or writes them to a file\nfor node_exporter's textfile collector.",
		Exec:     show,
		Subcommands: []*ffcli.Command{
			{Name: "print", ShortUsage: "ginnel metrics print", ShortHelp: "Print the metrics", FlagSet: newFlags("print"), Exec: show},
			{Name: "write", ShortUsage: "ginnel metrics write <path>", ShortHelp: "Write the metrics to a file", FlagSet: newFlags("write"),
				Exec: a.writeMetrics},
		},
	}
}

// writeMetrics replaces the file named by the only argument, so that a reader
// sees the old or the new one and nothing between.
func (a *app) writeMetrics(ctx context.Context, args []string) error {
	if err := cli.Args(args, "the file to write"); err != nil {
		return err
	}
	text, err := a.local().Get(ctx, "usermetrics")
	if err != nil {
		return err
	}
	if err := replaceFile(args[0], text); err != nil {
		return fmt.Errorf("write metrics: %w", err)
	}
	return nil
}

// replaceFile writes data to a file that all may read, atomically.
func replaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails after the rename, as it should
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
