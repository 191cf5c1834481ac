// Package relay is a relay server: it passes packets between clients by their node
// keys, over TLS connections started through HTTP (the DERP protocol). A node
// reaches a peer through it from the first packet on, until a direct path is found.
//
// It reads nothing of what it passes on, keeps nothing on disk and opens no
// listener: it is an http.Handler, and the listeners and certificates belong to its
// users (cmd/ginnel-relay, server). STUN is in relay/stunserver, the links between
// relays of a region in relay/mesh, and the client side in relay/client.
//
// Each client has one goroutine that reads and, while there is something to write,
// one that writes. A reader takes what has come, cuts it into runs of packets for
// one destination, rewrites their headers in place and copies each run once, into
// the destination's outbox; no lock is shared by all clients on the way. A client
// that reads slowly loses its oldest packets and slows nobody else.
//
// Facts: wire document relay, sections 2.6, 3 to 10, 12, 13 and 17.
package relay
