//go:build linux

package netlab

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// need ends the test unless the machine can hold a lab: as a failure in
// continuous integration, else as a skip.
func need(t *testing.T) {
	t.Helper()
	if err := Missing(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

func newLab(t *testing.T) *Lab {
	t.Helper()
	need(t)
	l := must(New())(t)
	t.Cleanup(func() { check(t, l.Close()) })
	return l
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		check(t, err)
		return v
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// echo pings once. It gives up soon: nothing here is slow.
func echo(t *testing.T, from *Host, to string) error {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	return from.Echo(ctx, netip.MustParseAddr(to))
}

// converse opens a stream from one host to a listener on another and checks
// that what is sent comes back. It returns whom the listener saw.
func converse(t *testing.T, from, to *Host, addr string) (seen netip.Addr) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ln := must(to.Listen(ctx, "tcp", addr))(t)
	defer ln.Close()
	out := must(from.Dial(ctx, "tcp", addr))(t)
	defer out.Close()
	in := must(ln.Accept())(t)
	defer in.Close()
	must(out.Write([]byte("there")))(t)
	got := make([]byte, 5)
	if _, err := io.ReadFull(in, got); err != nil || string(got) != "there" {
		t.Fatalf("read %q, %v", got, err)
	}
	return netip.MustParseAddrPort(in.RemoteAddr().String()).Addr()
}

func TestSwitchJoinsHosts(t *testing.T) {
	l := newLab(t)
	sw := must(l.Switch("lan"))(t)
	a, b := must(l.Host("a"))(t), must(l.Host("b"))(t)
	dev := must(a.Plug(sw, "10.7.0.1/24", "fd07::1/64"))(t)
	must(b.Plug(sw, "10.7.0.2/24", "fd07::2/64"))(t)
	for _, to := range []string{"10.7.0.2", "fd07::2"} {
		check(t, echo(t, a, to))
	}
	if err := echo(t, a, "10.7.0.99"); err == nil {
		t.Error("an address that nobody has answered a ping")
	}
	converse(t, a, b, "10.7.0.2:7000")
	var table bytes.Buffer
	cmd := exec.Command("ip", "-6", "-o", "addr", "show", "dev", dev, "scope", "link", "-tentative")
	cmd.Stdout = &table
	if err := a.RunCmd(cmd); err != nil || !strings.Contains(table.String(), "fe80") {
		t.Errorf("no link-local address: %v\n%s", err, &table)
	}

	check(t, a.DelAddr(dev, "10.7.0.1/24"))
	check(t, a.AddAddr(dev, "10.7.0.11/24"))
	if seen := converse(t, a, b, "10.7.0.2:7000"); seen.String() != "10.7.0.11" {
		t.Errorf("the moved host is seen as %v", seen)
	}
}

func TestJoin(t *testing.T) {
	l := newLab(t)
	a, b := must(l.Host("a"))(t), must(l.Host("b"))(t)
	check(t, Join(a, "10.8.0.1/24", b, "10.8.0.2/24"))
	converse(t, b, a, "10.8.0.1:7000")
}

func TestHomeNATLetsOutNotIn(t *testing.T) {
	l := newLab(t)
	inside, outside := must(l.Switch("in"))(t), must(l.Switch("out"))(t)
	host, router, world := must(l.Host("host"))(t), must(l.Host("router"))(t), must(l.Host("world"))(t)
	must(host.Plug(inside, "192.168.1.2/24", "fd01::2/64"))(t)
	must(router.Plug(inside, "192.168.1.1/24", "fd01::1/64"))(t)
	dev := must(router.Plug(outside, "203.0.113.1/24", "fd02::1/64"))(t)
	must(world.Plug(outside, "203.0.113.9/24", "fd02::9/64"))(t)
	for _, gateway := range []string{"192.168.1.1", "fd01::1"} {
		check(t, host.DefaultRoute(gateway))
	}
	for _, gateway := range []string{"203.0.113.1", "fd02::1"} {
		check(t, world.DefaultRoute(gateway))
	}
	check(t, router.Forward())
	check(t, echo(t, world, "192.168.1.2")) // a plain router
	check(t, router.Apply(HomeNAT(dev)))
	if seen := converse(t, host, world, "203.0.113.9:7000"); seen.String() != "203.0.113.1" {
		t.Errorf("the host behind the router is seen as %v", seen)
	}
	for _, to := range []string{"192.168.1.2", "203.0.113.1"} {
		if echo(t, world, to) == nil {
			t.Errorf("a packet from outside reached %s", to)
		}
	}
	if seen := converse(t, host, world, "[fd02::9]:7000"); seen.String() != "fd01::2" {
		t.Errorf("over IPv6 the host is seen as %v", seen)
	}
}

func TestRulesComeAndGo(t *testing.T) {
	l := newLab(t)
	a, b := must(l.Host("a"))(t), must(l.Host("b"))(t)
	check(t, Join(a, "10.7.0.1/24", b, "10.7.0.2/24"))
	send := func() error {
		conn := must(b.Dial(t.Context(), "udp", "10.7.0.1:9"))(t)
		defer conn.Close()
		_, err := conn.Write([]byte("x"))
		return err
	}
	for range 2 { // the second takes the place of the first
		check(t, b.Apply(NoUDP()))
	}
	if send() == nil {
		t.Error("UDP left a host where it is blocked")
	}
	converse(t, a, b, "10.7.0.2:7000")
	check(t, b.Remove(NoUDP().Name))
	check(t, send())
	if err := b.Remove(NoUDP().Name); err == nil {
		t.Error("rules that are not there were removed")
	}
	if err := b.Apply(Rules{Name: "bad", Body: "nonsense"}); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("rules that nft does not understand: %v", err)
	}
}

func TestProcess(t *testing.T) {
	l := newLab(t)
	h := must(l.Host("a"))(t)
	script := func(text string) *Process {
		return must(h.StartCmd(exec.Command("sh", "-c", text)))(t)
	}
	if p := script("exec sleep 1000"); p.Stop(10*time.Second) != nil || p.ProcessState.Exited() {
		t.Errorf("a program that lets itself be stopped: %v", p.ProcessState)
	}
	// One that ignores the signal says so, since it must not come too early.
	r, w, err := os.Pipe()
	check(t, err)
	defer r.Close()
	cmd := exec.Command("sh", "-c", "trap '' TERM; echo; while :; do sleep 1; done")
	cmd.Stdout = w
	deaf := must(h.StartCmd(cmd))(t)
	w.Close()
	must(bufio.NewReader(r).ReadString('\n'))(t)
	if err := deaf.Stop(10 * time.Millisecond); err == nil {
		t.Error("a program that does not end was said to have stopped")
	}
	if err := h.Run("sh", "-c", "echo oops >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "oops") {
		t.Errorf("a program that fails: %v", err)
	}
	if err := h.Run("/nonexistent"); err == nil {
		t.Error("a program that is not there ran")
	}
}

func TestNamespaceIsItsOwn(t *testing.T) {
	l := newLab(t)
	a := must(l.Host("a"))(t)
	var out bytes.Buffer
	cmd := exec.Command("nsenter", "--net="+a.Path(), "ip", "-br", "link")
	cmd.Stdout = &out
	check(t, Machine().RunCmd(cmd))
	if lines := strings.Count(out.String(), "\n"); lines != 1 || !strings.HasPrefix(out.String(), "lo ") {
		t.Errorf("a fresh host has the interfaces\n%s", &out)
	}
	port := must(a.FreePort())(t)
	if n, err := strconv.Atoi(port); err != nil || n < 1 {
		t.Errorf("free port %q", port)
	}
}

func TestCloseKillsStrays(t *testing.T) {
	need(t)
	l := must(New())(t)
	h := must(l.Host("a"))(t)
	check(t, h.Run("sh", "-c", "sleep 1000 >/dev/null 2>&1 &"))
	if len(h.pids()) == 0 {
		t.Fatal("the stray does not run: this test sees nothing")
	}
	check(t, l.Close())
	gone(t, h.inode)
}

// gone waits until no process is in the namespace.
func gone(t *testing.T, inode uint64) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); len(pidsIn(inode)) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("processes %v are left in the namespace", pidsIn(inode))
		}
	}
}

const childMarker = "GINNEL_NETLAB_CHILD"

// TestKilledLabLeavesNothing kills a process that has a lab, and expects that
// its programs and links are gone.
func TestKilledLabLeavesNothing(t *testing.T) {
	need(t)
	if os.Getenv(childMarker) != "" {
		runChild(t)
	}
	child := exec.Command(os.Args[0], "-test.run=^TestKilledLabLeavesNothing$")
	child.Env = append(os.Environ(), childMarker+"=1")
	pipe := must(child.StdoutPipe())(t)
	check(t, child.Start())
	var inode uint64
	var pid int
	if _, err := fmt.Fscanf(pipe, "namespace %d program %d\n", &inode, &pid); err != nil {
		t.Fatalf("the child says nothing: %v", err)
	}
	if len(pidsIn(inode)) == 0 {
		t.Fatal("nothing runs in the child's namespace: this test sees nothing")
	}
	check(t, child.Process.Kill())
	child.Wait()
	gone(t, inode)
}

func runChild(t *testing.T) {
	l := must(New())(t)
	h := must(l.Host("a"))(t)
	p := must(h.StartCmd(exec.Command("sleep", "1000")))(t)
	fmt.Printf("namespace %d program %d\n", h.inode, p.PID())
	select {}
}
