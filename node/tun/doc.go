// Package tun is where packets enter and leave a node: a [Device] is either the
// operating system's tunnel interface ([Open]) or a TCP/IP stack in the process
// (package netstack), and [Wrap] puts the packet filter, the node's own messages
// and packet injection around either.
//
// Packets travel in batches. Nothing here encrypts, routes or keeps state per
// connection, and nothing here configures the interface beyond its MTU.
package tun
