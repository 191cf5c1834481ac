//go:build linux

package e2e

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/ginnel/ginnel/e2e/lab"
)

// runToEnd starts a program that is expected to end by itself, and returns its
// output and exit code.
func runToEnd(t *testing.T, host *lab.Host, env []string, args ...string) (out string, code int) {
	t.Helper()
	p := host.Start(env, args...)
	select {
	case <-p.Done():
	case <-time.After(patience):
		t.Fatalf("still running after %v: %s", patience, p.Name)
	}
	return p.Log(), p.ExitCode()
}

// expectRefusal expects a program to end with code 1, or 2 for a mistaken
// command line, and to say each of the words; alternatives are separated by "|".
func expectRefusal(t *testing.T, out string, code int, words ...string) {
	t.Helper()
	if code != 1 && code != 2 {
		t.Errorf("exit code %d, want 1 or 2", code)
	}
	expectWords(t, out, words...)
	if strings.Contains(out, "goroutine ") {
		t.Errorf("the program panicked:\n%s", out)
	}
}

func expectWords(t *testing.T, out string, words ...string) {
	t.Helper()
	for _, w := range words {
		found := false
		for alt := range strings.SplitSeq(w, "|") {
			found = found || strings.Contains(strings.ToLower(out), strings.ToLower(alt))
		}
		if !found {
			t.Errorf("the message does not mention %q:\n%s", w, out)
		}
	}
}

func TestServerRefusesToStart(t *testing.T) {
	n := newLAN(t)
	dir := n.lab.Dir()
	notDir := filepath.Join(dir, "file")
	if err := os.WriteFile(notDir, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "config.json")
	if err := os.WriteFile(config, []byte(`{"lisen": ":1"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	fresh := func() string { return filepath.Join(t.TempDir(), "data") }
	for _, c := range []struct {
		name  string
		args  []string
		words []string
	}{
		{"address in use", []string{"--data-dir", fresh(), "--listen", ":8080", "--stun", ":0"}, []string{":8080", "in use|uses the address"}},
		{"STUN address in use", []string{"--data-dir", fresh(), "--listen", ":8081"}, []string{":3478", "in use|uses the address"}},
		{"address of another machine", []string{"--data-dir", fresh(), "--listen", "192.0.2.77:80"}, []string{"192.0.2.77:80"}},
		{"data directory of a running server", []string{"--data-dir", n.server.dir, "--listen", ":8081", "--stun", ":0"}, []string{n.server.dir, "another|already|second"}},
		{"data directory is a file", []string{"--data-dir", notDir, "--listen", ":8081"}, []string{notDir, "directory"}},
		{"data directory cannot be made", []string{"--data-dir", "/proc/nothing/here", "--listen", ":8081"}, []string{"/proc/nothing"}},
		{"unknown flag", []string{"--lisen", ":8081"}, []string{"lisen", "listen"}},
		{"unknown command", []string{"nods"}, []string{"nods", "nodes"}},
		{"unknown setting in the file", []string{"--config", config}, []string{config, "lisen", "listen"}},
		{"no configuration file", []string{"--config", config + ".missing"}, []string{config + ".missing"}},
		{"range outside the protocol's", []string{"--data-dir", fresh(), "--ipv4-range", "10.0.0.0/8"}, []string{"ipv4", "10.0.0.0/8", "100.64.0.0/10"}},
		{"half a certificate", []string{"--data-dir", fresh(), "--tls-cert", notDir}, []string{"tls-key"}},
		{"check finds it too", []string{"check", "--ephemeral-timeout", "1s"}, []string{"ephemeral-timeout"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, code := runToEnd(t, n.server.host, nil, append([]string{program("ginnel-server")}, c.args...)...)
			expectRefusal(t, out, code, c.words...)
		})
	}
	if err := n.server.healthy(); err != nil {
		t.Errorf("the running server was disturbed: %v", err)
	}
}

// TestDatabaseOfANewerVersion gives the server a database that has taken more
// steps of the schema than it knows. It must say so, and not touch the file.
func TestDatabaseOfANewerVersion(t *testing.T) {
	n := newLAN(t)
	n.server.proc.Stop()
	files, err := filepath.Glob(filepath.Join(n.server.dir, "*.db"))
	if err != nil || len(files) != 1 {
		t.Fatalf("database files %v, %v", files, err)
	}
	db, err := sqlite.OpenConn(files[0], sqlite.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	err = sqlitex.Execute(db, `INSERT INTO schema_version VALUES (9999, 'future', 0)`, nil)
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	out, code := runToEnd(t, n.server.host, nil, n.server.args...)
	if code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	expectWords(t, out, files[0], "newer")
	after, err := os.ReadFile(files[0])
	if err != nil || !bytes.Equal(after, raw) {
		t.Errorf("the database was changed (%v)", err)
	}
}

func TestAdminWithoutServer(t *testing.T) {
	host := lab.New(t).Host("server")
	out, code := runToEnd(t, host, nil, program("ginnel-server"), "nodes", "list", "--data-dir", t.TempDir())
	expectRefusal(t, out, code, "running")
}
