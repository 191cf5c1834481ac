package admin

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ginnel/ginnel/server/tailnet"
)

const connectEnv = "GINNEL_TEST_CONNECT"

// TestMain is also the program that tries to connect as another user.
func TestMain(m *testing.M) {
	if path := os.Getenv(connectEnv); path != "" {
		err := NewClient(path).Get(context.Background(), Path("status"), nil)
		if err == nil {
			os.Stdout.WriteString("let in")
		} else {
			os.Stdout.WriteString("refused: " + err.Error())
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// socketDir is a directory with a short path.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ga")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func serve(t *testing.T, backup func(context.Context, string) error) (path string) {
	t.Helper()
	dir := socketDir(t)
	svc, err := tailnet.Open(context.Background(), new(tailnet.MemoryStore), tailnet.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { svc.Close() })
	path = filepath.Join(dir, "admin.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(Config{Tailnet: svc, Backup: backup, ScratchDir: dir, Status: func() Status { return Status{URL: "http://x"} }})
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Shutdown(context.Background())
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return path
}

// raw sends a request with any body and returns status and answer.
func raw(t *testing.T, socket, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, "http://x"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := NewClient(socket).http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestBadRequests(t *testing.T) {
	socket := serve(t, nil)
	for _, tt := range []struct {
		method, path, body string
		code               int
		text               string
	}{
		{"GET", "/v0/nothing", "", 404, "no such request: GET /v0/nothing"},
		{"POST", "/v0/users", "{", 400, "request body"},
		{"POST", "/v0/users", `{"loginName": "x", "admin": true}`, 400, "admin"},
		{"POST", "/v0/users", `{"loginName": "a b"}`, 422, "login name"},
		{"POST", "/v0/users", strings.Repeat(" ", maxBody+1), 400, "too large"},
		{"POST", "/v0/users", `{"loginName": "x"}`, 200, `"x"`},
		{"POST", "/v0/authkeys", `{"lifetime": -1}`, 400, "negative"},
		{"POST", "/v0/authkeys", `{"user": "y"}`, 404, "no such user"},
		{"GET", "/v0/nodes/%2e%2e%2f", "", 404, "no such node"},
		{"GET", "/v0/audit?limit=0", "", 400, "limit"},
		{"GET", "/v0/audit?before=x", "", 400, "before"},
		{"POST", "/v0/logins/x/approve", "", 404, "no such pending login"},
	} {
		if code, text := raw(t, socket, tt.method, tt.path, tt.body); code != tt.code || !strings.Contains(text, tt.text) {
			t.Errorf("%s %s %.40q: %d %s", tt.method, tt.path, tt.body, code, text)
		}
	}
}

func TestFailedBackup(t *testing.T) {
	socket := serve(t, func(context.Context, string) error { return errors.New("disk full") })
	var out strings.Builder
	if _, err := NewClient(socket).Backup(t.Context(), &out); err == nil || !strings.Contains(err.Error(), "disk full") || out.Len() > 0 {
		t.Errorf("%v, %d bytes", err, out.Len())
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(socket), ".backup-*")); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

func TestRemoveLeftovers(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, ".backup-1", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ginnel.db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	RemoveLeftovers(dir)
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != "ginnel.db" {
		t.Errorf("left %v, %v", left, err)
	}
}

// A socket that a killed server has left is taken over.
func TestListenOverStaleSocket(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	old, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	old.(*net.UnixListener).SetUnlinkOnClose(false)
	old.Close()
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("socket %v, %v", fi.Mode(), err)
	}
}

// The kernel's word on who connects counts, even where the file would let
// everybody in.
func TestOtherUserIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("must run as root: it connects as another user")
		}
		t.Skip("must run as root: it connects as another user")
	}
	socket := serve(t, nil)
	for _, path := range []string{socket, filepath.Dir(socket)} {
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	// The test program lies where only root may go: copy it.
	self, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(filepath.Dir(socket), "program")
	if err := os.WriteFile(program, self, 0o755); err != nil {
		t.Fatal(err)
	}
	connect := func(uid uint32) string {
		cmd := exec.Command(program)
		cmd.Dir = "/"
		cmd.Env = []string{connectEnv + "=" + socket}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	if got := connect(65534); !strings.HasPrefix(got, "refused") {
		t.Errorf("another user is %s", got)
	}
	if got := connect(0); got != "let in" {
		t.Errorf("root is %s", got)
	}
}
