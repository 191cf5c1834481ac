package api

import "fmt"

// State is the life-cycle state of the daemon (wire document node, section 1.3).
// Its JSON form on the bus is its number; in Status it is the name.
type State int

// The states.
const (
	// NoState is not yet known.
	NoState State = 0
	// InUseOtherUser: another user holds the daemon (Windows).
	InUseOtherUser State = 1
	// NeedsLogin waits for a login or a new auth key.
	NeedsLogin State = 2
	// NeedsMachineAuth waits for an admin's approval.
	NeedsMachineAuth State = 3
	// Stopped is down because the user wants it down.
	Stopped State = 4
	// Starting is configured but has no live path yet.
	Starting State = 5
	// Running is up.
	Running State = 6
)

var stateNames = [...]string{"NoState", "InUseOtherUser", "NeedsLogin", "NeedsMachineAuth", "Stopped", "Starting", "Running"}

// String returns the name of the state.
func (s State) String() string {
	if s < 0 || int(s) >= len(stateNames) {
		return fmt.Sprintf("State(%d)", int(s))
	}
	return stateNames[s]
}

// ParseState returns the state of that name.
func ParseState(name string) (State, error) {
	for i, n := range stateNames {
		if n == name {
			return State(i), nil
		}
	}
	return NoState, fmt.Errorf("unknown daemon state %.32q", name)
}
