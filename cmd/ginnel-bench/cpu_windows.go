package main

import (
	"fmt"
	"syscall"
	"time"
)

// ownCPU returns the CPU time that this program has used so far.
func ownCPU() (time.Duration, error) {
	self, err := syscall.GetCurrentProcess()
	if err != nil {
		return 0, fmt.Errorf("own CPU time: %w", err)
	}
	var created, ended, kernel, user syscall.Filetime
	if err := syscall.GetProcessTimes(self, &created, &ended, &kernel, &user); err != nil {
		return 0, fmt.Errorf("own CPU time: %w", err)
	}
	return span(kernel) + span(user), nil
}

// span is a length of time that Windows counts in units of 100 ns.
func span(f syscall.Filetime) time.Duration {
	return time.Duration(int64(f.HighDateTime)<<32|int64(f.LowDateTime)) * 100
}
