package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// DatabaseName is the name of the database file in the data directory.
const DatabaseName = "ginnel.db"

// readers is how many connections may read at the same time.
const readers = 4

// ErrNewer says that a newer version of the program has written the database.
var ErrNewer = errors.New("database is of a newer version")

// SQLite is a tailnet.Store on one SQLite file. Its methods are safe for
// concurrent use.
type SQLite struct {
	path string
	lock *dirLock

	mu     sync.Mutex // guards writer
	writer *sqlite.Conn
	pool   *sqlitex.Pool
}

// Open opens the database in the data directory dir and makes it first if there
// is none. It takes the directory's lock, brings an older database up to date
// after copying it aside, and refuses one that is newer (ErrNewer) or damaged.
func Open(dir string) (*SQLite, error) {
	if err := prepareDir(dir); err != nil {
		return nil, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	s := &SQLite{path: filepath.Join(dir, DatabaseName), lock: lock}
	if err := s.open(); err != nil {
		s.Close()
		return nil, fmt.Errorf("database %s: %w", s.path, explainDamage(err))
	}
	return s, nil
}

// prepareDir makes the data directory and checks that it can be written.
func prepareDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot make the data directory %s (%w): choose another with --data-dir, or run as a user who may write there", dir, pathless(err))
	}
	probe, err := os.CreateTemp(dir, ".write-test-")
	if err != nil {
		return fmt.Errorf("data directory %s is not writable (%w): choose another with --data-dir, or run as a user who may write there", dir, pathless(err))
	}
	probe.Close()
	return os.Remove(probe.Name())
}

// pathless strips the path from an error whose message names it already.
func pathless(err error) error {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

func (s *SQLite) open() error {
	// The file holds secrets: make it before SQLite would, for us alone.
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return pathless(err)
	}
	f.Close()
	if s.writer, err = sqlite.OpenConn(s.path, sqlite.OpenReadWrite); err != nil {
		return err
	}
	if err := prepareConn(s.writer); err != nil {
		return err
	}
	if err := checkFile(s.writer); err != nil {
		return err
	}
	if err := migrate(s.writer, s.path, migrations()); err != nil {
		return err
	}
	s.pool, err = sqlitex.NewPool(s.path, sqlitex.PoolOptions{
		Flags: sqlite.OpenReadOnly, PoolSize: readers, PrepareConn: prepareConn,
	})
	return err
}

// prepareConn sets what SQLite forgets between connections. The write-ahead log
// with full synchronisation is synced at every commit.
func prepareConn(c *sqlite.Conn) error {
	for _, pragma := range [...]string{"busy_timeout = 10000", "synchronous = FULL", "foreign_keys = ON", "trusted_schema = OFF"} {
		// One by one: a script would run in a transaction, where some are refused.
		if err := sqlitex.ExecuteTransient(c, "PRAGMA "+pragma, nil); err != nil {
			return err
		}
	}
	return nil
}

// Close closes the database and gives up the directory.
func (s *SQLite) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	if s.pool != nil {
		errs = append(errs, s.pool.Close())
		s.pool = nil
	}
	if s.writer != nil {
		errs = append(errs, s.writer.Close())
		s.writer = nil
	}
	if s.lock != nil {
		errs = append(errs, s.lock.release())
		s.lock = nil
	}
	return errors.Join(errs...)
}

// errClosed is what a closed store answers.
var errClosed = errors.New("the database is closed")

// write runs fn in a transaction on the writing connection.
func (s *SQLite) write(ctx context.Context, fn func(*sqlite.Conn) error) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writer == nil {
		return errClosed
	}
	s.writer.SetInterrupt(ctx.Done())
	defer s.writer.SetInterrupt(nil)
	end, err := sqlitex.ImmediateTransaction(s.writer)
	if err != nil {
		return err
	}
	defer end(&err)
	return fn(s.writer)
}

// read runs fn in a transaction on a reading connection.
func (s *SQLite) read(ctx context.Context, fn func(*sqlite.Conn) error) (err error) {
	s.mu.Lock()
	pool := s.pool
	s.mu.Unlock()
	if pool == nil {
		return errClosed
	}
	c, err := pool.Take(ctx)
	if err != nil {
		return err
	}
	defer pool.Put(c)
	end := sqlitex.Transaction(c)
	defer end(&err)
	return fn(c)
}

// Secret returns a secret of the server, nil if there is none of that name.
func (s *SQLite) Secret(ctx context.Context, name string) (value []byte, err error) {
	err = s.read(ctx, func(c *sqlite.Conn) error {
		return sqlitex.Execute(c, `SELECT value FROM secrets WHERE name = ?`, &sqlitex.ExecOptions{
			Args: []any{name},
			ResultFunc: func(row *sqlite.Stmt) error {
				value = columnBytes(row, 0)
				return nil
			},
		})
	})
	if err != nil {
		return nil, fmt.Errorf("reading the secret %q: %w", name, err)
	}
	return value, nil
}

// SetSecret stores a secret of the server.
func (s *SQLite) SetSecret(ctx context.Context, name string, value []byte) error {
	err := s.write(ctx, func(c *sqlite.Conn) error {
		return sqlitex.Execute(c, `INSERT INTO secrets (name, value) VALUES (?, ?)
			ON CONFLICT (name) DO UPDATE SET value = excluded.value`, &sqlitex.ExecOptions{Args: []any{name, value}})
	})
	if err != nil {
		return fmt.Errorf("storing the secret %q: %w", name, err)
	}
	return nil
}

// columnBytes returns a copy of a BLOB column, nil for NULL.
func columnBytes(row *sqlite.Stmt, col int) []byte {
	if row.ColumnIsNull(col) {
		return nil
	}
	buf := make([]byte, row.ColumnLen(col))
	row.ColumnBytes(col, buf)
	return buf
}
