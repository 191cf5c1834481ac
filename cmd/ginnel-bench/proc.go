package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// process is a running program that is being measured.
type process struct{ pid int }

// clockTick is the unit of CPU times in /proc: it is 100 a second on Linux,
// whatever the kernel's own clock.
const clockTick = 10 * time.Millisecond

// openProcess finds a program by its number; 0 means none, and then nothing is
// measured.
func openProcess(pid int) (*process, error) {
	if pid == 0 {
		return nil, nil
	}
	p := &process{pid}
	if _, err := p.cpu(); err != nil {
		return nil, fmt.Errorf("--pid %d: %w", pid, err)
	}
	return p, nil
}

// cpu returns the CPU time, user and system, that the program has used so far.
func (p *process) cpu() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	if err != nil {
		return 0, err
	}
	return parseStat(text)
}

// parseStat reads the CPU time from /proc/PID/stat. The program's name, which may
// hold anything, ends at the last parenthesis.
func parseStat(text []byte) (time.Duration, error) {
	end := bytes.LastIndexByte(text, ')')
	fields := strings.Fields(string(text[end+1:]))
	const utime, stime = 14 - 3, 15 - 3 // counted from the field behind the name
	if end < 0 || len(fields) <= stime {
		return 0, errors.New("process status of an unknown form")
	}
	user, err1 := strconv.ParseUint(fields[utime], 10, 64)
	system, err2 := strconv.ParseUint(fields[stime], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return 0, fmt.Errorf("process status: %w", err)
	}
	return time.Duration(user+system) * clockTick, nil
}

// memory returns the resident memory of the program and its highest so far, in
// bytes.
func (p *process) memory() (rss, peak int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		return 0, 0, err
	}
	return parseStatus(text)
}

// parseStatus reads VmRSS and VmHWM from /proc/PID/status.
func parseStatus(text []byte) (rss, peak int64, err error) {
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		kib, ok := strings.CutSuffix(strings.TrimSpace(value), " kB")
		if !ok || (name != "VmRSS" && name != "VmHWM") {
			continue
		}
		n, err := strconv.ParseInt(kib, 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("process status: %s: %w", name, err)
		}
		if name == "VmRSS" {
			rss = n << 10
		} else {
			peak = n << 10
		}
	}
	if rss == 0 {
		return 0, 0, errors.New("process status without VmRSS")
	}
	return rss, peak, nil
}

// meter measures CPU time over an interval: of the generator, and of the program
// under load if it is known.
type meter struct {
	target      *process
	own, theirs time.Duration
}

// startMeter begins.
func startMeter(target *process) (*meter, error) {
	m := &meter{target: target}
	var err error
	if m.own, err = ownCPU(); err != nil {
		return nil, err
	}
	if target != nil {
		if m.theirs, err = target.cpu(); err != nil {
			return nil, fmt.Errorf("the measured process: %w", err)
		}
	}
	return m, nil
}

// stop returns the CPU times since the start, in seconds. theirs is 0 without a
// program under load.
func (m *meter) stop() (own, theirs float64, err error) {
	now, err := ownCPU()
	if err != nil {
		return 0, 0, err
	}
	own = (now - m.own).Seconds()
	if m.target != nil {
		now, err := m.target.cpu()
		if err != nil {
			return 0, 0, fmt.Errorf("the measured process: %w", err)
		}
		theirs = (now - m.theirs).Seconds()
	}
	return own, theirs, nil
}
