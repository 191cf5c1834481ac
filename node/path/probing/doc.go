// Package probing finds and keeps the best direct path to one peer. It is a pure state
// machine: events and the time go in, actions come out. It has no sockets, no clock, no
// goroutines and no keys, so that it can be tested, fuzzed and simulated alone.
//
// A Machine is driven by one goroutine. Every event method takes the time, which must
// not run backwards, and appends the actions that it asks for to a slice:
//
//	acts = m.PongReceived(now, txID, src, acts[:0])
//
// After each event the driver carries the actions out, publishes m.Route() to whoever
// sends data, and calls Tick at m.Deadline(). A peer that nobody sends to has no
// deadline and costs nothing.
//
// The behaviour is that of wire document paths, sections 6 to 11, with one addition: the
// source of a first ping is pinged back at once (a triggered check, RFC 8445, section
// 7.3.1.4) instead of at the next round.
package probing
