package tunnel

import (
	"errors"
	"net/netip"

	"golang.zx2c4.com/wireguard/conn"

	"github.com/ginnel/ginnel/node/path"
	"github.com/ginnel/ginnel/wire/key"
)

// bind gives WireGuard a Transport where it expects sockets.
type bind struct {
	t Transport
}

var _ conn.Bind = (*bind)(nil)

// Open starts receiving. The port is none of WireGuard's business.
func (b *bind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	var fns []conn.ReceiveFunc
	for _, receive := range b.t.Receivers() {
		fns = append(fns, receiveFunc(receive))
	}
	return fns, port, nil
}

// receiveFunc adapts one of the transport's functions.
func receiveFunc(receive path.ReceiveFunc) conn.ReceiveFunc {
	var from []*path.Source
	return func(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		if len(from) < len(bufs) {
			from = make([]*path.Source, len(bufs))
		}
		n, err := receive(bufs, sizes, from)
		for i := range n {
			if sizes[i] > 0 {
				eps[i] = (*source)(from[i])
			}
		}
		return n, err
	}
}

// Close makes the functions returned by Open return.
func (b *bind) Close() error {
	b.t.StopReceiving()
	return nil
}

// SetMark does nothing: the transport marks its packets itself.
func (b *bind) SetMark(uint32) error { return nil }

// BatchSize is the transport's.
func (b *bind) BatchSize() int { return b.t.BatchSize() }

// errEndpoint is the error of an endpoint that is not ours.
var errEndpoint = errors.New("tunnel: unknown kind of endpoint")

// Send sends packets to a peer, or, with a cookie reply, to where a handshake came from.
func (b *bind) Send(bufs [][]byte, ep conn.Endpoint) error {
	switch ep := ep.(type) {
	case *destination:
		return b.t.Send(ep.key, bufs)
	case *source:
		for _, buf := range bufs {
			if err := b.t.SendTo((*path.Source)(ep), buf); err != nil {
				return err
			}
		}
		return nil
	}
	return errEndpoint
}

// ParseEndpoint reads the endpoint of a peer, which is its key in hexadecimal.
func (b *bind) ParseEndpoint(s string) (conn.Endpoint, error) {
	k, err := key.ParseNodePublicUntyped(s)
	if err != nil {
		return nil, err
	}
	return &destination{k}, nil
}

// destination is the endpoint that a peer is configured with.
type destination struct {
	key key.NodePublic
}

func (d *destination) ClearSrc()           {}
func (d *destination) SrcToString() string { return "" }
func (d *destination) DstToString() string { return d.key.UntypedHex() }
func (d *destination) DstToBytes() []byte  { return d.key.AppendTo(nil) }
func (d *destination) DstIP() netip.Addr   { return keyAddr(d.key) }
func (d *destination) SrcIP() netip.Addr   { return netip.Addr{} }

// source is where a packet came from. WireGuard binds cookies to it and limits the rate
// of handshakes from it.
type source path.Source

func (s *source) ClearSrc()           {}
func (s *source) SrcToString() string { return "" }
func (s *source) DstToString() string { return (*path.Source)(s).String() }

// DstToBytes is the address, and the peer too for relayed packets, since those all have
// the address of their relay.
func (s *source) DstToBytes() []byte {
	b, _ := s.Addr.MarshalBinary()
	if s.Region != 0 {
		b = s.Peer.AppendTo(b)
	}
	return b
}

// DstIP is the address, or one made from the peer's key for relayed packets.
func (s *source) DstIP() netip.Addr {
	if s.Region != 0 {
		return keyAddr(s.Peer)
	}
	return s.Addr.Addr()
}

func (s *source) SrcIP() netip.Addr { return netip.Addr{} }

// keyAddr returns an address that stands for a peer.
func keyAddr(k key.NodePublic) netip.Addr {
	raw := k.Raw32()
	ip := [16]byte{0: 0xfd}
	copy(ip[1:], raw[:15])
	return netip.AddrFrom16(ip)
}
