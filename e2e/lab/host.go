//go:build linux

package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// A Host is a machine of the lab: one network namespace.
type Host struct {
	// Name is the name within the lab.
	Name string

	lab     *Lab
	ns      string
	nextDev int
}

// Host makes a machine that is connected to nothing.
func (l *Lab) Host(name string) *Host {
	l.t.Helper()
	h := &Host{Name: name, lab: l, ns: l.prefix + name}
	l.must("ip", "netns", "add", h.ns)
	l.t.Cleanup(func() { removeNamespace(h.ns) })
	h.Must("ip", "link", "set", "lo", "up")
	return h
}

// Command prepares a program to run on the host.
func (h *Host) Command(args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", h.ns}, args...)...)
}

// Output runs a program on the host and returns what it printed on both
// outputs.
func (h *Host) Output(args ...string) (string, error) {
	out, err := h.Command(args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %s: %w", h.Name, strings.Join(args, " "), err)
	}
	return string(out), err
}

// Must runs a program on the host and ends the test if it fails.
func (h *Host) Must(args ...string) string {
	h.lab.t.Helper()
	out, err := h.Output(args...)
	if err != nil {
		h.lab.t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// NFT loads firewall rules, in the language of nft, into the host.
func (h *Host) NFT(rules string) {
	h.lab.t.Helper()
	cmd := h.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		h.lab.t.Fatalf("%s: nft: %v\n%s", h.Name, err, out)
	}
}

// SetSysctl sets a kernel parameter of the host's network, such as
// "ipv4/ip_forward".
func (h *Host) SetSysctl(name, value string) {
	h.lab.t.Helper()
	err := h.do(func() error { return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0) })
	if err != nil {
		h.lab.t.Fatalf("%s: set %s: %v", h.Name, name, err)
	}
}

// do runs f on a thread that is inside the host's namespace. Sockets that f
// opens itself belong to the host.
func (h *Host) do(f func() error) error {
	target, err := os.Open("/run/netns/" + h.ns)
	if err != nil {
		return err
	}
	defer target.Close()
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	if err := unix.Setns(int(target.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter namespace of %s: %w", h.Name, err)
	}
	err = f()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		// Nothing sound can go on with a thread in the wrong network.
		panic(fmt.Sprintf("leave namespace of %s: %v", h.Name, back))
	}
	runtime.UnlockOSThread()
	return err
}

// DialContext connects from the host. The address must be numeric.
func (h *Host) DialContext(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	err = h.do(func() error {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

// Listen opens a stream listener on the host. The address must be numeric.
func (h *Host) Listen(network, addr string) (ln net.Listener, err error) {
	err = h.do(func() error {
		var lc net.ListenConfig
		ln, err = lc.Listen(context.Background(), network, addr)
		return err
	})
	return ln, err
}
