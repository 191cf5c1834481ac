// Package relay is the wire format of the relay protocol (DERP): the frames, the
// handshake messages and the names that both sides must agree on, appended to and
// parsed from byte slices.
//
// It is pure: no sockets, clocks or goroutines, and no state kept between frames.
// It is not a relay and not a relay client; those are the packages relay and
// relay/client. Parsers of packets and notices allocate nothing and return slices
// of what they were given.
//
// Facts: wire document relay, sections 2.6 and 4 to 6. Integers are big-endian.
package relay
