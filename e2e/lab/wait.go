//go:build linux

package lab

import (
	"testing"
	"time"
)

// pollInterval is the pause between two looks at a condition.
const pollInterval = 50 * time.Millisecond

// Eventually looks at a condition until it holds, which is when it returns
// nil. It ends the test with the last error after the timeout.
func Eventually(t testing.TB, timeout time.Duration, what string, condition func() error) {
	t.Helper()
	deadline := time.Now().Add(timeout)
	for {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after %v: %v", what, timeout, err)
		}
		time.Sleep(pollInterval)
	}
}
