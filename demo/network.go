//go:build linux

package main

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
	"syscall"

	"golang.org/x/sys/unix"
)

// A network says where the parts of the demo run.
type network interface {
	server() place
	node(i int) place
	// pageHost is the address that the web page is served at.
	pageHost() string
}

// A place is somewhere to run programs: this machine, or a network namespace.
type place struct {
	addr string // the address that others reach it by
	pid  int    // of a process in the namespace, 0 for this machine
}

// prefix returns what a person writes before a command to run it there.
func (p place) prefix() string {
	if p.pid == 0 {
		return ""
	}
	return "nsenter -n -t " + strconv.Itoa(p.pid) + " "
}

// do runs f on a thread in the place's network: sockets and programs that f
// itself opens and starts belong to it.
func (p place) do(f func() error) error {
	if p.pid == 0 {
		return f()
	}
	target, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", p.pid))
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
		return fmt.Errorf("enter network namespace: %w", err)
	}
	err = f()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		panic(fmt.Sprintf("leave network namespace: %v", back))
	}
	runtime.UnlockOSThread()
	return err
}

func (p place) listen(addr string) (ln net.Listener, err error) {
	err = p.do(func() error { ln, err = net.Listen("tcp", addr); return err })
	return ln, err
}

func (p place) dial(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	err = p.do(func() error {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

// freePort returns a port that nobody listened on a moment ago, by TCP or UDP.
func (p place) freePort() (port string, err error) {
	err = p.do(func() error {
		for range 20 {
			ln, err := net.Listen("tcp", ":0")
			if err != nil {
				return err
			}
			_, port, _ = net.SplitHostPort(ln.Addr().String())
			pc, err := net.ListenPacket("udp", ":"+port)
			ln.Close()
			if err == nil {
				return pc.Close()
			}
		}
		return errors.New("no port is free by both TCP and UDP")
	})
	return port, err
}

// loopback runs everything on this machine.
type loopback struct{ addr string }

// newLoopback picks the address that other machines could reach this one by,
// so that a third machine can join; without any, the loopback address.
func newLoopback() (network, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return loopback{n.IP.String()}, nil
		}
	}
	return loopback{"127.0.0.1"}, nil
}

func (l loopback) server() place    { return place{addr: l.addr} }
func (l loopback) node(int) place   { return place{addr: l.addr} }
func (l loopback) pageHost() string { return "127.0.0.1" }

// namespaces gives the server and each node a network of its own, joined by a
// bridge in the server's. The namespaces have no names: each lives as long as
// the process that holds it, so a killed demo leaves none behind.
type namespaces struct{ places []place }

func newNamespaces(d *demo) (network, error) {
	n := &namespaces{}
	for i := range 3 {
		pid, err := holdNamespace(d)
		if err != nil {
			return nil, err
		}
		n.places = append(n.places, place{addr: fmt.Sprintf("10.77.0.%d", i+1), pid: pid})
	}
	hub := n.places[0]
	cmds := [][]string{{"link", "set", "lo", "up"}, {"link", "add", "br0", "type", "bridge"},
		{"addr", "add", hub.addr + "/24", "dev", "br0"}, {"link", "set", "br0", "up"}}
	if err := hub.ip(cmds); err != nil {
		return nil, err
	}
	for i, p := range n.places[1:] {
		port := fmt.Sprint("port", i)
		err := hub.ip([][]string{
			{"link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(p.pid)},
			{"link", "set", port, "master", "br0", "up"},
		})
		if err != nil {
			return nil, err
		}
		err = p.ip([][]string{{"link", "set", "lo", "up"}, {"addr", "add", p.addr + "/24", "dev", "eth0"},
			{"link", "set", "eth0", "up"}, {"route", "add", "default", "via", hub.addr}})
		if err != nil {
			return nil, err
		}
	}
	return n, nil
}

func (n *namespaces) server() place    { return n.places[0] }
func (n *namespaces) node(i int) place { return n.places[i+1] }
func (n *namespaces) pageHost() string { return "0.0.0.0" }

// ip runs the program ip in the place, once for each list of arguments.
func (p place) ip(cmds [][]string) error {
	for _, args := range cmds {
		cmd := exec.Command("ip", args...)
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		err := p.do(cmd.Start)
		if err == nil {
			err = cmd.Wait()
		}
		if err != nil {
			return fmt.Errorf("ip %s: %w\n%s", strings.Join(args, " "), err, out.String())
		}
	}
	return nil
}

// holdNamespace starts a process in a new network namespace that does nothing.
func holdNamespace(d *demo) (pid int, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(self, "-hold")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("make a network namespace: %w", err)
	}
	d.closers = append(d.closers, func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd.Process.Pid, nil
}
