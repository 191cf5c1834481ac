//go:build linux

package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// pingTimeout is how long a host waits for the answer to one echo request.
const pingTimeout = 2 * time.Second

// Ping sends one echo request from the host, to an address of either family,
// and returns nil when it was answered in time.
func (h *Host) Ping(to netip.Addr) error {
	network, proto := "ip4:icmp", 1
	var kind, reply icmp.Type = ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply
	if to.Is6() {
		network, proto = "ip6:ipv6-icmp", 58
		kind, reply = ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply
	}
	var conn *icmp.PacketConn
	err := h.do(func() (err error) {
		conn, err = icmp.ListenPacket(network, "")
		return err
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	body := &icmp.Echo{ID: os.Getpid() & 0xffff, Seq: int(time.Now().UnixNano() & 0xffff), Data: []byte(h.ns)}
	packet, err := (&icmp.Message{Type: kind, Body: body}).Marshal(nil)
	if err != nil {
		return err
	}
	if _, err := conn.WriteTo(packet, &net.IPAddr{IP: to.AsSlice()}); err != nil {
		return fmt.Errorf("ping %v: %w", to, err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(pingTimeout)); err != nil {
		return err
	}
	buf := make([]byte, 1500)
	for {
		n, _, err := conn.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("%s: no answer from %v in %v", h.Name, to, pingTimeout)
		}
		if err != nil {
			return err
		}
		m, err := icmp.ParseMessage(proto, buf[:n])
		if err != nil || m.Type != reply {
			continue
		}
		if e, ok := m.Body.(*icmp.Echo); ok && e.ID == body.ID && e.Seq == body.Seq && string(e.Data) == h.ns {
			return nil
		}
	}
}
