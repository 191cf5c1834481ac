//go:build linux

package lab

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/ginnel/ginnel/internal/netlab"
)

// stopGrace is how long a program may take to end after it was asked to.
const stopGrace = 15 * time.Second

// A Process is a program running on a host until the test ends.
type Process struct {
	// Name is what the program's output is printed under.
	Name string

	*netlab.Process
	lab *Lab
	out output
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
	p := &Process{Name: h.Name + ": " + shortCommand(args), lab: h.lab}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = &p.out, &p.out
	var err error
	p.Process, err = h.StartCmd(cmd)
	h.lab.must(err)
	h.lab.mu.Lock()
	h.lab.outputs = append(h.lab.outputs, p)
	h.lab.mu.Unlock()
	return p
}

func shortCommand(args []string) string {
	name := args[0]
	return strings.Join(append([]string{name[strings.LastIndexByte(name, '/')+1:]}, args[1:]...), " ")
}

// Log returns what the program printed up to now.
func (p *Process) Log() string { return string(p.out.Bytes()) }

// ExitCode returns the code that the program ended with, -1 for a signal. It
// waits for the end.
func (p *Process) ExitCode() int {
	<-p.Done()
	return p.ProcessState.ExitCode()
}

// Stop asks the program to end with SIGTERM and waits. A program that does not
// end in time fails the test.
func (p *Process) Stop() {
	p.lab.t.Helper()
	if err := p.Process.Stop(stopGrace); err != nil {
		p.lab.t.Errorf("%s: %v", p.Name, err)
	}
}

func (p *Process) state() string {
	select {
	case <-p.Done():
		return fmt.Sprint("ended: ", p.ProcessState)
	default:
		return "running"
	}
}
