// Package tunnel is WireGuard: it seals the packets of a tun device for peers and opens
// what comes back. Which peer gets a packet follows from the peers' allowed addresses.
//
// Sealed packets come and go in batches through a Transport, which knows where peers
// are; *path.Engine is one. The protocol itself is golang.zx2c4.com/wireguard today;
// nothing of it shows outside this package, so that another implementation can take its
// place.
//
// The package knows nothing of sockets, relays or the coordination server.
package tunnel
