// Package peerrelay is the server role of a UDP peer relay: it forwards the packets of two
// nodes that cannot reach each other but can both reach this one (wire document paths,
// sections 4, 20 and 21).
//
// A Table holds the sessions. It has no sockets, no clock and no goroutines: allocations,
// datagrams and the time go in, datagrams and where to send them come out. A Server runs
// a Table over UDP sockets, and Answer speaks for it to nodes that ask for a session
// through a relay region.
//
// # What strangers can do
//
// Who is to use a session is decided before it exists, by Answer's admission; the sockets
// then see datagrams from anyone. Data is forwarded only between the two addresses that
// proved, by a challenge, that they receive what is sent to them. Nothing is answered
// except a bind request of one of the two clients, by a challenge of the same size: there
// is nothing to amplify. What is not understood is dropped without a word and counted by
// reason. Work that costs more than a table look-up, the opening of a sealed message, is
// rationed per source, per session and in all, so that a flood aimed at one session takes
// nothing from the others.
//
// # Hot path
//
// Sessions are found by VNI in a tree of atomic pointers that readers walk without a lock.
// Forwarding a datagram takes no lock, allocates nothing and writes to memory of its
// session only.
package peerrelay
