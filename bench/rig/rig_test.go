//go:build linux

package rig

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// newRig makes a rig with two joined hosts, a at 10.8.0.1 and b at 10.8.0.2. With
// CI=true what is lacking for one fails the test; elsewhere it is skipped.
func newRig(t *testing.T) (r *Rig, a, b *Host) {
	t.Helper()
	r, err := New()
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	if a, err = r.Host("a"); err != nil {
		t.Fatal(err)
	}
	if b, err = r.Host("b"); err != nil {
		t.Fatal(err)
	}
	if err := r.Join(a, "10.8.0.1/24", b, "10.8.0.2/24"); err != nil {
		t.Fatal(err)
	}
	return r, a, b
}

var addrB = netip.MustParseAddr("10.8.0.2")

func TestStream(t *testing.T) {
	_, a, b := newRig(t)
	const length = 50 * time.Millisecond
	flow, err := Stream(t.Context(), a, b, addrB, length)
	if err != nil {
		t.Fatal(err)
	}
	if flow.Bytes < chunk || flow.Duration < length || flow.Gbps() <= 0 {
		t.Errorf("the stream carried %+v", flow)
	}
	if _, err := Stream(t.Context(), a, b, netip.MustParseAddr("10.8.0.99"), length); err == nil {
		t.Error("a stream to an address that nobody has worked")
	}
}

func TestEcho(t *testing.T) {
	_, a, _ := newRig(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := a.Echo(ctx, addrB); err != nil {
		t.Error(err)
	}
	short, cancelShort := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancelShort()
	if err := a.Echo(short, netip.MustParseAddr("10.8.0.99")); err == nil {
		t.Error("an address that nobody has answered")
	}
}

func TestBlockUDP(t *testing.T) {
	_, a, _ := newRig(t)
	if err := a.BlockUDP(); err != nil {
		t.Fatal(err)
	}
	conn, err := a.Dial(t.Context(), "udp", "10.8.0.2:9")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("x")); err == nil {
		t.Error("UDP left a host where it is blocked")
	}
}

func TestProcess(t *testing.T) {
	_, a, _ := newRig(t)
	// A loop that only the processor slows down, after the line from standard input.
	p, err := a.Start("busy", strings.NewReader("go\n"), "sh", "-c", "read word; echo $word; while :; do :; done")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err = p.Until(ctx, "it used the processor", func() error {
		d, err := p.CPU()
		if err == nil && d < 50*time.Millisecond {
			err = context.DeadlineExceeded
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := p.tail(); got != "go\n" {
		t.Errorf("the log is %q", got)
	}
	if rss, err := p.RSS(); err != nil || rss < 100<<10 || rss > 100<<20 {
		t.Errorf("RSS of a shell is %d, %v", rss, err)
	}
	p.Stop()
	if err := p.Until(ctx, "never", func() error { return context.Canceled }); err == nil || !strings.Contains(err.Error(), "busy ended") {
		t.Errorf("waiting on a program that ended: %v", err)
	}
}

func TestOutput(t *testing.T) {
	_, a, _ := newRig(t)
	out, err := a.Output(t.Context(), "sh", "-c", "cat /proc/self/net/dev | grep -c link1; echo oops >&2; exit 3")
	if out != "1\n" || err == nil || !strings.Contains(err.Error(), "oops") {
		t.Errorf("output %q, error %v", out, err)
	}
}

func TestCloseAndSweepLeaveNothing(t *testing.T) {
	r, a, _ := newRig(t)
	ns := a.ns
	if !listed(t, ns) {
		t.Fatalf("namespace %s does not exist", ns)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if listed(t, ns) {
		t.Errorf("namespace %s is still there", ns)
	}
	if _, err := os.Stat(r.Dir()); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	left := namePrefix + strconv.Itoa(dead.Process.Pid) + "-left"
	if err := run("ip", "netns", "add", left); err != nil {
		t.Fatal(err)
	}
	sweep()
	if listed(t, left) {
		run("ip", "netns", "del", left)
		t.Errorf("namespace %s of a dead process was not removed", left)
	}
}

func listed(t *testing.T, name string) bool {
	t.Helper()
	out, err := exec.Command("ip", "netns", "list").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) > 0 && f[0] == name {
			return true
		}
	}
	return false
}
