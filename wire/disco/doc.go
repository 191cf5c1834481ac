// Package disco reads and writes the messages with which nodes discover paths to
// each other, the envelope that seals them, and the Geneve header that carries
// packets through a peer relay. It also tells apart the kinds of packets that share
// one UDP socket.
//
// A sealed packet is
//
//	magic[6] | sender's disco public key[32] | nonce[24] | box(type[1] version[1] body[n])
//
// All integers are big-endian. An address is an IPv6 or IPv4-mapped address in 16
// bytes followed by a 2-byte port. The layouts are those of wire document paths,
// sections 1 to 4.
//
// Each message type has Append, which appends the whole inner message to a slice, and
// Parse, which reads a body and keeps no reference to it. Slices inside a message are
// reused by Parse, so a message that is parsed into again and again allocates nothing.
//
// The package is pure: it has no sockets, no clock and no randomness; nonces and
// transaction IDs come from the caller.
package disco
