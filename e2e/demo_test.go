//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/ginnel/ginnel/e2e/lab"
)

// buildDemo builds the demo, once, beside the programs that it starts.
func buildDemo(t *testing.T) string {
	t.Helper()
	if err := builtDemo(); err != nil {
		t.Fatal(err)
	}
	return program("ginnel-demo")
}

var builtDemo = sync.OnceValue(func() error {
	cmd := exec.Command("go", "build", "-o", program("ginnel-demo"), "./demo")
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the demo: %w\n%s", err, out)
	}
	return nil
})

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

// startDemo starts the demo and waits until it prints the text.
func startDemo(t *testing.T, h *lab.Host, tmp, until string, flags ...string) *lab.Process {
	t.Helper()
	p := h.Start([]string{"TMPDIR=" + tmp}, append([]string{buildDemo(t), "-bin", binDir}, flags...)...)
	lab.Eventually(t, patience, "the demo prints "+until, func() error {
		if !strings.Contains(p.Log(), until) {
			return fmt.Errorf("not yet:\n%s", p.Log())
		}
		return nil
	})
	return p
}

// interrupt is what Ctrl-C does.
func interrupt(p *lab.Process) {
	p.Signal(syscall.SIGINT)
	<-p.Done()
}

// TestDemoEnded ends the demo at several moments, also in ways that leave it no
// time to clean up.
func TestDemoEnded(t *testing.T) {
	t.Parallel()
	buildDemo(t)
	const up = "Ctrl-C ends it all"
	for _, c := range []struct {
		name, when string
		end        func(*lab.Process)
		flags      []string
	}{
		{"interrupted at once", "Ginnel demo", interrupt, nil},
		{"interrupted with the server up", "[ok] server", interrupt, nil},
		{"interrupted with one node up", "[ok] node", interrupt, nil},
		{"interrupted in the end", up, interrupt, nil},
		{"asked to end", up, (*lab.Process).Stop, nil},
		{"killed at once", "Ginnel demo", (*lab.Process).Kill, nil},
		{"killed in the end", up, (*lab.Process).Kill, nil},
		{"TUN, interrupted at once", "Ginnel demo", interrupt, []string{"-tun"}},
		{"TUN, interrupted with one node up", "[ok] node", interrupt, []string{"-tun"}},
		{"TUN, interrupted in the end", up, interrupt, []string{"-tun"}},
		{"TUN, killed in the end", up, (*lab.Process).Kill, []string{"-tun"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := demoHost(lab.New(t))
			machine := systemState(h)
			tmp := t.TempDir()
			c.end(startDemo(t, h, tmp, c.when, c.flags...))
			checkNothingLeft(t, h, tmp)
			if got := systemState(h); got != machine {
				t.Errorf("the machine differs.\nbefore:\n%s\nafter:\n%s", machine, got)
			}
		})
	}
}

// TestDemoCommands pastes every command that the demo prints into a shell.
func TestDemoCommands(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ flags, commands []string }{
		"userspace": {nil, []string{"status", "ping birch", "curl -x", "nodes list", "tail -f", "ginneld", "--hostname cherry", "ginnel up"}},
		"TUN":       {[]string{"-tun"}, []string{"status", "ping birch", "curl", "nodes list", "tail -f", "ginneld", "--hostname cherry"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := demoHost(lab.New(t))
			tmp := t.TempDir()
			p := startDemo(t, h, tmp, "Ctrl-C ends it all", c.flags...)
			_, hints, _ := strings.Cut(p.Log(), "Look around")
			var commands []string
			var daemons []*lab.Process
			for line := range strings.Lines(hints) {
				if command, ok := strings.CutPrefix(line, "  "); ok {
					commands = append(commands, strings.TrimSpace(command))
				}
			}
			if len(commands) != len(c.commands) {
				t.Fatalf("%d commands are printed, want %d:\n%s", len(commands), len(c.commands), hints)
			}
			for i, command := range commands {
				if !strings.Contains(command, c.commands[i]) {
					t.Errorf("command %q, want one with %q", command, c.commands[i])
				}
				if d := pasteCommand(t, h, command); d != nil && c.flags == nil {
					daemons = append(daemons, d) // the visitor's own; in namespaces it ends with them
				}
			}
			interrupt(p)
			for _, d := range daemons {
				d.Kill()
			}
			checkNothingLeft(t, h, tmp)
		})
	}
}

// pasteCommand runs a printed command as a visitor would. It returns what runs on.
func pasteCommand(t *testing.T, h *lab.Host, command string) *lab.Process {
	t.Helper()
	switch {
	case strings.HasSuffix(command, "&"): // runs on; the next command waits for it
		p := h.Start(nil, "sh", "-c", "exec "+strings.TrimSuffix(command, "&"))
		_, socket, _ := strings.Cut(command, "--socket ")
		socket = strings.TrimSpace(strings.TrimSuffix(socket, "&"))
		lab.Eventually(t, patience, "the daemon has its socket", func() error { _, err := os.Stat(socket); return err })
		return p
	case strings.HasPrefix(command, "tail -f"):
		command = "timeout 1 " + command + "; test $? = 124"
	case strings.HasPrefix(command, "ginnel up"): // for another machine, with a daemon at the default place
		return nil
	}
	out, code := runToEnd(t, h, nil, "sh", "-c", command)
	if code != 0 {
		t.Errorf("exit code %d: %s\n%s", code, command, out)
	}
	return nil
}

func TestDemoSaysWhatIsWrong(t *testing.T) {
	demo := buildDemo(t)
	h := demoHost(lab.New(t))
	tmp := t.TempDir()
	out, code := runToEnd(t, h, []string{"TMPDIR=" + tmp}, demo, "-bin", t.TempDir())
	expectRefusal(t, out, code, "not built", "make build")
	checkNothingLeft(t, h, tmp)
}
