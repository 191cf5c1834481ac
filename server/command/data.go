package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/internal/cli"
	"github.com/ginnel/ginnel/server/admin"
	"github.com/ginnel/ginnel/server/store"
)

func (e *env) statusCommand() *ffcli.Command {
	r := e.remote("status")
	return &ffcli.Command{
		Name: "status", ShortUsage: Name + " status [flags]", ShortHelp: "Show how the running server is", FlagSet: r.fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := cli.Args(args); err != nil {
				return err
			}
			var st admin.Status
			if err := r.do(ctx, http.MethodGet, admin.Path("status"), nil, &st); err != nil {
				return err
			}
			return r.print(st, func(w io.Writer) { printStatus(w, st, time.Now()) })
		},
	}
}

func (e *env) auditCommand() *ffcli.Command {
	r := e.remote("audit")
	limit := r.fs.Int("limit", 50, "`number` of records")
	return &ffcli.Command{
		Name: "audit", ShortUsage: Name + " audit [flags]", ShortHelp: "Show who changed what, the newest first", FlagSet: r.fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := cli.Args(args); err != nil {
				return err
			}
			var records []admin.AuditRecord
			if err := r.do(ctx, http.MethodGet, admin.Path("audit")+"?limit="+strconv.Itoa(*limit), nil, &records); err != nil {
				return err
			}
			return r.print(records, func(w io.Writer) { printAudit(w, records) })
		},
	}
}

func (e *env) backupCommand() *ffcli.Command {
	r := e.remote("backup")
	return &ffcli.Command{
		Name: "backup", ShortUsage: Name + " backup [flags] <file>", ShortHelp: "Copy everything the running server keeps to a file",
		LongHelp: `Backup copies users, nodes, keys and the server's own identity, as they are at one
moment, to a new file; "-" is standard output. It is safe while the server runs.
The file holds secrets: keep it as safe as the server. See restore for the way back.`,
		FlagSet: r.fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := cli.Args(args, "the file to write"); err != nil {
				return err
			}
			c, err := r.client()
			if err != nil {
				return err
			}
			if args[0] == "-" {
				_, err := c.Backup(ctx, e.stdout)
				return err
			}
			n, err := backupFile(ctx, c, args[0])
			if err != nil {
				return err
			}
			result := struct {
				File  string `json:"file"`
				Bytes int64  `json:"bytes"`
			}{args[0], n}
			return r.print(result, func(w io.Writer) { fmt.Fprintf(w, "%d bytes written to %s.\n", n, args[0]) })
		},
	}
}

// backupFile writes a backup to a file that does not exist yet. It appears there
// whole or not at all.
func backupFile(ctx context.Context, c *admin.Client, file string) (int64, error) {
	if _, err := os.Lstat(file); err == nil {
		return 0, fmt.Errorf("%s exists already; choose a new name", file)
	}
	part, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".part-")
	if err != nil {
		return 0, err
	}
	defer os.Remove(part.Name())
	n, err := c.Backup(ctx, part)
	if err == nil {
		err = part.Sync()
	}
	if err = errors.Join(err, part.Close()); err != nil {
		return 0, err
	}
	// A link refuses to replace a file that has appeared meanwhile.
	if err := os.Link(part.Name(), file); err != nil {
		return 0, err
	}
	return n, nil
}

func (e *env) restoreCommand() *ffcli.Command {
	r := e.remote("restore")
	return &ffcli.Command{
		Name: "restore", ShortUsage: Name + " restore [flags] <file>", ShortHelp: "Make a backup the data of a server that is not running",
		LongHelp: `Restore puts a backup into a data directory without a database. Stop the server and
move its old database away first, or choose a new directory with --data-dir. The
restored server has the identity of the one backed up: nodes find it again under
the same URL, and what changed since the backup is lost.`,
		FlagSet: r.fs,
		Exec: func(_ context.Context, args []string) error {
			if err := cli.Args(args, "the backup file"); err != nil {
				return err
			}
			cfg, err := r.config()
			if err != nil {
				return err
			}
			if err := store.Restore(cfg.DataDir, args[0]); err != nil {
				return err
			}
			result := struct {
				DataDir string `json:"dataDir"`
			}{cfg.DataDir}
			return r.print(result, func(w io.Writer) { fmt.Fprintf(w, "Restored to %s. Start the server now.\n", cfg.DataDir) })
		},
	}
}
