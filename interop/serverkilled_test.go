package interop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// A serverProcess is our server as a program that can be killed.
type serverProcess struct {
	t    *testing.T
	dir  string
	addr string
	stun string
	url  string
	cmd  *exec.Cmd
	log  *testLog
}

func startServerProcess(t *testing.T) *serverProcess {
	t.Helper()
	dir, err := os.MkdirTemp("", "server-") // short enough for a socket in it
	if err != nil {
		t.Fatal(err)
	}
	s := &serverProcess{t: t, dir: dir, addr: freeAddr(t), stun: freeAddr(t), log: newLog(t, "our server")}
	s.url = "http://" + s.addr
	t.Cleanup(func() {
		s.kill()
		os.RemoveAll(dir)
	})
	s.start()
	return s
}

// start starts the program and waits until it serves.
func (s *serverProcess) start() {
	s.t.Helper()
	s.cmd = exec.Command(program(s.t, "ginnel-server"), "--data-dir", s.dir, "--listen", s.addr, "--url", s.url, "--stun", s.stun, "--log-level", "debug")
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	eventually(s.t, "the server is healthy", func() error {
		resp, err := http.Get(s.url + "/healthz")
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("it says %s", resp.Status)
		}
		return nil
	})
}

// kill ends the program without a chance to store anything.
func (s *serverProcess) kill() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
}

// admin runs an administrator's command.
func (s *serverProcess) admin(args ...string) []byte {
	s.t.Helper()
	cmd := exec.Command(program(s.t, "ginnel-server"), append(args, "--data-dir", s.dir)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		s.t.Fatalf("ginnel-server %s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	return stdout.Bytes()
}

// authKey makes a key for as many nodes as like.
func (s *serverProcess) authKey() string {
	s.t.Helper()
	var key struct {
		Secret string `json:"key"`
	}
	text := s.admin("authkeys", "create", "--reusable", "--json")
	if err := json.Unmarshal(text, &key); err != nil || key.Secret == "" {
		s.t.Fatalf("new auth key: %v: %s", err, text)
	}
	return key.Secret
}

// TestServerKilled kills the server under nodes of both makes, which go on without
// it, and starts it again.
func TestServerKilled(t *testing.T) {
	for _, kind := range []pathKind{direct, relayed} {
		t.Run(string(kind), func(t *testing.T) { testServerKilled(t, kind) })
	}
}

func testServerKilled(t *testing.T, kind pathKind) {
	echoOnLoopback(t)
	s := startServerProcess(t)
	key := s.authKey()
	a := joinOfficial(t, s.url, key, "a", kind)
	b := joinOfficial(t, s.url, key, "b", kind)
	our := joinOurs(t, s.url, key, "ours")
	all := []*member{a.member, b.member, our.member}
	meetAll := func() {
		t.Helper()
		meet(t, a.member, b.member, kind)
		meet(t, a.member, our.member, kind)
	}
	meetAll()
	var before []identity
	for _, m := range all {
		before = append(before, m.identity())
	}

	s.kill()
	if kind == direct { // the relay is gone with the server
		meetAll()
	}
	s.start()
	late := joinOfficial(t, s.url, key, "late", kind)
	for i, m := range all {
		m.waitState("Running")
		m.waitOnline(late.member, true)
		late.waitOnline(m, true)
		if after := m.identity(); after != before[i] {
			t.Errorf("the restart made %v of %v", after, before[i])
		}
	}
	meetAll()
	meet(t, late.member, our.member, kind)
}
