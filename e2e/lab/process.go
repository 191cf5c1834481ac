//go:build linux

package lab

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopGrace is how long a program may take to end after it was asked to.
const stopGrace = 15 * time.Second

// A Process is a program running on a host until the test ends.
type Process struct {
	// Name is what the program's output is printed under.
	Name string

	lab  *Lab
	cmd  *exec.Cmd
	out  output
	done chan struct{} // closed when the program ended
	err  error         // how it ended; valid after done
}

// output is a buffer that can be read while it is being written.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

// Bytes returns a copy of what was written up to now.
func (o *output) Bytes() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Clone(o.buf.Bytes())
}

// Start runs a program on the host. It is killed when the test ends, also when
// the test process itself is killed. env is added to the environment.
func (h *Host) Start(env []string, args ...string) *Process {
	h.lab.t.Helper()
	p := &Process{
		Name: h.Name + ": " + shortCommand(args),
		lab:  h.lab,
		cmd:  h.Command(args...),
		done: make(chan struct{}),
	}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		h.lab.t.Fatalf("start %s: %v", p.Name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	h.lab.mu.Lock()
	h.lab.outputs = append(h.lab.outputs, p)
	h.lab.mu.Unlock()
	h.lab.t.Cleanup(p.Kill)
	return p
}

func shortCommand(args []string) string {
	name := args[0]
	return strings.Join(append([]string{name[strings.LastIndexByte(name, '/')+1:]}, args[1:]...), " ")
}

// Log returns what the program printed up to now.
func (p *Process) Log() string { return string(p.out.Bytes()) }

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// ExitCode returns the code that the program ended with, -1 for a signal. It
// waits for the end.
func (p *Process) ExitCode() int {
	<-p.done
	return p.cmd.ProcessState.ExitCode()
}

// Kill ends the program the hard way, with SIGKILL, and waits for its end.
func (p *Process) Kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// Stop asks the program to end with SIGTERM and waits. A program that does not
// end in time fails the test.
func (p *Process) Stop() {
	p.lab.t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopGrace):
		p.Kill()
		p.lab.t.Errorf("%s did not end %v after SIGTERM", p.Name, stopGrace)
	}
}

func (p *Process) state() string {
	select {
	case <-p.done:
		return fmt.Sprint("ended: ", p.cmd.ProcessState)
	default:
		return "running"
	}
}
