package node

import "github.com/ginnel/ginnel/node/local/api"

// stateInputs is all that the life-cycle state follows from.
type stateInputs struct {
	wantRunning bool
	loggedOut   bool
	haveKey     bool // a node key exists
	haveMap     bool
	authStuck   bool // nothing goes on without the user: a login is refused or waits at a URL
	expired     bool // the node key has expired, or the server no longer accepts it
	authorised  bool // by the map
	live        bool // a relay connection or a peer is alive, or there is no relay to wait for
}

// nextState returns the state after current: the decision table of the wire
// document node, section 1.3, first match first.
func nextState(current api.State, in stateInputs) api.State {
	switch {
	case !in.wantRunning && !in.loggedOut && in.haveKey && !in.expired:
		return api.Stopped
	case !in.haveMap && (in.authStuck || in.loggedOut || in.expired):
		return api.NeedsLogin
	case !in.haveMap && (current == api.Stopped || current == api.NeedsLogin && in.wantRunning && in.haveKey):
		return api.Starting
	case !in.haveMap:
		return current
	case !in.wantRunning:
		return api.Stopped
	case in.expired:
		return api.NeedsLogin
	case !in.authorised:
		return api.NeedsMachineAuth
	case current == api.Running:
		return api.Running
	case in.live && current == api.Starting:
		return api.Running
	}
	return api.Starting
}
