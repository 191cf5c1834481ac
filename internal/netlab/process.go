//go:build linux

package netlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// A Process is a program running on a host. It is killed with this process, and
// when its lab is closed.
type Process struct {
	*exec.Cmd
	done chan struct{} // closed when the program ended
}

// StartCmd starts a prepared program on the host, in a process group of its
// own: a terminal's Ctrl-C does not reach it.
func (h *Host) StartCmd(cmd *exec.Cmd) (*Process, error) {
	p := &Process{Cmd: cmd, done: make(chan struct{})}
	if err := h.spawn(cmd); err != nil {
		return nil, err
	}
	go func() {
		cmd.Wait() // how it ended is in ProcessState
		close(p.done)
	}()
	h.mu.Lock()
	h.procs = append(h.procs, p)
	h.mu.Unlock()
	return p, nil
}

// spawn starts a program on the host such that the kernel kills it with this
// process.
func (h *Host) spawn(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := h.Do(cmd.Start); err != nil {
		return fmt.Errorf("%s: start %s: %w", h.Name, cmd.Path, err)
	}
	return nil
}

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Ended reports whether the program has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// PID returns the program's process id.
func (p *Process) PID() int { return p.Process.Pid }

// Signal sends a signal to the program. One that has ended gets none.
func (p *Process) Signal(s syscall.Signal) { p.Process.Signal(s) }

// Kill ends the program at once, with SIGKILL, and waits for its end.
func (p *Process) Kill() {
	p.Process.Kill()
	<-p.done
}

// Stop asks the program to end, with SIGTERM, and kills it if that takes longer
// than grace, which is an error.
func (p *Process) Stop(grace time.Duration) error {
	p.Signal(syscall.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		p.Kill()
		return fmt.Errorf("%s had not ended %v after SIGTERM", p.Path, grace)
	}
}

// Run runs a program on the host to its end. The error has what it printed.
func (h *Host) Run(args ...string) error { return h.runCmd(exec.Command(args[0], args[1:]...)) }

// RunCmd runs a prepared program on the host to its end.
func (h *Host) RunCmd(cmd *exec.Cmd) error {
	if err := h.spawn(cmd); err != nil {
		return err
	}
	return cmd.Wait()
}

// runCmd runs a program and puts what it prints into the error.
func (h *Host) runCmd(cmd *exec.Cmd) error {
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := h.RunCmd(cmd); err != nil {
		return fmt.Errorf("%s: %s: %w: %s", h.Name, strings.Join(cmd.Args, " "), err, strings.TrimSpace(out.String()))
	}
	return nil
}

// run runs a program on the machine itself.
func run(args ...string) error { return Machine().Run(args...) }

// Dial connects from the host. The address must be numeric.
func (h *Host) Dial(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	err = h.Do(func() error {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

// Listen opens a stream listener on the host. The address must be numeric.
func (h *Host) Listen(ctx context.Context, network, addr string) (ln net.Listener, err error) {
	err = h.Do(func() error {
		var lc net.ListenConfig
		ln, err = lc.Listen(ctx, network, addr)
		return err
	})
	return ln, err
}

// FreePort returns a port that nobody used a moment ago, by TCP or UDP, on any
// of the host's addresses.
func (h *Host) FreePort() (port string, err error) {
	err = h.Do(func() error {
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
