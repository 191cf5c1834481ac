//go:build linux

package rig

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
)

// Echo sends exactly one ICMP echo request from the host to an IPv4 address and
// waits until it is answered or ctx ends.
func (h *Host) Echo(ctx context.Context, to netip.Addr) error {
	var conn *icmp.PacketConn
	err := h.Do(func() (err error) {
		conn, err = icmp.ListenPacket("ip4:icmp", "")
		return err
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })()
	want := &icmp.Echo{ID: os.Getpid() & 0xffff, Seq: int(time.Now().UnixMicro() & 0xffff), Data: []byte(h.ns)}
	packet, err := (&icmp.Message{Type: ipv4.ICMPTypeEcho, Body: want}).Marshal(nil)
	if err != nil {
		return err
	}
	if _, err := conn.WriteTo(packet, &net.IPAddr{IP: to.AsSlice()}); err != nil {
		return fmt.Errorf("ping %v: %w", to, err)
	}
	buf := make([]byte, 1500)
	for {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			return fmt.Errorf("ping %v: no answer: %w", to, err)
		}
		m, err := icmp.ParseMessage(1, buf[:n])
		if err != nil || m.Type != ipv4.ICMPTypeEchoReply {
			continue
		}
		if e, ok := m.Body.(*icmp.Echo); ok && e.ID == want.ID && e.Seq == want.Seq && string(e.Data) == h.ns {
			return nil
		}
	}
}
