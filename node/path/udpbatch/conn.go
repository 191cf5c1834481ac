package udpbatch

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"
)

const (
	// BatchSize is the number of buffers that ReadBatch is to be given.
	BatchSize = 128
	// BufferSize is the length that the last buffers of a batch need, since the kernel
	// delivers up to 64 KiB of coalesced datagrams in one piece.
	BufferSize = 65535
)

// Conn is a UDP socket. WriteBatch may be called by many goroutines at once, ReadBatch
// by one at a time.
type Conn interface {
	// ReadBatch waits for datagrams and puts them at the start of bufs, their lengths in
	// sizes and their senders in from, IPv4 never as mapped IPv6. It returns how many
	// came. bufs should be BatchSize buffers of BufferSize; with fewer or smaller ones
	// datagrams may get lost.
	ReadBatch(bufs [][]byte, sizes []int, from []netip.AddrPort) (int, error)
	// WriteBatch sends each buffer as a datagram to one address, of the family of the
	// socket. An error concerns at least one of them; the others may have been sent.
	WriteBatch(bufs [][]byte, to netip.AddrPort) error
	// LocalAddr is the address that the socket is bound to.
	LocalAddr() netip.AddrPort
	// SetReadDeadline makes ReadBatch fail at that time; the zero time takes it back.
	SetReadDeadline(time.Time) error
	// Close closes the socket; pending calls return net.ErrClosed.
	Close() error
}

// Options say how Listen sets a socket up. All of it is attempted; what the kernel
// refuses is left out.
type Options struct {
	// Mark is the firewall mark of outgoing packets (SO_MARK, Linux, as root), 0 for
	// none.
	Mark uint32
	// Buffer is the size of the kernel's buffers each way, in bytes; 0 leaves the
	// system's.
	Buffer int
}

// Listen opens a socket for network "udp4" or "udp6" on the wildcard address and the
// given port, 0 for any.
func Listen(network string, port uint16, o Options) (net.PacketConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { setOptions(fd, o) })
	}}
	return lc.ListenPacket(context.Background(), network, net.JoinHostPort("", strconv.Itoa(int(port))))
}

// New returns a Conn over pc, which it owns from then on. It is fast for a
// *net.UDPConn and works with any other whose addresses are *net.UDPAddr.
func New(pc net.PacketConn) Conn {
	if uc, ok := pc.(*net.UDPConn); ok {
		if c, err := newOffload(uc); err == nil {
			return c
		}
	}
	return &plain{pc: pc}
}

// plain does one call a datagram.
type plain struct {
	pc net.PacketConn
}

func (c *plain) ReadBatch(bufs [][]byte, sizes []int, from []netip.AddrPort) (int, error) {
	n, addr, err := c.pc.ReadFrom(bufs[0])
	if err != nil {
		return 0, err
	}
	sizes[0], from[0] = n, unmapped(addr)
	return 1, nil
}

func (c *plain) WriteBatch(bufs [][]byte, to netip.AddrPort) error {
	addr := net.UDPAddrFromAddrPort(to)
	for _, b := range bufs {
		if _, err := c.pc.WriteTo(b, addr); err != nil {
			return err
		}
	}
	return nil
}

func (c *plain) LocalAddr() netip.AddrPort         { return unmapped(c.pc.LocalAddr()) }
func (c *plain) SetReadDeadline(t time.Time) error { return c.pc.SetReadDeadline(t) }
func (c *plain) Close() error                      { return c.pc.Close() }

// unmapped returns addr as a netip.AddrPort, or the zero one if it has another type.
func unmapped(addr net.Addr) netip.AddrPort {
	ua, ok := addr.(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := ua.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
