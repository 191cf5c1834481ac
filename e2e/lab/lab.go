//go:build linux

package lab

import (
	"bytes"
	"os"
	"sync"
	"testing"

	"github.com/ginnel/ginnel/internal/netlab"
)

// A Lab is one network with the programs running in it. It ends with the test
// that made it.
type Lab struct {
	t   testing.TB
	net *netlab.Lab
	dir string

	mu      sync.Mutex
	outputs []*Process // in the order of their start
}

// New makes an empty lab. With CI=true in the environment a capability that is
// missing fails the test, so that a run that tested nothing cannot pass;
// elsewhere it is skipped.
func New(t testing.TB) *Lab {
	t.Helper()
	if why := netlab.Missing(); why != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("end-to-end tests cannot run here: %v", why)
		}
		t.Skipf("needs a capability that is missing: %v", why)
	}
	l := &Lab{t: t, dir: t.TempDir()}
	var err error
	l.net, err = netlab.New()
	l.must(err)
	t.Cleanup(func() {
		l.dumpLogs()
		if err := l.net.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// Dir returns the folder for the files of this lab. It is removed at the end.
func (l *Lab) Dir() string { return l.dir }

// must ends the test on an error.
func (l *Lab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// dumpLogs prints the end of every program's output when the test failed.
func (l *Lab) dumpLogs() {
	if !l.t.Failed() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.outputs {
		l.t.Logf("---- output of %s (%s) ----\n%s", p.Name, p.state(), tail(p.out.Bytes(), 8<<10))
	}
}

func tail(b []byte, n int) []byte {
	if len(b) <= n {
		return b
	}
	b = b[len(b)-n:]
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		b = b[i+1:]
	}
	return b
}
