// Package packet reads and writes the IP packets that travel inside the
// tunnel: IPv4 and IPv6 headers, the transport fields that a filter needs,
// ICMP echo, and the node-to-node messages of IP protocol 99 (TSMP).
//
// Decoding allocates nothing, never panics, and errs on the side of refusing:
// whatever cannot be read with certainty has protocol [Unknown], so that it can
// never pass for TCP or UDP. It is not a TCP/IP stack: nothing here keeps state.
package packet
