//go:build linux

package lab

import (
	"errors"
	"net/netip"
	"testing"
	"time"
)

func TestLinks(t *testing.T) {
	l := New(t)
	inside, outside := l.Switch("in"), l.Switch("out")
	a, router, b := l.Host("a"), l.Host("router"), l.Host("b")
	a.Plug(inside, "192.168.1.2/24")
	a.DefaultRoute("192.168.1.1")
	router.Plug(inside, "192.168.1.1/24")
	router.Masquerade(router.Plug(outside, "203.0.113.1/24"))
	b.Plug(outside, "203.0.113.9/24")
	addr := netip.MustParseAddr("203.0.113.9")
	if err := a.Ping(addr); err != nil {
		t.Error(err)
	}
	send := func() error {
		conn, err := b.DialContext(t.Context(), "udp", "203.0.113.1:9")
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write([]byte("x"))
		return err
	}
	b.BlockUDP()
	if err := send(); err == nil {
		t.Error("UDP left a host where it is blocked")
	}
	b.UnblockUDP()
	if err := send(); err != nil {
		t.Errorf("UDP still blocked: %v", err)
	}
}

func TestProcesses(t *testing.T) {
	l := New(t)
	h := l.Host("a")
	p := h.Start([]string{"GREETING=hello"}, "sh", "-c", "echo $GREETING; exec sleep 1000")
	Eventually(t, 5*time.Second, "output", func() error {
		if p.Log() != "hello\n" {
			return errors.New("printed " + p.Log())
		}
		return nil
	})
	p.Stop()
	if code := p.ExitCode(); code != -1 {
		t.Errorf("exit code %d after a signal, want -1", code)
	}
	if code := h.Start(nil, "sh", "-c", "exit 3").ExitCode(); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
}

func TestOutput(t *testing.T) {
	h := New(t).Host("a")
	const script = "echo out; echo err >&2; exit $0"
	if out, err := h.Output("sh", "-c", script, "0"); err != nil || len(out) != len("out\nerr\n") {
		t.Errorf("both outputs: %q, %v", out, err)
	}
	if out, err := h.Stdout("sh", "-c", script, "0"); err != nil || string(out) != "out\n" {
		t.Errorf("standard output: %q, %v", out, err)
	}
	if out, err := h.Output("sh", "-c", script, "1"); err == nil {
		t.Errorf("no error from a program that failed; it printed %q", out)
	}
}
