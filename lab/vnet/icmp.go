package vnet

import (
	"context"
	"net/netip"
	"syscall"
	"time"
)

// Ping sends an ICMP echo and returns how long the answer took.
func (h *Host) Ping(ctx context.Context, dst netip.Addr) (time.Duration, error) {
	n := h.net
	n.mu.Lock()
	src, err := h.source(dst)
	if err != nil {
		n.mu.Unlock()
		return 0, err
	}
	id := h.ephemeral(func(id uint16) bool { return h.pings[id] == nil })
	answered := make(chan struct{})
	h.pings[id] = answered
	pkt := &Packet{
		Proto: ICMP, Src: netip.AddrPortFrom(src, id), Dst: netip.AddrPortFrom(dst, id), TTL: defaultTTL,
		icmp: echoRequest, Data: make([]byte, 56),
	}
	start := time.Now()
	n.submit(outgoing{h.index, uint64(ICMP)<<32 | uint64(id), 0, func() { _ = h.send(pkt) }})
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(h.pings, id)
	}()
	select {
	case <-answered:
		return time.Since(start), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// localICMP takes an ICMP packet for this host.
func (h *Host) localICMP(pkt *Packet) {
	switch {
	case pkt.icmp == echoRequest:
		h.answer(&Packet{Proto: ICMP, Src: pkt.Dst, Dst: pkt.Src, TTL: defaultTTL, icmp: echoReply, Data: pkt.Data})
	case pkt.icmp == echoReply:
		if ch := h.pings[pkt.Dst.Port()]; ch != nil {
			close(ch)
			h.pings[pkt.Dst.Port()] = nil
		}
	case pkt.icmp == tooBig && pkt.about != nil:
		h.mtus[pkt.about.Dst.Addr()] = pkt.mtu
		if c := h.tcp[connKey{pkt.about.Src, pkt.about.Dst}]; c != nil {
			c.shrink(pkt.mtu)
		}
	case pkt.about != nil && pkt.about.Proto == TCP:
		// Only an attempt to connect ends by an ICMP error; what is established is more
		// patient (RFC 1122, section 4.2.3.9).
		if c := h.tcp[connKey{pkt.about.Src, pkt.about.Dst}]; c != nil && c.state == synSent {
			c.fail(errnoOf(pkt.icmp))
		}
	}
}

// errnoOf returns what a program sees of an ICMP error.
func errnoOf(k icmpKind) error {
	switch k {
	case portUnreachable:
		return syscall.ECONNREFUSED
	case prohibited:
		return syscall.EACCES
	}
	return syscall.EHOSTUNREACH
}
