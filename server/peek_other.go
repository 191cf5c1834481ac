//go:build !unix

package server

import "net"

// peek returns the first byte of a connection, and the connection with that byte
// still to be read.
func peek(c net.Conn) (byte, net.Conn, error) { return peekByReading(c) }
