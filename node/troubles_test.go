package node

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ginnel/ginnel/node/ctl/ctltest"
	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/wire/control"
)

func TestTroublesAreLoggedRarely(t *testing.T) {
	var tr troubles
	now := time.Now()
	logged := 0
	for i := range 10_000 { // a server that is away for 25 hours
		err := fmt.Errorf("read tcp 127.0.0.1:%d: connection reset", 1000+i)
		if i%2 == 0 {
			err = errors.New("connection refused")
		}
		if tr.news(err, now.Add(time.Duration(i)*9*time.Second)) {
			logged++
		}
	}
	if logged < 2 || logged > 2*26 {
		t.Errorf("%d entries in the log", logged)
	}
	tr.reset()
	if !tr.news(errors.New("connection refused"), now) {
		t.Error("nothing is logged when it happens again")
	}
}

// TestWrongClock has a server whose clock is years ahead.
func TestWrongClock(t *testing.T) {
	s := newServer(t)
	s.Stream = func(r *control.MapRequest, f *ctltest.Frames) {
		f.Send(&control.MapResponse{Node: self(r.NodeKey), ControlTime: time.Now().AddDate(3, 0, 0)})
		f.Hold()
	}
	n := newTestNode(t, "")
	n.up(s.URL())
	w, first, err := n.Watch(t.Context(), api.NotifyInitialHealthState)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if u, ok := first.Health.Warnings[warnClock]; !ok || u.Text == "" {
		t.Errorf("health = %+v", first.Health)
	}
}
