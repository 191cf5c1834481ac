// Package client is the client role of UDP peer relays: it has relays allocate sessions
// for this node and a peer, tells the peer, binds to them and finds out whether packets
// get through (wire document paths, section 20). It is a pure state machine: events and
// the time go in, actions come out. It has no sockets, no clock, no goroutines and no
// private keys.
//
// A Machine serves all peers of a node and is driven by one goroutine. Every event method
// takes the time, which must not run backwards, and appends the actions that it asks for
// to a slice:
//
//	acts = m.Discover(now, peer, path, acts[:0])
//
// After each event the driver carries the actions out, and calls Tick at m.Deadline(). A
// machine without work has no deadline.
//
// The driver opens what comes sealed. A message behind a Geneve header with the control bit
// is only worth opening if its sender is one that Expects knows; without the bit, if it is a
// peer. What a peer says about a relay never touches the work for another peer.
//
// Two things go beyond what the wire document tells of others: bind requests and answers are
// repeated until something comes back, so that a lost one does not cost the session; and
// peers cannot start handshakes as often as they like.
package client
