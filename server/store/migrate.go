package store

import (
	"embed"
	"errors"
	"fmt"
	"os"
	"path"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// applicationID marks a SQLite file as a database of this program ("GNNL").
const applicationID = 0x474e4e4c

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migration is one step of the schema. Steps are numbered from 1 without a gap
// and never changed once released.
type migration struct {
	name, script string
}

// migrations returns the steps that this program knows, in order.
func migrations() []migration {
	entries, err := migrationFiles.ReadDir("migrations")
	if err != nil {
		panic(err) // embedded at build time
	}
	var out []migration
	for i, e := range entries {
		if want := fmt.Sprintf("%04d_", i+1); e.Name()[:len(want)] != want {
			panic("migration " + e.Name() + " should begin with " + want)
		}
		script, err := migrationFiles.ReadFile(path.Join("migrations", e.Name()))
		if err != nil {
			panic(err)
		}
		out = append(out, migration{e.Name(), string(script)})
	}
	return out
}

// checkFile refuses a file that is damaged or belongs to another program.
func checkFile(c *sqlite.Conn) error {
	id, err := pragmaInt(c, "application_id")
	if err != nil {
		return err
	}
	empty, err := isEmpty(c)
	if err != nil {
		return err
	}
	if id != applicationID && !empty {
		return errors.New("this is a SQLite database of another program")
	}
	var verdict string
	err = sqlitex.ExecuteTransient(c, `PRAGMA quick_check(1)`, &sqlitex.ExecOptions{
		ResultFunc: func(row *sqlite.Stmt) error {
			verdict = row.ColumnText(0)
			return nil
		},
	})
	if err == nil && verdict != "ok" {
		err = &damagedError{errors.New(verdict)}
	}
	return err
}

// damagedError says that a file cannot be used as it is.
type damagedError struct{ err error }

func (e *damagedError) Error() string {
	return fmt.Sprintf("the file is damaged, or not a database (%v): restore a backup with `ginnel-server restore`", e.err)
}

func (e *damagedError) Unwrap() error { return e.err }

// explainDamage makes a damagedError of SQLite's errors about the file itself.
func explainDamage(err error) error {
	if err == nil {
		return nil
	}
	switch sqlite.ErrCode(err).ToPrimary() {
	case sqlite.ResultNotADB, sqlite.ResultCorrupt:
		return &damagedError{err}
	}
	return err
}

func pragmaInt(c *sqlite.Conn, name string) (v int64, err error) {
	err = sqlitex.ExecuteTransient(c, "PRAGMA "+name, &sqlitex.ExecOptions{
		ResultFunc: func(row *sqlite.Stmt) error {
			v = row.ColumnInt64(0)
			return nil
		},
	})
	return v, err
}

func isEmpty(c *sqlite.Conn) (bool, error) {
	n, err := sqlitex.ResultInt(c.Prep(`SELECT count(*) FROM sqlite_schema`))
	return n == 0, err
}

// schemaVersion returns how many steps the database has taken.
func schemaVersion(c *sqlite.Conn) (int, error) {
	if empty, err := isEmpty(c); err != nil || empty {
		return 0, err
	}
	return sqlitex.ResultInt(c.Prep(`SELECT coalesce(max(version), 0) FROM schema_version`))
}

// migrate takes the database at file through the steps that it lacks, each in a
// transaction of its own. A database that holds something is copied aside first.
func migrate(c *sqlite.Conn, file string, steps []migration) error {
	have, err := schemaVersion(c)
	if err != nil {
		return fmt.Errorf("reading the schema version: %w", err)
	}
	switch {
	case have > len(steps):
		return fmt.Errorf("%w: it has schema version %d and this program knows up to %d; run the newer ginnel-server, or restore a backup made before the upgrade",
			ErrNewer, have, len(steps))
	case have == len(steps):
		return nil
	case have > 0:
		if err := copyAside(c, file, have); err != nil {
			return err
		}
	default:
		if err := sqlitex.ExecuteTransient(c, fmt.Sprintf(`PRAGMA application_id = %d`, applicationID), nil); err != nil {
			return err
		}
		// The journal mode is kept in the file; it cannot change in a transaction.
		if err := sqlitex.ExecuteTransient(c, `PRAGMA journal_mode = WAL`, nil); err != nil {
			return err
		}
	}
	for i := have; i < len(steps); i++ {
		if err := takeStep(c, i+1, steps[i]); err != nil {
			return fmt.Errorf("migration %s failed and was rolled back: %w", steps[i].name, err)
		}
	}
	return nil
}

func takeStep(c *sqlite.Conn, version int, m migration) (err error) {
	end, err := sqlitex.ImmediateTransaction(c)
	if err != nil {
		return err
	}
	defer end(&err)
	if version == 1 {
		err := sqlitex.Execute(c, `CREATE TABLE schema_version (
			version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied INTEGER NOT NULL) STRICT`, nil)
		if err != nil {
			return err
		}
	}
	if err := sqlitex.ExecuteScript(c, m.script, nil); err != nil {
		return err
	}
	return sqlitex.Execute(c, `INSERT INTO schema_version VALUES (?, ?, ?)`,
		&sqlitex.ExecOptions{Args: []any{version, m.name, time.Now().UnixMicro()}})
}

// copyAside keeps the database as it was before a migration.
func copyAside(c *sqlite.Conn, file string, version int) error {
	aside := fmt.Sprintf("%s.before-upgrade-from-%d", file, version)
	if err := os.Remove(aside); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := vacuumInto(c, aside); err != nil {
		return fmt.Errorf("copying the database aside before the upgrade: %w", err)
	}
	return nil
}
