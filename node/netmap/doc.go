// Package netmap is a node's view of its tailnet: who it is, who its peers are,
// which relays, names, filters and users there are.
//
// A Map is immutable once published, so any goroutine may read it without a
// lock. A Builder turns the frames of one map stream into Maps by the rules of
// the wire document control, sections 5.5 to 5.7, copying only what a frame
// changes. The package does no I/O, keeps no clock and decides nothing: what to
// do about a peer is up to the node.
package netmap
