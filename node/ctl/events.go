package ctl

import (
	"github.com/ginnel/ginnel/node/netmap"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// Identity is what makes a node one node to its server, beside the machine key.
type Identity struct {
	NodeKey    key.NodePrivate // zero before the first login
	OldNodeKey key.NodePrivate // the key before the latest rotation, if any
	// NextNodeKey is the key of a login that an earlier run began and did not see the
	// end of, if any: the server may have accepted it.
	NextNodeKey key.NodePrivate
	LockKey     key.LockPrivate
}

// Event is something that happened to a Client. The concrete types are those of
// this file.
type Event interface{ event() }

// LoginURL says that a login waits for the user at URL, which is safe to show.
type LoginURL struct{ URL string }

// LoggedIn says that the server has accepted the node. Identity is to be stored
// before the node acts on it.
type LoggedIn struct {
	Identity Identity
	User     control.User
	Login    control.Login
}

// LoginFailed says that a login did not come about this time. Final means that
// the client has given up; otherwise it goes on trying.
type LoginFailed struct {
	Err   error
	Final bool
}

// LoginWaiting says that the wait for the user at the LoginURL goes on after it was
// interrupted.
type LoginWaiting struct{}

// MapUpdate carries the network map after a frame that changed something.
type MapUpdate struct {
	Map     *netmap.Map
	Changes netmap.Changes
}

// Online says that a map stream works, or why it does not (Err). While it does
// not the last map stays good.
type Online struct{ Err error }

// BrowseURL is a URL that the server wants the user to open. It is safe to show.
type BrowseURL struct{ URL string }

// VersionNotice is what the server says about newer releases.
type VersionNotice struct{ Version *control.ClientVersion }

func (LoginURL) event()      {}
func (LoggedIn) event()      {}
func (LoginFailed) event()   {}
func (LoginWaiting) event()  {}
func (MapUpdate) event()     {}
func (Online) event()        {}
func (BrowseURL) event()     {}
func (VersionNotice) event() {}
