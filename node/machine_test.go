package node

import (
	"testing"

	"github.com/ginnel/ginnel/node/local/api"
)

// TestNextState walks the decision table of the wire document node, section 1.3.
func TestNextState(t *testing.T) {
	up := stateInputs{wantRunning: true, haveKey: true, haveMap: true, authorised: true}
	with := func(change func(*stateInputs)) stateInputs {
		in := up
		change(&in)
		return in
	}
	for _, c := range []struct {
		name    string
		current api.State
		in      stateInputs
		want    api.State
	}{
		{"down with a key", api.Running, with(func(in *stateInputs) { in.wantRunning = false }), api.Stopped},
		{"down without a map", api.NoState, with(func(in *stateInputs) { in.wantRunning, in.haveMap = false, false }), api.Stopped},
		{"blank profile", api.NoState, stateInputs{loggedOut: true}, api.NeedsLogin},
		{"logged out", api.Running, stateInputs{loggedOut: true, haveKey: true}, api.NeedsLogin},
		{"waits at a URL", api.NoState, stateInputs{wantRunning: true, authStuck: true}, api.NeedsLogin},
		{"first login goes on", api.NeedsLogin, stateInputs{wantRunning: true}, api.NeedsLogin},
		{"login done, no map yet", api.NeedsLogin, stateInputs{wantRunning: true, haveKey: true}, api.Starting},
		{"back up, no map yet", api.Stopped, stateInputs{wantRunning: true, haveKey: true}, api.Starting},
		{"start, no map yet", api.NoState, stateInputs{wantRunning: true, haveKey: true}, api.NoState},
		{"running lost its map", api.Running, stateInputs{wantRunning: true, haveKey: true}, api.Running},
		{"expired", api.Running, with(func(in *stateInputs) { in.expired = true }), api.NeedsLogin},
		{"expired and down", api.Running, with(func(in *stateInputs) { in.expired, in.wantRunning = true, false }), api.Stopped},
		{"expired without a map", api.NoState, with(func(in *stateInputs) { in.expired, in.haveMap = true, false }), api.NeedsLogin},
		{"not authorised", api.Starting, with(func(in *stateInputs) { in.authorised = false }), api.NeedsMachineAuth},
		{"authorised", api.NeedsMachineAuth, with(func(in *stateInputs) { in.live = true }), api.Starting},
		{"alive", api.Starting, with(func(in *stateInputs) { in.live = true }), api.Running},
		{"not alive yet", api.Starting, up, api.Starting},
		{"running stays", api.Running, up, api.Running},
		{"map after login", api.NeedsLogin, with(func(in *stateInputs) { in.live = true }), api.Starting},
		{"map after stop", api.Stopped, up, api.Starting},
	} {
		if got := nextState(c.current, c.in); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
