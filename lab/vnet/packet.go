package vnet

import (
	"fmt"
	"net/netip"
)

// Proto is an IP protocol.
type Proto uint8

// The protocols that the network carries.
const (
	ICMP Proto = 1
	TCP  Proto = 6
	UDP  Proto = 17
)

// String returns the name of the protocol.
func (p Proto) String() string {
	switch p {
	case ICMP:
		return "icmp"
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	}
	return fmt.Sprintf("proto %d", uint8(p))
}

// Packet is an IP packet. One that has been sent is not changed any more: who translates
// it makes a copy.
type Packet struct {
	Proto    Proto
	Src, Dst netip.AddrPort // ports are the identifier of an ICMP echo
	Data     []byte         // of UDP, TCP or an ICMP echo
	TTL      uint8

	tcp  tcpHeader
	icmp icmpKind
	// about is the packet that an ICMP error is about, as the sender of the error saw it.
	about *Packet
	mtu   int // of an ICMP error about size
}

// icmpKind is what an ICMP packet says.
type icmpKind uint8

const (
	echoRequest icmpKind = iota + 1
	echoReply
	portUnreachable
	hostUnreachable
	prohibited
	tooBig
)

// tcpHeader is what a TCP segment says besides addresses and data.
type tcpHeader struct {
	seq, ack          uint64 // counted from 0 and never wrapping
	syn, fin, rst, ok bool   // ok is the ACK bit
	window            int
}

// defaultTTL is how many routers a packet passes.
const defaultTTL = 64

// Size returns the size of the packet on the wire in bytes.
func (p *Packet) Size() int {
	size := len(p.Data)
	if p.Dst.Addr().Is4() {
		size += 20
	} else {
		size += 40
	}
	switch p.Proto {
	case UDP, ICMP:
		return size + 8
	}
	return size + 32
}

// flow returns a number for the packet's addresses and ports.
func (p *Packet) flow() uint64 {
	return mix(hashAddr(p.Src) ^ mix(hashAddr(p.Dst)) ^ uint64(p.Proto))
}

// isError reports whether the packet is an ICMP error.
func (p *Packet) isError() bool { return p.about != nil }

// String describes the packet for a trace.
func (p *Packet) String() string {
	s := fmt.Sprintf("%v %v > %v, %d bytes", p.Proto, p.Src, p.Dst, len(p.Data))
	if p.Proto == TCP {
		s += p.tcp.String()
	}
	if p.icmp != 0 {
		s += fmt.Sprintf(", icmp %d", p.icmp)
	}
	return s
}

func (h tcpHeader) String() string {
	s := fmt.Sprintf(", seq %d ack %d", h.seq, h.ack)
	for _, f := range []struct {
		set  bool
		name string
	}{{h.syn, " syn"}, {h.fin, " fin"}, {h.rst, " rst"}, {h.ok, " ack"}} {
		if f.set {
			s += f.name
		}
	}
	return s
}

// icmpError returns the error that a device at from sends about p, nil if none is due.
func icmpError(from netip.Addr, p *Packet, kind icmpKind, mtu int) *Packet {
	if p.isError() || !from.IsValid() {
		return nil
	}
	return &Packet{Proto: ICMP, Src: netip.AddrPortFrom(from, 0), Dst: p.Src, TTL: defaultTTL, icmp: kind, about: p, mtu: mtu}
}

// Begins reports whether the packet is the first of a TCP connection.
func (p *Packet) Begins() bool { return p.Proto == TCP && p.tcp.syn && !p.tcp.ok }
