// Package path carries sealed packets to and from peers over the best path there is to
// each: a direct UDP path once one is found, and the peer's relay region from the first
// packet on and whenever direct paths fail.
//
// An Engine owns the node's UDP sockets, its relay connections and its disco key. What is
// wanted is told by Apply, as often as one likes. One goroutine, the loop, owns all
// state of path finding; per peer it drives a pure state machine (package probing) and
// publishes an immutable route. Send only reads that route: it takes no lock that is
// contended and allocates nothing, and wakes the loop when a session begins.
//
// Packets are received while the functions of Receivers are being called, whoever does
// that; package tunnel does. Path-finding messages among them are kept here.
//
// The package does not encrypt data, know IP addresses inside the tunnel, or talk to the
// coordination server; it tells what that should know by the callbacks in Options.
//
// Facts: wire document paths, sections 1 to 19, and relay, section 11.
package path
