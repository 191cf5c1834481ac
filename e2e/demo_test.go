//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ginnel/ginnel/e2e/lab"
)

// buildDemo builds the demo beside the programs that it starts.
func buildDemo(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("go", "build", "-o", program("ginnel-demo"), "./demo")
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the demo: %v\n%s", err, out)
	}
	return program("ginnel-demo")
}

// demoHost is a machine with one address, as a visitor's.
func demoHost(l *lab.Lab) *lab.Host {
	h := l.Host("visitor")
	h.Plug(l.Switch("lan"), "10.9.0.1/24")
	return h
}

// checkNothingLeft expects that the demo's folder is gone, as is everything that
// ran from it.
func checkNothingLeft(t *testing.T, h *lab.Host, tmp string) {
	t.Helper()
	lab.Eventually(t, patience, "nothing is left", func() error {
		left, err := os.ReadDir(tmp)
		if err != nil {
			return err
		}
		if len(left) != 0 {
			return fmt.Errorf("%s is still there", left[0].Name())
		}
		return nothingRunsWith(tmp)
	})
}

// nothingRunsWith returns an error that names a process, other than this one,
// which has the text in its command line.
func nothingRunsWith(text string) error {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err == nil && strings.Contains(string(raw), text) && f != fmt.Sprintf("/proc/%d/cmdline", os.Getpid()) {
			return fmt.Errorf("still running: %s", strings.ReplaceAll(string(raw), "\x00", " "))
		}
	}
	return nil
}

func TestDemo(t *testing.T) {
	for _, c := range []struct {
		name  string
		flags []string
		want  []string
	}{
		{"userspace", nil, []string{"pong from", "through socks5://", "through http://", "--login-server"}},
		{"TUN", []string{"-tun"}, []string{"pong from", "over the TUN device", "--login-server"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			demo := buildDemo(t)
			h := demoHost(lab.New(t))
			tmp := t.TempDir()
			env := []string{"DEMO_ONCE=1", "TMPDIR=" + tmp}
			out, code := runToEnd(t, h, env, append([]string{demo, "-bin", binDir}, c.flags...)...)
			if code != 0 {
				t.Fatalf("the demo failed with code %d:\n%s", code, out)
			}
			expectWords(t, out, c.want...)
			checkNothingLeft(t, h, tmp)
		})
	}
}

// TestDemoKilled ends the demo in ways that leave it no time to clean up.
func TestDemoKilled(t *testing.T) {
	demo := buildDemo(t)
	for _, c := range []struct {
		name string
		kill func(p *lab.Process)
	}{
		{"asked to end", (*lab.Process).Stop},
		{"killed", (*lab.Process).Kill},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := demoHost(lab.New(t))
			tmp := t.TempDir()
			p := h.Start([]string{"TMPDIR=" + tmp}, demo, "-bin", binDir)
			lab.Eventually(t, patience, "the demo is up", func() error {
				if !strings.Contains(p.Log(), "Ctrl-C ends it all") {
					return fmt.Errorf("not yet:\n%s", p.Log())
				}
				return nil
			})
			c.kill(p)
			checkNothingLeft(t, h, tmp)
		})
	}
}

func TestDemoSaysWhatIsWrong(t *testing.T) {
	demo := buildDemo(t)
	h := demoHost(lab.New(t))
	tmp := t.TempDir()
	out, code := runToEnd(t, h, []string{"TMPDIR=" + tmp}, demo, "-bin", t.TempDir())
	expectRefusal(t, out, code, "not built", "make build")
	checkNothingLeft(t, h, tmp)
}
