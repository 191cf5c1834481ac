package udpbatch

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Limits of the kernel.
const (
	maxSegments = 64                      // datagrams in one coalesced send or receive
	maxPayload4 = 65535 - 20 - 8          // of a coalesced send over IPv4
	maxPayload6 = 65535 - 8               // over IPv6, whose length excludes its header
	reads       = BatchSize / maxSegments // coalesced receives that fill a batch at most
)

// offload is a socket on Linux.
type offload struct {
	uc    *net.UDPConn
	raw   syscall.RawConn
	local netip.AddrPort
	max   int // maxPayload4 or maxPayload6

	gro  bool        // receives are coalesced
	gso  atomic.Bool // sends may be coalesced
	rx   *receiver
	pool sync.Pool // of *sender
}

// mmsghdr is the kernel's struct mmsghdr.
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// newOffload prepares uc for batches.
func newOffload(uc *net.UDPConn) (Conn, error) {
	raw, err := uc.SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &offload{uc: uc, raw: raw, local: unmapped(uc.LocalAddr()), max: maxPayload6}
	if c.local.Addr().Is4() {
		c.max = maxPayload4
	}
	err = raw.Control(func(fd uintptr) {
		_, gsoErr := unix.GetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT)
		c.gso.Store(gsoErr == nil)
		c.gro = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1) == nil
	})
	if err != nil {
		return nil, err
	}
	c.rx = newReceiver()
	c.pool.New = func() any { return newSender() }
	return c, nil
}

func (c *offload) LocalAddr() netip.AddrPort         { return c.local }
func (c *offload) SetReadDeadline(t time.Time) error { return c.uc.SetReadDeadline(t) }
func (c *offload) Close() error                      { return c.uc.Close() }

// sockaddr holds an address of either family in the kernel's form.
type sockaddr = unix.RawSockaddrInet6

// putSockaddr writes addr to sa and returns its length there.
func putSockaddr(sa *sockaddr, addr netip.AddrPort) uint32 {
	ip, port := addr.Addr(), addr.Port()
	if ip.Is4() {
		sa4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		*sa4 = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: hton(port), Addr: ip.As4()}
		return unix.SizeofSockaddrInet4
	}
	*sa = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: hton(port), Addr: ip.As16(), Scope_id: scope(ip)}
	return unix.SizeofSockaddrInet6
}

// getSockaddr reads what the kernel wrote to sa.
func getSockaddr(sa *sockaddr) netip.AddrPort {
	switch sa.Family {
	case unix.AF_INET:
		sa4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(sa4.Addr), hton(sa4.Port))
	case unix.AF_INET6:
		// The zone of link-local senders is left out: nobody answers them by it.
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), hton(sa.Port))
	}
	return netip.AddrPort{}
}

// hton turns a port between the order of the machine and that of the network.
func hton(port uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&port))
	return uint16(b[0])<<8 | uint16(b[1])
}

// scope returns the interface index of a zone written as a number, else 0.
func scope(ip netip.Addr) uint32 {
	if !ip.Is6() || ip.Zone() == "" {
		return 0
	}
	if i, err := net.InterfaceByName(ip.Zone()); err == nil {
		return uint32(i.Index)
	}
	return 0
}
