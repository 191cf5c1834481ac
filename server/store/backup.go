package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// Backup writes a copy of the database, as it is at one moment, to a new file.
// It is safe while the server runs and holds up nobody. The file must not exist.
func (s *SQLite) Backup(ctx context.Context, file string) error {
	// Not in read: VACUUM cannot run inside a transaction.
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
	return vacuumInto(c, file)
}

// vacuumInto copies the database of c to a new file that only the owner reads.
func vacuumInto(c *sqlite.Conn, file string) error {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	err = sqlitex.ExecuteTransient(c, `VACUUM INTO ?`, &sqlitex.ExecOptions{Args: []any{file}})
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		os.Remove(file)
		return err
	}
	return syncDir(filepath.Dir(file))
}

// Restore makes the backup file the database of the data directory dir, which
// must not have one. It refuses a file that is damaged, of another program or of
// a newer version.
func Restore(dir, backup string) error {
	if err := prepareDir(dir); err != nil {
		return err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer lock.release()
	target := filepath.Join(dir, DatabaseName)
	if _, err := os.Lstat(target); err == nil {
		return fmt.Errorf("%s exists: restore only goes into a data directory without a database; move it away first, or choose another with --data-dir", target)
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	// Leftovers of a database that is gone would be taken for its log.
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.Remove(target + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	part := target + ".restoring"
	defer os.Remove(part)
	if err := copyFile(part, backup); err != nil {
		return fmt.Errorf("reading the backup: %w", err)
	}
	if err := checkBackup(part); err != nil {
		return fmt.Errorf("backup %s: %w", backup, explainDamage(err))
	}
	if err := os.Rename(part, target); err != nil {
		return err
	}
	return syncDir(dir)
}

// checkBackup opens a copy of a backup to see that it can become the database.
func checkBackup(file string) (err error) {
	c, err := sqlite.OpenConn(file, sqlite.OpenReadWrite)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := c.Close(); err == nil {
			err = cerr
		}
		os.Remove(file + "-wal")
		os.Remove(file + "-shm")
	}()
	if err := checkFile(c); err != nil {
		return err
	}
	version, err := schemaVersion(c)
	if err != nil {
		return err
	}
	if version == 0 {
		return errors.New("the file is empty")
	}
	if newest := len(migrations()); version > newest {
		return fmt.Errorf("%w: it has schema version %d and this program knows up to %d", ErrNewer, version, newest)
	}
	// VACUUM INTO leaves the journal mode behind.
	return sqlitex.ExecuteTransient(c, `PRAGMA journal_mode = WAL`, nil)
}

// copyFile copies src to a new file that only the owner reads, onto the disk.
func copyFile(dst, src string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = io.Copy(out, in); err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

// syncDir makes the entries of a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
