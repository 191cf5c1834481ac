//go:build !linux

package peerrelay

import (
	"net"

	"github.com/ginnel/ginnel/node/path/udpbatch"
)

const canShare = false

func listenShared(network string, port uint16, mark uint32) (net.PacketConn, error) {
	return udpbatch.Listen(network, port, udpbatch.Options{Mark: mark, Buffer: socketBuffer})
}
