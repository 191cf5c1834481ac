package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ginnel/ginnel/node/local/client"
)

// buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// daemon is a run of the program in userspace mode.
type daemon struct {
	socket string
	stderr *buffer
	stop   context.CancelFunc
	code   chan int
}

func start(t *testing.T, dir string, env map[string]string, args ...string) *daemon {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	d := &daemon{socket: filepath.Join(dir, "d.sock"), stderr: &buffer{}, stop: cancel, code: make(chan int, 1)}
	args = append([]string{"--tun=userspace-networking", "--statedir", dir, "--socket", d.socket}, args...)
	go func() {
		d.code <- run(ctx, args, func(k string) string { return env[k] }, d.stderr, d.stderr)
	}()
	t.Cleanup(cancel)
	return d
}

// ready waits until the daemon answers.
func (d *daemon) ready(t *testing.T) *client.Client {
	t.Helper()
	c := client.New(d.socket)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := c.Status(t.Context()); err == nil {
			return c
		} else if time.Now().After(deadline) {
			t.Fatalf("daemon does not answer: %v\n%s", err, d.stderr)
		}
	}
}

func (d *daemon) exit(t *testing.T) int {
	t.Helper()
	select {
	case code := <-d.code:
		return code
	case <-time.After(20 * time.Second):
		t.Fatalf("daemon does not end:\n%s", d.stderr)
	}
	return -1
}

func TestDaemonStartsServesAndStops(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	notify := filepath.Join(t.TempDir(), "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	d := start(t, dir, map[string]string{"NOTIFY_SOCKET": notify}, "--debug=127.0.0.1:0")
	c := d.ready(t)
	st, err := c.Status(t.Context())
	if err != nil || st.BackendState != "NeedsLogin" || st.TUN {
		t.Errorf("status = %+v, %v", st, err)
	}
	told := func() string {
		p := make([]byte, 1000)
		systemd.SetReadDeadline(time.Now().Add(20 * time.Second))
		n, err := systemd.Read(p)
		if err != nil {
			t.Fatal(err)
		}
		return string(p[:n])
	}
	if msg := told(); msg != "READY=1" {
		t.Errorf("first message to systemd: %q", msg)
	}
	if msg := told(); !strings.HasPrefix(msg, "STATUS=Needs login") {
		t.Errorf("second message to systemd: %q", msg)
	}
	d.stop()
	if code := d.exit(t); code != 0 {
		t.Errorf("exit status %d:\n%s", code, d.stderr)
	}
	if msg := told(); msg != "STOPPING=1" {
		t.Errorf("last message to systemd: %q", msg)
	}
	if _, err := os.Stat(d.socket); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
	if info, err := os.Stat(filepath.Join(dir, "ginneld.state")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("state file: %v, %v", info, err)
	}
}

func TestWhatCannotWorkIsSaid(t *testing.T) {
	dir := t.TempDir()
	first := start(t, dir, nil)
	first.ready(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	damaged := t.TempDir()
	for path, content := range map[string]string{file: "", filepath.Join(damaged, "ginneld.state"): "{"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"same socket":        {[]string{"--socket", first.socket}, "already running"},
		"same state":         {[]string{"--statedir", dir}, "in use by another daemon"},
		"cleanup while up":   {[]string{"--statedir", dir, "--cleanup"}, "a daemon is running"},
		"proxy port in use":  {[]string{"--socks5-server", taken.Addr().String()}, "choose another address with --socks5-server"},
		"http port in use":   {[]string{"--outbound-http-proxy-listen", taken.Addr().String()}, "choose another address with --outbound-http-proxy-listen"},
		"debug port in use":  {[]string{"--debug", taken.Addr().String()}, "--debug cannot listen"},
		"state under a file": {[]string{"--statedir", filepath.Join(file, "x")}, "choose another with --statedir"},
		"damaged state":      {[]string{"--statedir", damaged}, "restore it from a backup"},
		"log file":           {[]string{"--log-file", filepath.Join(file, "x")}, "log file"},
	} {
		t.Run(name, func(t *testing.T) {
			d := start(t, t.TempDir(), nil, c.args...)
			if code := d.exit(t); code != 1 || !strings.Contains(d.stderr.String(), c.want) {
				t.Errorf("exit status %d, want %q in:\n%s", code, c.want, d.stderr)
			}
		})
	}
	first.ready(t) // undisturbed
}

func TestFlags(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"version":       {[]string{"--version"}, 0, "go version"},
		"as command":    {[]string{"version"}, 0, "go version"},
		"help":          {[]string{"--help"}, 0, "\n  --socks5-server address\n"},
		"single dash":   {[]string{"-help"}, 0, "USAGE\n  ginneld [flags]\n"},
		"completion":    {[]string{"completion", "bash"}, 0, "-F _ginneld_complete"},
		"misspelt":      {[]string{"--sokcet=x"}, 1, "Did you mean --socket?"},
		"unknown":       {[]string{"--zzzzzzzzz"}, 1, "unknown flag: --zzzzzzzzz"},
		"argument":      {[]string{"up"}, 1, "ginneld: unknown subcommand: up"},
		"bad port":      {[]string{"--port=70000"}, 1, "0 to 65535"},
		"bad address":   {[]string{"--socks5-server=1055"}, 1, "host:port"},
		"bad log size":  {[]string{"--log-file-size=0"}, 1, "megabytes"},
		"no tun":        {[]string{"--tun="}, 1, "--tun needs a name"},
		"no such store": {[]string{"--state=kube:x", "--tun=userspace-networking", "--socket=" + filepath.Join(t.TempDir(), "s")}, 1, "only a file path"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			code := run(t.Context(), c.args, func(string) string { return "" }, &out, &out)
			if code != c.code || !strings.Contains(out.String(), c.want) {
				t.Errorf("exit status %d, want %d and %q in:\n%s", code, c.code, c.want, &out)
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	parse := func(port string, args ...string) *options {
		t.Helper()
		o, fs := &options{}, flag.NewFlagSet("test", flag.ContinueOnError)
		o.define(fs, func(k string) string { return map[string]string{"PORT": port}[k] })
		if err := errors.Join(fs.Parse(args), o.check()); err != nil {
			t.Fatal(err)
		}
		return o
	}
	if o := parse("41641", "--statedir=/x"); o.statePath != "/x/ginneld.state" || o.port != 41641 || o.tun != defaultTUN {
		t.Errorf("options = %+v", o)
	}
	if o := parse("41641", "--port=0"); o.port != 0 {
		t.Errorf("options = %+v", o)
	}
	if o := parse("", "--state=/y/z.state"); o.stateDir != "/y" || o.port != 0 {
		t.Errorf("options = %+v", o)
	}
	if o := parse("", "--state=mem:", "--tun=userspace-networking"); o.stateDir != "" {
		t.Errorf("options = %+v", o)
	}
}

func TestLogFileRotates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, err := openLogFile(path, 100)
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Repeat("x", 39) + "\n"
	for range 7 {
		if n, err := l.Write([]byte(line)); err != nil || n != len(line) {
			t.Fatal(n, err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	now, _ := os.ReadFile(path)
	old, _ := os.ReadFile(path + ".1")
	if string(now) != line || string(old) != line+line {
		t.Errorf("file has %d bytes, old file %d", len(now), len(old))
	}
	if l, err = openLogFile(path, 100); err != nil { // goes on where it was
		t.Fatal(err)
	}
	defer l.Close()
	l.Write([]byte(line))
	if now, _ := os.ReadFile(path); string(now) != line+line {
		t.Errorf("file has %d bytes after reopening", len(now))
	}
	if _, err := l.Write(bytes.Repeat([]byte("y"), 500)); err != nil {
		t.Errorf("record over the limit: %v", err)
	}
}
