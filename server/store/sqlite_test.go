package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/ginnel/ginnel/server/store/storetest"
	"github.com/ginnel/ginnel/server/tailnet"
)

func open(t *testing.T, dir string) *SQLite {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestSQLite(t *testing.T) {
	storetest.Run(t,
		func(t *testing.T) tailnet.Store { return open(t, t.TempDir()) },
		func(t *testing.T, s tailnet.Store) tailnet.Store {
			old := s.(*SQLite)
			if err := old.Close(); err != nil {
				t.Fatal(err)
			}
			return open(t, filepath.Dir(old.path))
		})
}

func TestMemory(t *testing.T) {
	storetest.Run(t,
		func(t *testing.T) tailnet.Store { return new(tailnet.MemoryStore) },
		func(_ *testing.T, s tailnet.Store) tailnet.Store { return s })
}

func TestFilesAreForTheOwnerAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := open(t, dir)
	if err := s.SetSecret(t.Context(), "x", []byte("y")); err != nil {
		t.Fatal(err)
	}
	if err := s.Backup(t.Context(), filepath.Join(dir, "copy")); err != nil {
		t.Fatal(err)
	}
	filepath.Walk(dir, func(path string, fi os.FileInfo, err error) error {
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %s", path, fi.Mode())
		}
		return nil
	})
}

// Commits must be on the disk when they are answered.
func TestJournalIsSynced(t *testing.T) {
	s := open(t, t.TempDir())
	var mode string
	if err := sqlitex.ExecuteTransient(s.writer, `PRAGMA journal_mode`, &sqlitex.ExecOptions{ResultFunc: func(row *sqlite.Stmt) error {
		mode = row.ColumnText(0)
		return nil
	}}); err != nil {
		t.Fatal(err)
	}
	const full = 2
	if level, err := pragmaInt(s.writer, "synchronous"); err != nil || level != full || mode != "wal" {
		t.Errorf("journal mode %s, synchronous %d, %v", mode, level, err)
	}
}

func TestSecondServerOnOneDirectory(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	_, err := Open(dir)
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("second open: %v", err)
	}
	if err := Restore(dir, "whatever"); !errors.Is(err, ErrLocked) {
		t.Errorf("restore into a directory in use: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

func TestDirectoryNotWritable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(filepath.Join(file, "data"))
	if err == nil || !strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("data directory under a file: %v", err)
	}
	if os.Geteuid() == 0 {
		// Root may write anywhere but here.
		_, err = Open("/proc/ginnel")
	} else {
		dir := t.TempDir()
		os.Chmod(dir, 0o500)
		_, err = Open(dir)
	}
	if err == nil || !strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("data directory without permission: %v", err)
	}
}

func TestNewerDatabase(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	backup := filepath.Join(t.TempDir(), "backup")
	if err := sqlitex.Execute(s.writer, `INSERT INTO schema_version VALUES (999, 'later', 0)`, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Backup(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := Open(dir); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "999") || !strings.Contains(err.Error(), dir) {
		t.Errorf("newer database: %v", err)
	}
	if err := Restore(filepath.Join(t.TempDir(), "new"), backup); !errors.Is(err, ErrNewer) {
		t.Errorf("newer backup: %v", err)
	}
}

func TestFilesThatAreNoDatabase(t *testing.T) {
	foreign := filepath.Join(t.TempDir(), "foreign")
	c, err := sqlite.OpenConn(foreign, sqlite.OpenReadWrite|sqlite.OpenCreate)
	if err != nil {
		t.Fatal(err)
	}
	if err := sqlitex.ExecuteTransient(c, `CREATE TABLE theirs (x)`, nil); err != nil {
		t.Fatal(err)
	}
	c.Close()
	foreignText, err := os.ReadFile(foreign)
	if err != nil {
		t.Fatal(err)
	}

	s := open(t, t.TempDir())
	if err := tryCommits(s, 50); err != nil {
		t.Fatal(err)
	}
	good := filepath.Join(t.TempDir(), "good")
	if err := s.Backup(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	torn := append([]byte{}, text...)
	for i := len(torn) / 2; i < len(torn)/2+8192 && i < len(torn); i++ {
		torn[i] ^= 0x5a
	}
	for name, tt := range map[string]struct {
		content []byte
		want    string
	}{
		"text":      {[]byte(strings.Repeat("this is no database\n", 100)), "not a database"},
		"foreign":   {foreignText, "another program"},
		"torn":      {torn, "damaged"},
		"truncated": {text[:len(text)/2], "damaged"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, DatabaseName), tt.content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: open: %v", name, err)
		}
		if left, _ := os.ReadFile(filepath.Join(dir, DatabaseName)); string(left) != string(tt.content) {
			t.Errorf("%s: open changed the file", name)
		}
		target := filepath.Join(t.TempDir(), "new")
		if err := Restore(target, filepath.Join(dir, DatabaseName)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: restore: %v", name, err)
		}
		if _, err := os.Stat(filepath.Join(target, DatabaseName)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: a refused backup became the database", name)
		}
	}
	if err := Restore(t.TempDir(), filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("restore of no file: %v", err)
	}
}

func TestBackupAndRestore(t *testing.T) {
	ctx := t.Context()
	s := open(t, t.TempDir())
	if err := s.SetSecret(ctx, "machine-key", []byte("secret")); err != nil {
		t.Fatal(err)
	}
	if err := tryCommits(s, 10); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "backup")
	// While it runs: commits go on in the middle of the backups.
	stop, done := make(chan struct{}), make(chan error)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
				if err := tryCommits(s, 1); err != nil {
					done <- err
					return
				}
			}
		}
	}()
	for i := range 5 {
		if err := s.Backup(ctx, file+string(rune('0'+i))); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := s.Backup(ctx, file+"0"); !errors.Is(err, os.ErrExist) {
		t.Errorf("backup over a file: %v", err)
	}
	dir := filepath.Join(t.TempDir(), "restored")
	if err := Restore(dir, file+"4"); err != nil {
		t.Fatal(err)
	}
	if err := Restore(dir, file+"4"); err == nil || !strings.Contains(err.Error(), "exists") {
		t.Errorf("restore over a database: %v", err)
	}
	r := open(t, dir)
	st, err := r.Load(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if st.Seq < 10 || len(st.Users) != int(st.Seq) {
		t.Errorf("sequence number %d with %d users", st.Seq, len(st.Users))
	}
	if v, err := r.Secret(ctx, "machine-key"); err != nil || string(v) != "secret" {
		t.Errorf("secret %q, %v", v, err)
	}
	if err := tryCommits(r, 1); err != nil {
		t.Errorf("commit after restore: %v", err)
	}
}

// tryCommits adds users, one a commit.
func tryCommits(s *SQLite, n int) error {
	st, err := s.Load(context.Background())
	if err != nil {
		return err
	}
	for i := range uint64(n) {
		base := st.Seq + i
		b := &tailnet.Batch{Base: base, Seq: base + 1, Ops: []tailnet.Op{{PutUser: storetest.User(1 + userID(base))}}}
		if err := s.Commit(context.Background(), b); err != nil {
			return err
		}
	}
	return nil
}

func TestSecrets(t *testing.T) {
	s := open(t, t.TempDir())
	ctx := t.Context()
	if v, err := s.Secret(ctx, "none"); v != nil || err != nil {
		t.Errorf("no secret: %q, %v", v, err)
	}
	for _, want := range []string{"one", "two", "\x00\xff"} {
		if err := s.SetSecret(ctx, "a", []byte(want)); err != nil {
			t.Fatal(err)
		}
		if v, err := s.Secret(ctx, "a"); string(v) != want || err != nil {
			t.Errorf("secret %q, %v", v, err)
		}
	}
	s.Close()
	if _, err := s.Secret(ctx, "a"); err == nil {
		t.Error("a closed store answers")
	}
	if err := s.SetSecret(ctx, "a", nil); err == nil {
		t.Error("a closed store writes")
	}
}

func TestMigrations(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if err := tryCommits(s, 3); err != nil {
		t.Fatal(err)
	}
	known := len(migrations())
	steps := append(migrations(), migration{"9001_test.sql", `CREATE TABLE more (x INTEGER) STRICT; ALTER TABLE users ADD COLUMN y TEXT;`})
	if err := migrate(s.writer, s.path, steps); err != nil {
		t.Fatal(err)
	}
	if v, err := schemaVersion(s.writer); err != nil || v != len(steps) {
		t.Errorf("version %d, %v", v, err)
	}
	// The database as it was stands beside it, and can be restored.
	old := filepath.Join(t.TempDir(), "old")
	if err := Restore(old, fmt.Sprintf("%s.before-upgrade-from-%d", s.path, known)); err != nil {
		t.Fatal(err)
	}
	if st, err := open(t, old).Load(t.Context()); err != nil || len(st.Users) != 3 {
		t.Errorf("the copy holds %+v, %v", st, err)
	}

	// A step that fails half-way leaves nothing.
	broken := append(steps, migration{"9002_broken.sql", `CREATE TABLE half (x); INSERT INTO nowhere VALUES (1);`})
	err := migrate(s.writer, s.path, broken)
	if err == nil || !strings.Contains(err.Error(), "9002_broken.sql") {
		t.Errorf("broken migration: %v", err)
	}
	if v, err := schemaVersion(s.writer); err != nil || v != len(steps) {
		t.Errorf("version %d after a broken migration, %v", v, err)
	}
	if n, err := sqlitex.ResultInt(s.writer.Prep(`SELECT count(*) FROM sqlite_schema WHERE name = 'half'`)); err != nil || n != 0 {
		t.Errorf("the broken migration left %d tables, %v", n, err)
	}
}

// A migration never changes once databases may have taken it.
func TestMigrationsAreFrozen(t *testing.T) {
	frozen := map[string]string{
		"0001_init.sql":   "c7f1d6515855f573f35947588985662e7876f30d7504b440f1b147b0f742e52c",
		"0002_online.sql": "3a624d93d040a018c8c649e896c4020b8de6fdce2404eaa024f9209a85c896f6",
	}
	for _, m := range migrations() {
		if got := fmt.Sprintf("%x", sha256.Sum256([]byte(m.script))); frozen[m.name] != got {
			t.Errorf("%s has the hash %s, not %q: do not change it, add a new one and its hash here", m.name, got, frozen[m.name])
		}
	}
}

const crashEnv = "GINNEL_TEST_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashEnv); dir != "" {
		crashChild(dir)
	}
	os.Exit(m.Run())
}

// selfCommand runs this test binary again as the child of a crash test.
func selfCommand(dir string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashEnv+"="+dir)
	return cmd
}
