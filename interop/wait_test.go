package interop

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience bounds every wait for something that normally takes a moment.
const patience = 60 * time.Second

// eventually looks at a condition until it holds.
func eventually(t *testing.T, what string, condition func() error) {
	t.Helper()
	start := time.Now()
	for {
		err := condition()
		took := time.Since(start)
		if err == nil {
			if took > 3*time.Second {
				t.Logf("%s: only after %v", what, took.Round(time.Millisecond))
			}
			return
		}
		if took > patience {
			t.Fatalf("%s: not after %v: %v", what, patience, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// A testLog collects what a program says and shows the end of it when the test
// failed. It may be used after the test ended, as programs that stop late do.
type testLog struct {
	mu    sync.Mutex
	lines bytes.Buffer
}

func newLog(t *testing.T, name string) *testLog {
	l := &testLog{}
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		b := l.lines.Bytes()
		if len(b) > 12<<10 {
			b = b[len(b)-12<<10:]
		}
		t.Logf("---- log of %s ----\n%s", name, b)
	})
	return l
}

func (l *testLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.Write(b)
}

// Logf adds a line.
func (l *testLog) Logf(format string, args ...any) {
	fmt.Fprintf(l, strings.TrimSuffix(format, "\n")+"\n", args...)
}

func (l *testLog) contains(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Contains(l.lines.Bytes(), []byte(text))
}
