// Package ctl is a node's client of a coordination server: it logs the node in,
// follows the map stream, and tells the server what changes on the node (wire
// document control, sections 2 to 5 and 11).
//
// A Client does what it is told (log in, pause, log out, here is my new
// endpoint) and reports what happens as Events. It keeps trying for as long as
// it lives, since a node must come back by itself whenever its server does. It
// does not decide what the node should do, stores nothing, and touches neither
// tunnel nor operating system.
package ctl
