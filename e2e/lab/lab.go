//go:build linux

package lab

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// namePrefix begins the name of every namespace that a lab makes.
const namePrefix = "ginnel-e2e-"

var labCount atomic.Int64

// A Lab is one network with the programs running in it. It ends with the test
// that made it.
type Lab struct {
	t      testing.TB
	prefix string
	dir    string

	mu      sync.Mutex
	outputs []*Process // in the order of their start
}

// Require ends the test unless it may make namespaces. With CI=true in the
// environment a missing capability fails the test, so that a run that tested
// nothing cannot pass; elsewhere it is skipped.
func Require(t testing.TB) {
	t.Helper()
	why := missing()
	if why == "" {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("end-to-end tests cannot run here: %s", why)
	}
	t.Skipf("needs a capability that is missing: %s", why)
}

// missing returns what is lacking for a lab, empty when nothing is.
func missing() string {
	if os.Geteuid() != 0 {
		return "not root"
	}
	for _, tool := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			return err.Error()
		}
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return err.Error()
	}
	return ""
}

// New makes an empty lab, ending the test when the machine cannot hold one.
func New(t testing.TB) *Lab {
	t.Helper()
	Require(t)
	sweepOnce.Do(sweep)
	l := &Lab{
		t:      t,
		prefix: fmt.Sprintf("%s%d-%d-", namePrefix, os.Getpid(), labCount.Add(1)),
		dir:    t.TempDir(),
	}
	t.Cleanup(l.dumpLogs)
	return l
}

// Dir returns the folder for the files of this lab. It is removed at the end.
func (l *Lab) Dir() string { return l.dir }

var sweepOnce sync.Once

// sweep removes the namespaces of test processes that no longer exist.
func sweep() {
	out, err := exec.Command("ip", "netns", "list").Output()
	if err != nil {
		return
	}
	for line := range strings.Lines(string(out)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		rest, ours := strings.CutPrefix(name, namePrefix)
		if !ours {
			continue
		}
		pid, _, _ := strings.Cut(rest, "-")
		if n, err := strconv.Atoi(pid); err == nil && n != os.Getpid() && !processExists(n) {
			removeNamespace(name)
		}
	}
}

func processExists(pid int) bool {
	_, err := os.Stat("/proc/" + strconv.Itoa(pid))
	return err == nil
}

// removeNamespace kills what still runs in a namespace and removes it.
func removeNamespace(name string) {
	if out, err := exec.Command("ip", "netns", "pids", name).Output(); err == nil {
		for _, f := range strings.Fields(string(out)) {
			if pid, err := strconv.Atoi(f); err == nil && pid != os.Getpid() {
				if p, err := os.FindProcess(pid); err == nil {
					p.Kill()
				}
			}
		}
	}
	exec.Command("ip", "netns", "del", name).Run()
}

// must runs a program on the machine itself and ends the test if it fails.
func (l *Lab) must(args ...string) {
	l.t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		l.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// dumpLogs prints the end of every program's output when the test failed.
func (l *Lab) dumpLogs() {
	if !l.t.Failed() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.outputs {
		l.t.Logf("---- output of %s (%s) ----\n%s", p.Name, p.state(), tail(p.out.Bytes(), 8<<10))
	}
}

func tail(b []byte, n int) []byte {
	if len(b) <= n {
		return b
	}
	b = b[len(b)-n:]
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		b = b[i+1:]
	}
	return b
}
