//go:build linux

package lab

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestSwitchJoinsHosts(t *testing.T) {
	l := New(t)
	sw := l.Switch("lan")
	a, b := l.Host("a"), l.Host("b")
	a.Plug(sw, "10.7.0.1/24", "fd07::1/64")
	b.Plug(sw, "10.7.0.2/24", "fd07::2/64")
	for _, addr := range []string{"10.7.0.2", "fd07::2"} {
		Eventually(t, 5*time.Second, "ping "+addr, func() error { return a.Ping(netip.MustParseAddr(addr)) })
	}
	if err := a.Ping(netip.MustParseAddr("10.7.0.99")); err == nil {
		t.Error("an address that nobody has answered a ping")
	}
	exchange(t, a, b, "10.7.0.2:7000")
}

// exchange opens a stream from one host to a listener on another and checks
// that what is sent comes back.
func exchange(t *testing.T, from, to *Host, addr string) {
	t.Helper()
	ln, err := to.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		io.Copy(conn, conn)
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	conn, err := from.DialContext(ctx, "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("there")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "there" {
		t.Fatalf("echo returned %q, %v", got, err)
	}
}

func TestMasqueradeLetsOutNotIn(t *testing.T) {
	l := New(t)
	inside, outside := l.Switch("in"), l.Switch("out")
	host, router, world := l.Host("host"), l.Host("router"), l.Host("world")
	host.Plug(inside, "192.168.1.2/24")
	host.DefaultRoute("192.168.1.1")
	router.Plug(inside, "192.168.1.1/24")
	router.Masquerade(router.Plug(outside, "203.0.113.1/24"))
	world.Plug(outside, "203.0.113.9/24")
	world.DefaultRoute("203.0.113.1")
	exchange(t, host, world, "203.0.113.9:7000")
	if err := world.Ping(netip.MustParseAddr("192.168.1.2")); err == nil {
		t.Error("a packet from outside went through the address translation")
	}
}

func TestBlockUDP(t *testing.T) {
	l := New(t)
	sw := l.Switch("lan")
	a, b := l.Host("a"), l.Host("b")
	a.Plug(sw, "10.7.0.1/24")
	b.Plug(sw, "10.7.0.2/24")
	b.BlockUDP()
	send := func() error {
		conn, err := b.DialContext(t.Context(), "udp", "10.7.0.1:9")
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write([]byte("x"))
		return err
	}
	if err := send(); err == nil {
		t.Error("UDP left a host where it is blocked")
	}
	exchange(t, a, b, "10.7.0.2:7000")
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

func TestNothingIsLeft(t *testing.T) {
	Require(t)
	var ns string
	t.Run("lab", func(t *testing.T) {
		h := New(t).Host("a")
		ns = h.ns
		h.Start(nil, "sleep", "1000")
		if !namespaceListed(t, ns) {
			t.Errorf("namespace %s does not exist", ns)
		}
	})
	if namespaceListed(t, ns) {
		t.Errorf("namespace %s is still there", ns)
	}
}

func TestSweepRemovesDeadRuns(t *testing.T) {
	Require(t)
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	ns := namePrefix + strconv.Itoa(dead.Process.Pid) + "-1-left"
	if out, err := exec.Command("ip", "netns", "add", ns).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	sweep()
	if namespaceListed(t, ns) {
		removeNamespace(ns)
		t.Errorf("namespace %s of a dead process was not removed", ns)
	}
}

func namespaceListed(t *testing.T, name string) bool {
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
