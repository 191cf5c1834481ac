//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ginnel/ginnel/internal/netlab"
)

const (
	stopGrace    = 5 * time.Second
	pollInterval = 50 * time.Millisecond
	logTail      = 25 // lines of each log that are shown when something fails
)

// A process is a daemon of the demo.
type process struct {
	*netlab.Process
	name, log string
	stopping  atomic.Bool
}

// start runs a program in the background, its output in DIR/name.log. The
// kernel kills it should the demo be killed, and the terminal's Ctrl-C does not
// reach it: the demo stops its programs in order.
func (d *demo) start(at place, name, program string, args ...string) (*process, error) {
	p := &process{name: name, log: filepath.Join(d.dir, name+".log")}
	out, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(filepath.Join(d.bin, program), args...)
	cmd.Stdout, cmd.Stderr = out, out
	if p.Process, err = at.StartCmd(cmd); err != nil {
		return nil, err
	}
	d.procs = append(d.procs, p)
	go func() {
		<-p.Done()
		if !p.stopping.Load() {
			d.died <- p
		}
	}()
	return p, nil
}

func (p *process) stop() {
	p.stopping.Store(true)
	_ = p.Stop(stopGrace) // one that is killed in the end has stopped, too
}

// until waits for a condition, for as long as the process runs.
func (d *demo) until(ctx context.Context, p *process, condition func() error) error {
	for {
		err := condition()
		if err == nil {
			return nil
		}
		select {
		case <-p.Done():
			return fmt.Errorf("%s ended: %v", p.name, p.ProcessState)
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", p.name, err)
		case <-time.After(pollInterval):
		}
	}
}

// output runs a program to its end and returns its standard output.
func (d *demo) output(ctx context.Context, at place, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(d.bin, program), args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := at.RunCmd(cmd); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s%s", program, strings.Join(args, " "), err, &out, &errOut)
	}
	return out.String(), nil
}

// printLogs shows the end of every log.
func (d *demo) printLogs(w io.Writer) {
	for _, p := range d.procs {
		raw, err := os.ReadFile(p.log)
		if err != nil {
			continue
		}
		lines := strings.Split(strings.TrimRight(string(raw), "\n"), "\n")
		if len(lines) > logTail {
			lines = lines[len(lines)-logTail:]
		}
		fmt.Fprintf(w, "\n---- end of the log of %s ----\n%s\n", p.name, strings.Join(lines, "\n"))
	}
}

// startJanitor starts a process that removes the folder once the demo is gone,
// however it ended. The returned function ends it.
func startJanitor(dir string) (stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "-janitor", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the process that cleans up: %w", err)
	}
	return func() {
		pipe.Close()
		cmd.Wait()
	}, nil
}

// runJanitor waits for the demo to end, which closes standard input, and
// removes the folder. Programs of the demo may take a moment to die and can
// write in between, so it tries again for a while.
func runJanitor(dir string) {
	io.Copy(io.Discard, os.Stdin)
	for range 20 {
		os.RemoveAll(dir)
		time.Sleep(pollInterval)
		if _, err := os.Stat(dir); os.IsNotExist(err) {
			break
		}
	}
	os.Exit(0)
}
