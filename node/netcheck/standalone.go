package netcheck

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/disco"
)

// Standalone makes a full report with sockets of its own, for use without a running
// node. c.Send is set by it.
func Standalone(ctx context.Context, c *Client, m *control.DERPMap) (*Report, error) {
	var readers sync.WaitGroup
	var socks [2]net.PacketConn // IPv4, IPv6
	for i, network := range []string{"udp4", "udp6"} {
		pc, err := net.ListenPacket(network, ":0")
		if err != nil {
			continue // the family is missing; the report says so
		}
		socks[i] = pc
		readers.Go(func() { c.readFrom(pc) })
	}
	defer readers.Wait()
	for _, pc := range socks {
		if pc != nil {
			defer pc.Close()
		}
	}
	if socks[0] == nil && socks[1] == nil {
		return nil, errors.New("netcheck: cannot open any UDP socket")
	}
	c.Send = func(pkt []byte, to netip.AddrPort) error {
		pc := socks[0]
		if to.Addr().Is6() {
			pc = socks[1]
		}
		if pc == nil {
			return fmt.Errorf("netcheck: no socket for %v", to)
		}
		_, err := pc.WriteTo(pkt, net.UDPAddrFromAddrPort(to))
		return err
	}
	return c.Report(ctx, m, Request{Full: true})
}

// readFrom takes in the STUN answers of a socket until it is closed.
func (c *Client) readFrom(pc net.PacketConn) {
	buf := make([]byte, 1500)
	for {
		n, _, err := pc.ReadFrom(buf)
		if err != nil {
			return
		}
		if disco.Classify(buf[:n]) == disco.KindSTUN {
			c.HandleSTUN(buf[:n])
		}
	}
}
