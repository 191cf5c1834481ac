//go:build linux

package rig

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// namePrefix begins the name of every namespace of a rig.
const namePrefix = "ginnel-bench-"

// A Rig is a small network with programs in it. It is not for concurrent use.
type Rig struct {
	dir   string
	hosts []*Host
	procs []*Process
	links int
}

// New makes an empty rig, after removing what killed ones left behind. The
// error says what the machine lacks.
func New() (*Rig, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("this benchmark makes network namespaces and needs root")
	}
	for _, tool := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("this benchmark needs the program %s: %w", tool, err)
		}
	}
	sweep()
	dir, err := os.MkdirTemp("", namePrefix)
	if err != nil {
		return nil, err
	}
	return &Rig{dir: dir}, nil
}

// Dir returns a folder for files, which Close removes.
func (r *Rig) Dir() string { return r.dir }

// Close ends all programs and removes everything. The programs' logs are lost.
func (r *Rig) Close() error {
	var errs []error
	for _, p := range r.procs {
		p.Kill()
	}
	for _, h := range r.hosts {
		errs = append(errs, run("ip", "netns", "del", h.ns))
	}
	r.procs, r.hosts = nil, nil
	return errors.Join(append(errs, os.RemoveAll(r.dir))...)
}

// sweep removes the namespaces of processes that no longer exist.
func sweep() {
	out, err := exec.Command("ip", "netns", "list").Output()
	if err != nil {
		return
	}
	for line := range strings.Lines(string(out)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		rest, ours := strings.CutPrefix(name, namePrefix)
		pid, _, _ := strings.Cut(rest, "-")
		if n, err := strconv.Atoi(pid); ours && err == nil && unix.Kill(n, 0) == unix.ESRCH {
			_ = run("ip", "netns", "del", name) // somebody else may have been faster
		}
	}
}

// run runs a program of the system.
func run(args ...string) error {
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// A Host is a machine of the rig.
type Host struct {
	// Name is the name within the rig.
	Name string

	rig *Rig
	ns  string
}

// Host makes a machine that is connected to nothing.
func (r *Rig) Host(name string) (*Host, error) {
	h := &Host{Name: name, rig: r, ns: fmt.Sprintf("%s%d-%s", namePrefix, os.Getpid(), name)}
	if err := run("ip", "netns", "add", h.ns); err != nil {
		return nil, err
	}
	r.hosts = append(r.hosts, h)
	return h, h.Run("ip", "link", "set", "lo", "up")
}

// Join connects two hosts by a link on which they have the given addresses,
// such as "10.1.0.1/24".
func (r *Rig) Join(a *Host, addrA string, b *Host, addrB string) error {
	r.links++
	dev := "link" + strconv.Itoa(r.links)
	err := run("ip", "link", "add", dev, "netns", a.ns, "type", "veth", "peer", "name", dev, "netns", b.ns)
	for _, end := range []struct {
		h    *Host
		addr string
	}{{a, addrA}, {b, addrB}} {
		if err == nil {
			err = end.h.Run("ip", "addr", "add", end.addr, "dev", dev)
		}
		if err == nil {
			err = end.h.Run("ip", "link", "set", dev, "up")
		}
	}
	return err
}

// Run runs a program of the system on the host.
func (h *Host) Run(args ...string) error {
	return run(append([]string{"ip", "netns", "exec", h.ns}, args...)...)
}

// BlockUDP drops all UDP that enters or leaves the host's links.
func (h *Host) BlockUDP() error {
	cmd := exec.Command("ip", "netns", "exec", h.ns, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(`
table inet noudp {
	chain in { type filter hook input priority filter; iifname "link*" meta l4proto udp drop; }
	chain out { type filter hook output priority filter; oifname "link*" meta l4proto udp drop; }
}`)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("block UDP on %s: %w: %s", h.Name, err, out)
	}
	return nil
}

// Do runs f on a thread that is in the host's network: sockets that f itself
// opens, and programs that it starts, belong to the host.
func (h *Host) Do(f func() error) error {
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
		return fmt.Errorf("enter the namespace of %s: %w", h.Name, err)
	}
	err = f()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		// Nothing sound can go on with a thread in the wrong network.
		panic(fmt.Sprintf("leave the namespace of %s: %v", h.Name, back))
	}
	runtime.UnlockOSThread()
	return err
}

// Dial connects from the host. The address must be numeric.
func (h *Host) Dial(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	err = h.Do(func() error {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

// Listen opens a TCP listener on the host. The address must be numeric.
func (h *Host) Listen(ctx context.Context, addr string) (ln net.Listener, err error) {
	err = h.Do(func() error {
		var lc net.ListenConfig
		ln, err = lc.Listen(ctx, "tcp", addr)
		return err
	})
	return ln, err
}
