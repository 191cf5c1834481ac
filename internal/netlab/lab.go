//go:build linux

package netlab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Missing returns what the machine lacks for a lab, nil when nothing is.
func Missing() error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root")
	}
	for _, tool := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("the program %s is needed: %w", tool, err)
		}
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return fmt.Errorf("TUN devices are needed: %w", err)
	}
	return nil
}

// A Lab is one network with the programs running in it. Its methods may be
// called from several goroutines.
type Lab struct {
	mu    sync.Mutex
	hosts []*Host
}

// New makes an empty lab. The error says what the machine lacks.
func New() (*Lab, error) {
	if err := Missing(); err != nil {
		return nil, err
	}
	return &Lab{}, nil
}

// Close kills every program on the lab's hosts, also those that others started
// there, and removes everything.
func (l *Lab) Close() error {
	l.mu.Lock()
	hosts := l.hosts
	l.hosts = nil
	l.mu.Unlock()
	var errs []error
	for _, h := range hosts {
		h.killAll()
	}
	for _, h := range hosts {
		errs = append(errs, h.ns.Close())
	}
	return errors.Join(errs...)
}

// A Host is a machine: one network namespace.
type Host struct {
	// Name is what errors call the host.
	Name string

	ns    *os.File // the namespace, nil for this machine's own
	inode uint64   // tells the namespace from others

	mu    sync.Mutex
	ports int // interfaces made up to now
	procs []*Process
}

// Machine returns the machine itself as a host, for programs that run in
// namespaces or without. It is in no lab, and nothing stops what is started on
// it.
func Machine() *Host { return &Host{Name: "this machine"} }

// Host makes a machine that is connected to nothing but itself.
func (l *Lab) Host(name string) (*Host, error) {
	ns, err := newNamespace()
	if err != nil {
		return nil, fmt.Errorf("host %s: %w", name, err)
	}
	info, err := ns.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("host %s: %w", name, err), ns.Close())
	}
	h := &Host{Name: name, ns: ns, inode: info.Sys().(*syscall.Stat_t).Ino}
	l.mu.Lock()
	l.hosts = append(l.hosts, h)
	l.mu.Unlock()
	// Without duplicate address detection, addresses are of use at once.
	if err := h.SetSysctl("ipv6/conf/default/accept_dad", "0"); err != nil {
		return nil, err
	}
	return h, h.ip("link", "set", "lo", "up")
}

// newNamespace makes a network namespace that lives as long as the file is open.
func newNamespace() (ns *os.File, err error) {
	err = elsewhere(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		ns, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	return ns, err
}

// elsewhere runs f, which may move its thread to another network, and brings
// the thread back.
func elsewhere(f func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	err = f()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		// Nothing sound can go on with a thread in the wrong network.
		panic(fmt.Sprintf("leave a network namespace: %v", back))
	}
	runtime.UnlockOSThread()
	return err
}

// Do runs f on a thread that is in the host's network: sockets that f itself
// opens, and programs that it starts, belong to the host. Goroutines that f
// starts do not.
func (h *Host) Do(f func() error) error {
	if h.ns == nil {
		return f()
	}
	return elsewhere(func() error {
		if err := unix.Setns(int(h.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter the network of %s: %w", h.Name, err)
		}
		return f()
	})
}

// Path names the host's namespace for programs such as ip and nsenter, for as
// long as this process holds it.
func (h *Host) Path() string {
	if h.ns == nil {
		return "/proc/self/ns/net"
	}
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), h.ns.Fd())
}

// killAll kills everything that runs in the host's namespace.
func (h *Host) killAll() {
	h.mu.Lock()
	procs := h.procs
	h.mu.Unlock()
	for _, p := range procs {
		p.Kill()
	}
	for _, pid := range h.pids() {
		unix.Kill(pid, unix.SIGKILL) // it may have ended by itself
	}
}

// pids returns the processes in the host's namespace.
func (h *Host) pids() []int { return pidsIn(h.inode) }

func pidsIn(inode uint64) (pids []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil || info.Sys().(*syscall.Stat_t).Ino != inode {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(f)))); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}
