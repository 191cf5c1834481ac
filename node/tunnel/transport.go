package tunnel

import (
	"github.com/ginnel/ginnel/node/path"
	"github.com/ginnel/ginnel/wire/key"
)

// Transport carries sealed packets; *path.Engine implements it.
type Transport interface {
	// Receivers starts receiving; each function is called from a goroutine of its own
	// until StopReceiving makes it return net.ErrClosed.
	Receivers() []path.ReceiveFunc
	StopReceiving()
	// BatchSize returns how many packets the receive functions take at best.
	BatchSize() int
	// Send sends packets to a peer, in order, and does not keep them.
	Send(peer key.NodePublic, pkts [][]byte) error
	// SendTo answers one packet where another came from, whoever that is.
	SendTo(src *path.Source, pkt []byte) error
}

var _ Transport = (*path.Engine)(nil)
