package client

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// daemonName is the name of the daemon's program.
const daemonName = "ginneld"

// userHz is the unit of process times in /proc, fixed for programs by the kernel's
// interface, in ticks each second.
const userHz = 100

// findDaemon looks for a process of the daemon and returns its number and how long
// it has run; the youngest, if there are several.
func findDaemon() (pid int, age time.Duration, ok bool) {
	uptime, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return 0, 0, false
	}
	first, _, _ := strings.Cut(string(uptime), " ")
	up, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0, 0, false
	}
	names, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, 0, false
	}
	for _, name := range names {
		stat, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		id, start, isDaemon := parseStat(stat)
		if !isDaemon {
			continue
		}
		runs := time.Duration(max(0, up-float64(start)/userHz) * float64(time.Second))
		if !ok || runs < age {
			pid, age, ok = id, runs, true
		}
	}
	return pid, age, ok
}

// parseStat reads the number and start time, in ticks after boot, from a process's
// stat file (proc(5)), and whether it is the daemon and has not ended.
func parseStat(stat []byte) (pid int, start uint64, isDaemon bool) {
	open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if open < 0 || end < open || string(stat[open+1:end]) != daemonName {
		return 0, 0, false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(stat[:open])))
	fields := strings.Fields(string(stat[end+1:]))
	if err != nil || len(fields) < 20 || fields[0] == "Z" {
		return 0, 0, false
	}
	start, err = strconv.ParseUint(fields[19], 10, 64) // the 22nd of all
	return pid, start, err == nil
}
