// Package udpbatch moves datagrams over a UDP socket in batches.
//
// On Linux a batch of equal-size datagrams to one address leaves as one or two
// generic-segmentation-offload sends (UDP_SEGMENT) straight from the caller's buffers,
// and the kernel hands in coalesced datagrams (UDP_GRO), which are split here. Without
// the offloads it falls back to sendmmsg and recvmmsg, elsewhere to one call a datagram.
// Sending and receiving allocate nothing per datagram.
//
// The package knows nothing of what the datagrams carry.
package udpbatch
