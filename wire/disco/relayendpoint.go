package disco

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/ginnel/ginnel/wire/key"
)

// relayEndpointLen is the length of a RelayEndpoint before its addresses.
const relayEndpointLen = 3*keyLen + 8 + 4 + 8 + 8

// RelayEndpoint describes an allocation for two clients on a peer relay.
type RelayEndpoint struct {
	Server key.DiscoPublic
	// Clients are the two disco keys in ascending order.
	Clients [2]key.DiscoPublic
	// LamportID orders the allocations of one server: the higher one is newer.
	LamportID uint64
	VNI       uint32 // 24 bits
	// BindLifetime is how long both clients may take to bind, SteadyLifetime how long
	// a bound allocation lives without packets from either side.
	BindLifetime, SteadyLifetime time.Duration
	Addrs                        []netip.AddrPort // at least one
}

// append appends the encoded endpoint.
func (e *RelayEndpoint) append(dst []byte) []byte {
	dst = e.Server.AppendTo(dst)
	dst = e.Clients[0].AppendTo(dst)
	dst = e.Clients[1].AppendTo(dst)
	dst = binary.BigEndian.AppendUint64(dst, e.LamportID)
	dst = binary.BigEndian.AppendUint32(dst, e.VNI&vniMask)
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.BindLifetime))
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.SteadyLifetime))
	return appendAddrs(dst, e.Addrs)
}

// parse reads an encoded endpoint that fills b, reusing e.Addrs.
func (e *RelayEndpoint) parse(b []byte) error {
	if len(b) < relayEndpointLen+addrLen || (len(b)-relayEndpointLen)%addrLen != 0 {
		return fmt.Errorf("disco: relay endpoint of %d bytes is not %d and one or more addresses",
			len(b), relayEndpointLen)
	}
	e.Server = key.DiscoPublicFromRaw32([keyLen]byte(b))
	e.Clients[0] = key.DiscoPublicFromRaw32([keyLen]byte(b[keyLen:]))
	e.Clients[1] = key.DiscoPublicFromRaw32([keyLen]byte(b[2*keyLen:]))
	e.LamportID = binary.BigEndian.Uint64(b[96:])
	e.VNI = binary.BigEndian.Uint32(b[104:]) & vniMask
	e.BindLifetime = time.Duration(binary.BigEndian.Uint64(b[108:]))
	e.SteadyLifetime = time.Duration(binary.BigEndian.Uint64(b[116:]))
	e.Addrs = parseAddrs(e.Addrs[:0], b[relayEndpointLen:])
	return nil
}

// reset empties e but keeps the capacity of its list.
func (e *RelayEndpoint) reset() { *e = RelayEndpoint{Addrs: e.Addrs[:0]} }

// IsZero reports whether e is empty, as after parsing a message of another version.
func (e *RelayEndpoint) IsZero() bool { return e.Server.IsZero() && len(e.Addrs) == 0 }
