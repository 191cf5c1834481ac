// Package netcheck finds out what the network allows: whether UDP passes, under which
// address the node is seen, whether its NAT is kind, how far each relay region is, and
// which of them should be the home relay.
//
// A Client sends STUN requests through the sockets of whoever uses it, so that the
// mapping it sees is that of the data; Standalone opens sockets of its own. Nothing here
// dials relays for use or tells anybody the results.
//
// Facts: wire document paths, sections 15 and 16; STUN in RFC 8489.
package netcheck
