package testns

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// Enter runs the rest of the calling test in a process of its own with a fresh
// network namespace, whose loopback interface is up. Call it first, from a
// top-level test:
//
//	if !testns.Enter(t) { return }
//
// It returns true in that process. In the first one it runs that process, takes
// over its result, and returns false.
func Enter(t *testing.T) bool {
	t.Helper()
	RequireRoot(t)
	if os.Getenv(marker) == t.Name() {
		IP(t, "link", "set", "lo", "up")
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+regexp.QuoteMeta(t.Name())+"$", "-test.v")
	cmd.Env = append(os.Environ(), marker+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil || !passed(string(out), t.Name()) {
		t.Fatalf("in its network namespace: %v\n%s", err, out)
	}
	return false
}

// IP runs the ip command and returns what it prints. The test fails if it does.
func IP(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
