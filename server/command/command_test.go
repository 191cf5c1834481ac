package command

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ginnel/ginnel/server"
	"github.com/ginnel/ginnel/server/admin"
	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// site is a running server and its command line.
type site struct {
	t   *testing.T
	s   *server.Server
	dir string
}

func start(t *testing.T, change ...func(*server.Config)) *site {
	t.Helper()
	dir, err := os.MkdirTemp("", "gc") // short: it holds a unix socket
	if err != nil {
		t.Fatal(err)
	}
	c := server.DefaultConfig()
	c.DataDir, c.Listen, c.STUN, c.Logger = dir, []string{"127.0.0.1:0"}, "127.0.0.1:0", slog.New(slog.DiscardHandler)
	for _, fn := range change {
		fn(&c)
	}
	s, err := server.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		os.RemoveAll(dir)
	})
	return &site{t, s, dir}
}

// try runs a command line against the server.
func (s *site) try(args ...string) (code int, stdout, stderr string) {
	s.t.Helper()
	s.t.Setenv(server.EnvPrefix+"_DATA_DIR", s.dir)
	return try(s.t, args...)
}

func try(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	code = Main(t.Context(), args, &out, &errOut)
	return code, out.String(), errOut.String()
}

// do runs a command line that must succeed and returns what it prints.
func (s *site) do(args ...string) string {
	s.t.Helper()
	code, stdout, stderr := s.try(args...)
	if code != 0 || stderr != "" {
		s.t.Fatalf("%v: status %d: %s", args, code, stderr)
	}
	return stdout
}

// decode runs a command line with --json and decodes what it prints.
func decode[T any](s *site, args ...string) (v T) {
	s.t.Helper()
	out := s.do(append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		s.t.Fatalf("%v printed %s: %v", args, out, err)
	}
	return v
}

// register registers a new machine.
func (s *site) register(host, authKey string) tailnet.RegisterResult {
	s.t.Helper()
	r, err := s.s.Tailnet().Register(s.t.Context(), tailnet.RegisterParams{
		Machine: key.NewMachine().Public(), NodeKey: key.NewNode().Public(), AuthKey: authKey,
		Hostinfo: &control.Hostinfo{Hostname: host, OS: "linux", RequestTags: nil},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// fails runs a command line that must fail with that status, saying all of want.
func (s *site) fails(code int, want []string, args ...string) {
	s.t.Helper()
	got, stdout, stderr := s.try(args...)
	if got != code || stdout != "" {
		s.t.Errorf("%v: status %d, printed %q", args, got, stdout)
	}
	for _, w := range want {
		if !strings.Contains(stderr, w) {
			s.t.Errorf("%v: %q does not say %q", args, stderr, w)
		}
	}
}

func TestUsers(t *testing.T) {
	s := start(t)
	s.do("users", "create", "ben", "--display-name", "Ben")
	users := decode[[]admin.User](s, "users", "list")
	if len(users) != 2 || users[0].LoginName != "admin" || users[1].DisplayName != "Ben" {
		t.Errorf("users %+v", users)
	}
	if out := s.do("users", "list"); !strings.Contains(out, "LOGIN") || !strings.Contains(out, "ben") {
		t.Errorf("list printed %s", out)
	}
	if u := decode[admin.User](s, "users", "rename", "ben", "benjamin"); u.LoginName != "benjamin" || u.DisplayName != "Ben" {
		t.Errorf("renamed to %+v", u)
	}
	s.fails(1, []string{"exists already", "admin"}, "users", "create", "admin")
	s.fails(1, []string{"no such user", "nobody"}, "users", "delete", "nobody")
	s.fails(1, []string{"more than one user", "--user"}, "authkeys", "create")
	s.do("users", "delete", "benjamin")
	if users := decode[[]admin.User](s, "users", "list"); len(users) != 1 {
		t.Errorf("users %+v", users)
	}
}

func TestAuthKeys(t *testing.T) {
	s := start(t)
	made := decode[admin.NewAuthKey](s, "authkeys", "create", "--reusable", "--ephemeral", "--tags", "ci,tag:web", "--expiry", "30d", "--description", "for CI")
	if !made.Reusable || !made.Ephemeral || len(made.Tags) != 2 || made.Tags[0] != "tag:ci" || made.Expiry.IsZero() || !strings.Contains(made.Join, made.Key) {
		t.Errorf("made %+v", made)
	}
	plain := strings.TrimSpace(s.do("authkeys", "create", "--expiry=0"))
	if !strings.HasPrefix(plain, "gkey-auth-") || strings.Contains(plain, "\n") {
		t.Errorf("create printed %q", plain)
	}
	if n := s.register("a", plain).Node; n == nil || n.Ephemeral {
		t.Errorf("joined as %+v", n)
	}
	list := s.do("authkeys", "list", "--json")
	if strings.Contains(list, made.Key) || strings.Contains(list, plain) {
		t.Error("the list shows secrets")
	}
	keys := decode[[]admin.AuthKey](s, "authkeys", "list")
	if len(keys) != 3 || keys[1].State != "valid" || keys[2].State != "used" || !keys[2].Expiry.IsZero() {
		t.Errorf("keys %+v", keys)
	}
	if k := decode[admin.AuthKey](s, "authkeys", "revoke", made.Key); k.State != "revoked" || k.ID != made.ID {
		t.Errorf("revoked %+v", k)
	}
	s.fails(1, []string{"no such auth key"}, "authkeys", "revoke", "99")
	s.fails(1, []string{"not the number"}, "authkeys", "revoke", "x")
	s.fails(1, []string{"--expiry", "soon"}, "authkeys", "create", "--expiry", "soon")
	s.fails(1, []string{"tag:9"}, "authkeys", "create", "--tags", "9")
	s.fails(1, []string{"no such user"}, "authkeys", "create", "--user", "x")
}

func TestNodes(t *testing.T) {
	s := start(t)
	secret := strings.TrimSpace(s.do("authkeys", "create", "--reusable"))
	n := s.register("laptop", secret).Node
	evil := s.register("\x1b[31mred", secret).Node
	nodes := decode[[]admin.Node](s, "nodes", "list")
	if len(nodes) != 2 || nodes[0].Name != "laptop" || nodes[0].User != "admin" || len(nodes[0].Addresses) != 2 {
		t.Errorf("nodes %+v", nodes)
	}
	for _, ref := range []string{"laptop", "1", string(n.StableID), n.IPv4.String(), n.IPv6.String(), n.Key.String()} {
		if got := decode[admin.Node](s, "nodes", "show", ref); got.ID != n.ID {
			t.Errorf("%q shows node %d", ref, got.ID)
		}
	}
	if out := s.do("nodes", "show", evil.GivenName); strings.Contains(out, "\x1b") || !strings.Contains(out, "?[31mred") {
		t.Errorf("show printed %q", out)
	}
	if out := s.do("nodes", "list"); !strings.Contains(out, "offline") || !strings.Contains(out, n.IPv4.String()) {
		t.Errorf("list printed %s", out)
	}
	if got := decode[admin.Node](s, "nodes", "rename", "laptop", "door"); got.Name != "door" || !got.NameFixed {
		t.Errorf("renamed to %+v", got)
	}
	if got := decode[admin.Node](s, "nodes", "tag", "door", "a,b"); len(got.Tags) != 2 || !got.KeyExpiry.IsZero() {
		t.Errorf("tagged as %+v", got)
	}
	if got := decode[admin.Node](s, "nodes", "tag", "door", ""); len(got.Tags) != 0 {
		t.Errorf("untagged as %+v", got)
	}
	if got := decode[admin.Node](s, "nodes", "expire", "door", "--in", "2h"); got.Expired || got.KeyExpiry.IsZero() {
		t.Errorf("expires as %+v", got)
	}
	if got := decode[admin.Node](s, "nodes", "expire", "door"); !got.Expired {
		t.Errorf("expired as %+v", got)
	}
	if got := decode[admin.Node](s, "nodes", "expire", "--never", "door"); got.Expired || !got.KeyExpiry.IsZero() {
		t.Errorf("never expires as %+v", got)
	}
	s.fails(1, []string{"both"}, "nodes", "expire", "door", "--never", "--in", "1h")
	s.fails(1, []string{"no such node", "nobody"}, "nodes", "show", "nobody")
	s.fails(1, []string{"another node", evil.GivenName}, "nodes", "rename", "door", evil.GivenName)
	s.fails(1, []string{`no such login or node: "dor"`, "nodes pending", "nodes list"}, "nodes", "approve", "dor")
	s.fails(1, []string{"missing argument", "new name"}, "nodes", "rename", "door")
	s.fails(1, []string{"unexpected argument: y"}, "nodes", "show", "x", "y")
	s.do("nodes", "delete", "door")
	if nodes := decode[[]admin.Node](s, "nodes", "list"); len(nodes) != 1 {
		t.Errorf("nodes %+v", nodes)
	}
	if out := s.do("audit"); !strings.Contains(out, "node.delete") || !strings.Contains(out, "node.rename") {
		t.Errorf("audit printed %s", out)
	}
	if got := decode[[]admin.AuditRecord](s, "audit", "--limit", "2"); len(got) != 2 || got[0].Action != "node.delete" {
		t.Errorf("audit %+v", got)
	}
	s.fails(1, []string{"limit"}, "audit", "--limit", "-1")
}

func TestApprove(t *testing.T) {
	s := start(t, func(c *server.Config) { c.RequireApproval = true })
	first, second, third := s.register("one", ""), s.register("two", ""), s.register("three", "")
	if pending := decode[[]admin.Login](s, "nodes", "pending"); len(pending) != 3 || pending[0].Hostname != "one" {
		t.Errorf("pending %+v", pending)
	}
	if n := decode[admin.Node](s, "nodes", "approve", s.s.URL()+"/register/"+first.LoginID); n.Name != "one" || !n.Authorized || n.User != "admin" {
		t.Errorf("approved %+v", n)
	}
	if out := s.do("nodes", "register", second.LoginID, "--tags", "x"); !strings.Contains(out, "two") {
		t.Errorf("register printed %s", out)
	}
	if n := decode[admin.Node](s, "nodes", "show", "two"); len(n.Tags) != 1 || n.Tags[0] != "tag:x" {
		t.Errorf("approved with tags %+v", n)
	}
	s.do("nodes", "deny", third.LoginID)
	s.fails(1, []string{"no such pending login"}, "nodes", "approve", s.s.URL()+"/register/"+third.LoginID)
	s.fails(1, []string{"no such"}, "nodes", "approve", "nothing")

	secret := strings.TrimSpace(s.do("authkeys", "create", "--needs-approval"))
	if n := s.register("four", secret).Node; n.Authorized {
		t.Error("joined without approval")
	}
	if out := s.do("nodes", "list"); !strings.Contains(out, "needs approval") {
		t.Errorf("list printed %s", out)
	}
	if n := decode[admin.Node](s, "nodes", "approve", "four"); !n.Authorized {
		t.Errorf("approved %+v", n)
	}
	for _, ref := range []func(*tailnet.Node) string{
		func(n *tailnet.Node) string { return strconv.FormatInt(int64(n.ID), 10) },
		func(n *tailnet.Node) string { return n.IPv4.String() },
		func(n *tailnet.Node) string { return string(n.StableID) },
	} {
		n := s.register("more", strings.TrimSpace(s.do("authkeys", "create", "--needs-approval"))).Node
		if got := decode[admin.Node](s, "nodes", "approve", ref(n)); got.ID != n.ID || !got.Authorized {
			t.Errorf("approved %q: %+v", ref(n), got)
		}
	}
}

func TestBackupAndRestore(t *testing.T) {
	s := start(t)
	secret := strings.TrimSpace(s.do("authkeys", "create", "--reusable"))
	s.register("laptop", secret)
	file := filepath.Join(t.TempDir(), "backup.db")
	s.do("backup", file)
	if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("backup file: %v, %v", fi, err)
	}
	s.fails(1, []string{"exists already"}, "backup", file)
	if out := s.do("backup", "-"); !strings.HasPrefix(out, "SQLite format 3") {
		t.Error("backup to standard output is no database")
	}
	s.fails(1, []string{"another ginnel-server"}, "restore", file)
	s.fails(1, []string{"no such file"}, "backup", "/none/x")

	dir := filepath.Join(t.TempDir(), "d")
	s.do("restore", file, "--data-dir", dir)
	s.fails(1, []string{"exists", "--data-dir"}, "restore", file, "--data-dir", dir)
	restored := start(t, func(c *server.Config) { c.DataDir, c.Socket = dir, filepath.Join(c.DataDir, "s") })
	if restored.s.Tailnet().Snapshot().NodeByName(tailnet.DefaultTailnet, "laptop") == nil {
		t.Error("the restored server has lost the node")
	}
	if restored.s.FirstJoin() != "" {
		t.Error("the restored server takes itself for new")
	}
	if !strings.Contains(s.do("status"), "Nodes:") {
		t.Error("status prints no nodes")
	}
}

func TestNoServer(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(server.EnvPrefix+"_DATA_DIR", dir)
	for _, args := range [][]string{{"status"}, {"nodes", "list"}, {"users", "create", "x"}, {"backup", filepath.Join(dir, "x")}} {
		code, _, stderr := try(t, args...)
		if code != 1 || !strings.Contains(stderr, "no ginnel-server is running on "+dir) || !strings.Contains(stderr, "--data-dir") {
			t.Errorf("%v: status %d, %s", args, code, stderr)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "x")); err == nil {
		t.Error("a failed backup left a file")
	}
}

func TestCompletionKnowsTheServer(t *testing.T) {
	s := start(t)
	s.do("users", "create", "ben", "--display-name", "Ben")
	if out := s.do("completion", "__complete", "--", "users", "delete", "b"); out != "ben\tBen\n" {
		t.Errorf("users complete to %q", out)
	}
	key := decode[admin.NewAuthKey](s, "authkeys", "create", "--user", "ben")
	s.register("door", key.Key)
	if out := s.do("completion", "__complete", "--", "nodes", "show", ""); out != "door\toffline\n" {
		t.Errorf("nodes complete to %q", out)
	}
	if out := s.do("completion", "__complete", "--descs=false", "--", "authkeys", "create", "--user", ""); !strings.Contains(out, "ben\n") {
		t.Errorf("a flag's value completes to %q", out)
	}
}

func TestCommandLine(t *testing.T) {
	for _, tt := range []struct {
		args           string
		code           int
		stdout, stderr string
	}{
		{"--help", 0, "--data-dir directory", ""},
		{"nodes --help", 0, "rename", ""},
		{"nodes expire --help", 0, "--never", ""},
		{"check --help", 0, "--base-domain", ""},
		{"staus", 1, "", `Did you mean "ginnel-server status"?`},
		{"nodes lst", 1, "", `Did you mean "ginnel-server nodes list"?`},
		{"--lisen x", 1, "", "Did you mean --listen?"},
		{"nodes list --jsn", 1, "", "Did you mean --json?"},
		{"version", 0, ".", ""},
		{"completion bash", 0, "-F _ginnel_server_complete", ""},
		{"completion", 0, "SUBCOMMANDS", ""},
		{"completion tcsh", 1, "", "unknown subcommand: tcsh"},
		{"completion __complete -- no", 0, "nodes\t", ""},
		{"completion __complete -- nodes re", 0, "rename\t", ""},
		{"check", 0, "good", ""},
		{"check --listen x --log-format y", 1, "", "log-format"},
		{"check --listen x --log-format y", 1, "", "listen"},
		{"check --config /none", 1, "", "/none"},
		{"check --data-dir /etc/passwd", 1, "", "not a directory"},
		{"check --listen :8080,:8080", 1, "", "twice"},
		{"check --acme-host mesh.example.com", 0, "port 80 nor 443", ""},
		{"check --ipv4-range x", 1, "", "100.64.0.0/10"},
		{"--base-domain x", 1, "", "base-domain"},
	} {
		code, stdout, stderr := try(t, strings.Fields(tt.args)...)
		if code != tt.code || !strings.Contains(stdout, tt.stdout) || !strings.Contains(stderr, tt.stderr) {
			t.Errorf("%q: status %d, printed %.200q, error %q", tt.args, code, stdout, stderr)
		}
		if tt.code == 0 && stderr != "" || tt.code != 0 && stdout != "" {
			t.Errorf("%q: printed %.200q, error %q", tt.args, stdout, stderr)
		}
	}
}

// The whole program: it greets with a command that works, and ends on a signal.
func TestServe(t *testing.T) {
	dir, err := os.MkdirTemp("", "gc")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithCancel(t.Context())
	ready := newWaitBuffer("nodes approve <link>\n")
	var stderr bytes.Buffer
	done := make(chan int, 1)
	go func() {
		done <- Main(ctx, []string{"--data-dir", dir, "--listen", "127.0.0.1:0", "--stun", "", "--log-level", "error"}, ready, &stderr)
	}()
	select {
	case <-ready.found:
	case code := <-done:
		t.Fatalf("ended with status %d: %s", code, stderr.String())
	}
	if out := ready.String(); !strings.Contains(out, "ginnel up --login-server http://127.0.0.1:") || !strings.Contains(out, "--auth-key gkey-auth-1-") {
		t.Errorf("greeted with %s", out)
	}
	// The commands that it prints work as they stand, in another directory too.
	t.Chdir(t.TempDir())
	commands := 0
	for line := range strings.Lines(ready.String()) {
		args, ok := strings.CutPrefix(line, "  "+Name+" ")
		if !ok {
			continue
		}
		commands++
		code, stdout, stderr := try(t, strings.Fields(strings.ReplaceAll(args, "<link>", "nothing"))...)
		if made := strings.HasPrefix(stdout, "gkey-auth-"); !made && !strings.Contains(stderr, "no such") {
			t.Errorf("%q: status %d, printed %q, error %q", line, code, stdout, stderr)
		}
	}
	if commands != 2 {
		t.Errorf("greeted with %d commands", commands)
	}
	cancel()
	if code := <-done; code != 0 || stderr.Len() > 0 {
		t.Errorf("ended with status %d: %s", code, stderr.String())
	}
}

// Flags of the program may stand before the sub-command; after it they win.
func TestFlagsBeforeSubcommand(t *testing.T) {
	a, b := start(t), start(t)
	a.register("one", "")
	file := filepath.Join(t.TempDir(), "server.json")
	if err := os.WriteFile(file, []byte(`{"data-dir": "`+a.dir+`"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, before := range [][]string{{"--data-dir", a.dir}, {"--data-dir=" + a.dir}, {"--config", file}, {"--socket", filepath.Join(a.dir, server.AdminSocketName)}} {
		for _, tt := range []struct{ args, a, b string }{
			{"status", a.s.URL(), b.s.URL()},
			{"nodes pending", "one", "ID"},
			{"users list", "admin", "admin"},
			{"audit", "user.create", "user.create"},
		} {
			args := append(slices.Clone(before), strings.Fields(tt.args)...)
			if code, stdout, stderr := try(t, args...); code != 0 || !strings.Contains(stdout, tt.a) {
				t.Errorf("%v: status %d, printed %s, error %s", args, code, stdout, stderr)
			}
			args = append(args, "--data-dir", b.dir, "--socket", filepath.Join(b.dir, server.AdminSocketName))
			if code, stdout, stderr := try(t, args...); code != 0 || !strings.Contains(stdout, tt.b) || tt.a != tt.b && strings.Contains(stdout, tt.a) {
				t.Errorf("%v: status %d, printed %s, error %s", args, code, stdout, stderr)
			}
		}
	}
	if code, _, stderr := try(t, "--base-domain", "x", "check"); code != 1 || !strings.Contains(stderr, "base-domain") {
		t.Errorf("check with a flag before it: status %d, %s", code, stderr)
	}
	if code, _, stderr := try(t, "--base-domain", "x", "check", "--base-domain", "x.y"); code != 0 {
		t.Errorf("check with a flag before and after it: status %d, %s", code, stderr)
	}
	dir := filepath.Join(t.TempDir(), "d")
	backup := filepath.Join(t.TempDir(), "backup")
	a.do("backup", backup)
	if code, stdout, stderr := try(t, "--data-dir", dir, "restore", backup); code != 0 || !strings.Contains(stdout, dir) {
		t.Errorf("restore: status %d, printed %s, error %s", code, stdout, stderr)
	}
}

func TestAdminFlags(t *testing.T) {
	c := server.DefaultConfig()
	if got := adminFlags(&c); got != "" {
		t.Errorf("flags for the default directory: %q", got)
	}
	c.DataDir, c.Socket = "/srv/it's here", "/run/x.sock"
	if got, want := adminFlags(&c), ` --data-dir '/srv/it'\''s here' --socket /run/x.sock`; got != want {
		t.Errorf("flags %s, want %s", got, want)
	}
}
