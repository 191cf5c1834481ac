//go:build linux

package netlab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

var echoes atomic.Uint32

// Echo sends exactly one ICMP echo request from the host, to an address of
// either family, and waits until it is answered or ctx ends.
func (h *Host) Echo(ctx context.Context, to netip.Addr) error {
	network, proto := "ip4:icmp", 1
	var request, reply icmp.Type = ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply
	if to.Is6() {
		network, proto = "ip6:ipv6-icmp", 58
		request, reply = ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply
	}
	var conn *icmp.PacketConn
	err := h.Do(func() (err error) {
		conn, err = icmp.ListenPacket(network, "")
		return err
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })()
	n := echoes.Add(1)
	want := &icmp.Echo{ID: int(n >> 16), Seq: int(n & 0xffff), Data: fmt.Appendf(nil, "%s %d", h.Path(), n)}
	packet, err := (&icmp.Message{Type: request, Body: want}).Marshal(nil)
	if err != nil {
		return err
	}
	if _, err := conn.WriteTo(packet, &net.IPAddr{IP: to.AsSlice()}); err != nil {
		return fmt.Errorf("%s: ping %v: %w", h.Name, to, err)
	}
	buf := make([]byte, 1500)
	for {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			return fmt.Errorf("%s: ping %v: no answer: %w", h.Name, to, err)
		}
		m, err := icmp.ParseMessage(proto, buf[:n])
		if err != nil || m.Type != reply {
			continue
		}
		if e, ok := m.Body.(*icmp.Echo); ok && e.ID == want.ID && e.Seq == want.Seq && string(e.Data) == string(want.Data) {
			return nil
		}
	}
}
