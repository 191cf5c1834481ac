package ctl

import (
	"testing"
	"time"

	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// recorder collects the events of a client.
type recorder struct {
	t      *testing.T
	events chan Event
}

// want returns the next event of type T, failing the test when none comes.
func want[T Event](r *recorder) T {
	r.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case e := <-r.events:
			if found, ok := e.(T); ok {
				return found
			}
		case <-deadline:
			r.t.Fatalf("no %T came", *new(T))
		}
	}
}

func startClient(t *testing.T, serverURL string, change ...func(*Options)) (*Client, *recorder) {
	t.Helper()
	r := &recorder{t: t, events: make(chan Event, 10000)}
	o := Options{
		ServerURL: serverURL, Machine: key.NewMachine(), Identity: Identity{LockKey: key.NewLock()},
		Local:   Local{Hostinfo: &control.Hostinfo{OS: "linux", Hostname: "testhost", BackendLogID: "x"}, DiscoKey: key.NewDisco().Public()},
		OnEvent: func(e Event) { r.events <- e },
	}
	for _, f := range change {
		f(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, r
}
