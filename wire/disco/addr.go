package disco

import (
	"encoding/binary"
	"net/netip"
)

// addrLen is the length of an encoded address: ip[16] port[2].
const addrLen = 18

// appendAddr appends a, IPv4 as IPv4-mapped IPv6 and without any zone. An invalid
// address is written as [::]:0.
func appendAddr(dst []byte, a netip.AddrPort) []byte {
	var ip [16]byte
	if a.Addr().IsValid() {
		ip = a.Addr().As16()
	}
	dst = append(dst, ip[:]...)
	return binary.BigEndian.AppendUint16(dst, a.Port())
}

// parseAddr reads the address in the first addrLen bytes of b, IPv4-mapped as IPv4.
func parseAddr(b []byte) netip.AddrPort {
	ip := netip.AddrFrom16([16]byte(b[:16])).Unmap()
	return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(b[16:addrLen]))
}

// appendAddrs appends every address of the list.
func appendAddrs(dst []byte, list []netip.AddrPort) []byte {
	for _, a := range list {
		dst = appendAddr(dst, a)
	}
	return dst
}

// parseAddrs appends to list the addresses of b, whose length is a multiple of
// addrLen.
func parseAddrs(list []netip.AddrPort, b []byte) []netip.AddrPort {
	for ; len(b) >= addrLen; b = b[addrLen:] {
		list = append(list, parseAddr(b))
	}
	return list
}
