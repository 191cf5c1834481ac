// Package netstack is a TCP/IP stack in the process, in the place of the
// operating system's: it lets a node take part in the mesh without any rights.
//
// A [Stack] is a tun.Device on its mesh side. On the other side it dials into
// the mesh, listens in it, answers pings, and forwards what peers send to the
// node's own addresses to the same port of the loopback interface. The TCP/IP
// itself is gVisor's. Package proxy lets other programs dial through it.
package netstack
