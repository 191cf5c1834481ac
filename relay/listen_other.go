//go:build !linux

package relay

import "net"

// setSocketOptions sets nothing here.
func setSocketOptions(*net.TCPConn) {}
