//go:build linux

package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/ginnel/ginnel/internal/netlab"
)

const (
	stopGrace    = 5 * time.Second
	pollInterval = 20 * time.Millisecond
	logTail      = 2 << 10 // bytes of a log that errors show
)

// A Process is a program running on a host until the rig is closed.
type Process struct {
	*netlab.Process
	name string
	log  string // file with both outputs
}

// Start runs a program on the host in the background, with stdin, which may be
// nil, as its input. The kernel kills it should this process be killed.
func (h *Host) Start(name string, stdin io.Reader, args ...string) (*Process, error) {
	p := &Process{name: name, log: filepath.Join(h.rig.dir, name+".log")}
	out, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, out, out
	p.Process, err = h.StartCmd(cmd)
	return p, err
}

// Output runs a program on the host to its end and returns its standard output,
// also when it fails.
func (h *Host) Output(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := h.RunCmd(cmd)
	if err != nil {
		err = fmt.Errorf("%s: %s: %w\n%s%s", h.Name, strings.Join(args, " "), err, &out, &errOut)
	}
	return out.String(), err
}

// Stop asks the program to end, and kills it if that takes too long.
func (p *Process) Stop() { _ = p.Process.Stop(stopGrace) }

// Until looks at a condition until it holds, for as long as the program runs.
func (p *Process) Until(ctx context.Context, what string, condition func() error) error {
	for {
		err := condition()
		if err == nil {
			return nil
		}
		select {
		case <-p.Done():
			return fmt.Errorf("%s ended (%v) before: %s\n%s", p.name, p.ProcessState, what, p.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s: not in time: %s: %w\n%s", p.name, what, err, p.tail())
		case <-time.After(pollInterval):
		}
	}
}

// tail returns the end of the program's log.
func (p *Process) tail() string {
	raw, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(raw[max(0, len(raw)-logTail):])
}

// clockTick is the unit of processor time in /proc: USER_HZ, which is 100 on
// every architecture that Go runs on.
const clockTick = 10 * time.Millisecond

// CPU returns the processor time that the program has used, user and system.
func (p *Process) CPU() (time.Duration, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if err != nil {
		return 0, fmt.Errorf("processor time of %s: %w", p.name, err)
	}
	// The second field, the name in brackets, may hold anything; utime and
	// stime are the 14th and 15th (proc(5)).
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	if len(fields) < 13 {
		return 0, errors.New("processor time of " + p.name + ": unknown form of /proc/PID/stat")
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * clockTick, errors.Join(err1, err2)
}

// RSS returns the program's memory in RAM, in bytes.
func (p *Process) RSS() (int64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return 0, fmt.Errorf("memory of %s: %w", p.name, err)
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("memory of " + p.name + ": no VmRSS in /proc/PID/status")
}
