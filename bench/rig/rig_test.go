//go:build linux

package rig

import (
	"context"
	"net/netip"
	"os"
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
	out, err := a.Output(t.Context(), "sh", "-c", "cat /proc/self/net/dev | grep -c eth0; echo oops >&2; exit 3")
	if out != "1\n" || err == nil || !strings.Contains(err.Error(), "oops") {
		t.Errorf("output %q, error %v", out, err)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	r, a, _ := newRig(t)
	p, err := a.Start("sleep", nil, "sleep", "1000")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Done():
	default:
		t.Error("a program is still running")
	}
	if _, err := os.Stat(r.Dir()); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
}
