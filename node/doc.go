// Package node is a device in a mesh: it owns the state the device is wanted to
// be in and brings the parts below it (control client, paths, tunnel, filter,
// interface, routes) to that state.
//
// One goroutine, the loop, owns everything that changes. Inputs (an edit of the
// preferences, a new network map, a login, a changed network) come to it as
// functions to run; after each the state is worked out anew and what differs is
// applied. Readers look at an immutable snapshot and never wait.
//
// The package has no user interface of its own: package local serves one. It
// moves no packets either: the parts do.
package node
