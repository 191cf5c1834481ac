// Package client is one connection to a relay: it dials a region's nodes or a URL,
// starts the protocol over TLS and HTTP, and then sends packets to peers by their
// node key and receives what the relay passes on.
//
// It is not a policy: it does not reconnect, keep queues or choose regions. That
// belongs to its users (node/path, relay/mesh, the bench), which hold one Conn per
// region and dial another when Recv fails.
//
// Facts: wire document relay, sections 2, 3 and 11.
package client
