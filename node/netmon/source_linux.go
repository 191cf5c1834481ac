package netmon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// meshTable is the routing table that the node fills itself; its changes are no
// news.
const meshTable = 52

// linuxSource reads net interfaces and listens to rtnetlink.
type linuxSource struct {
	tunnel string
	conn   *rtnetlink.Conn // nil if notifications are not to be had
	err    error           // why
}

func systemSource(tunnel string) (Source, error) {
	groups := uint32(0)
	for _, g := range []uint32{
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE,
	} {
		groups |= 1 << (g - 1)
	}
	conn, err := rtnetlink.Dial(&netlink.Config{Groups: groups})
	return &linuxSource{tunnel: tunnel, conn: conn, err: err}, nil
}

// State implements Source.
func (l *linuxSource) State() (*State, error) {
	ifs, err := interfaces()
	if err != nil {
		return nil, fmt.Errorf("list network interfaces: %w", err)
	}
	s := &State{Interfaces: ifs, Tunnel: l.tunnel}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		name, gw := defaultRoute(family, s)
		if name != "" {
			s.DefaultInterface, s.Gateway = name, gw
			break
		}
	}
	s.complete()
	return s, nil
}

// defaultRoute returns the way out by the main table: the default route with
// the least metric.
func defaultRoute(family uint8, s *State) (name string, gateway netip.Addr) {
	conn, err := rtnetlink.Dial(nil)
	if err != nil {
		return "", netip.Addr{}
	}
	defer conn.Close()
	// With strict checking the kernel sends only the main table.
	_ = conn.SetOption(netlink.GetStrictCheck, true)
	msgs, err := conn.Execute(&rtnetlink.RouteMessage{
		Family: family, Table: unix.RT_TABLE_MAIN, Attributes: rtnetlink.RouteAttributes{Table: unix.RT_TABLE_MAIN},
	}, unix.RTM_GETROUTE, netlink.Request|netlink.Dump)
	if err != nil {
		return "", netip.Addr{}
	}
	best := uint32(1<<32 - 1)
	for _, x := range msgs {
		m, ok := x.(*rtnetlink.RouteMessage)
		if !ok || m.DstLength != 0 || m.Type != unix.RTN_UNICAST || m.Table != unix.RT_TABLE_MAIN {
			continue
		}
		index, gw := m.Attributes.OutIface, m.Attributes.Gateway
		if index == 0 && len(m.Attributes.Multipath) > 0 {
			index, gw = m.Attributes.Multipath[0].Hop.IfIndex, m.Attributes.Multipath[0].Gateway
		}
		for n, i := range s.Interfaces {
			if uint32(i.Index) == index && n != s.Tunnel && m.Attributes.Priority < best {
				best, name = m.Attributes.Priority, n
				gateway, _ = netip.AddrFromSlice(gw)
			}
		}
	}
	return name, gateway
}

// Wait implements Source.
func (l *linuxSource) Wait(ctx context.Context) error {
	if l.conn == nil {
		return l.err
	}
	stop := context.AfterFunc(ctx, func() { _ = l.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		msgs, _, err := l.conn.Receive()
		if ctx.Err() != nil {
			l.conn.Close()
			return ctx.Err()
		}
		if errors.Is(err, unix.ENOBUFS) {
			return nil // some were lost: look
		}
		var op *netlink.OpError
		if errors.As(err, &op) {
			l.conn.Close()
			return err
		}
		if err != nil {
			return nil // unreadable, so it may be anything
		}
		for _, m := range msgs {
			if l.relevant(m) {
				return nil
			}
		}
	}
}

// relevant reports whether a notification can be about anything but the node's
// own interface and routes.
func (l *linuxSource) relevant(m rtnetlink.Message) bool {
	index := uint32(0)
	switch m := m.(type) {
	case *rtnetlink.RouteMessage:
		if m.Table == meshTable || m.Attributes.Table == meshTable || m.Type == unix.RTN_MULTICAST {
			return false
		}
		index = m.Attributes.OutIface
	case *rtnetlink.AddressMessage:
		index = m.Index
	case *rtnetlink.LinkMessage:
		index = m.Index
	}
	if index == 0 || l.tunnel == "" {
		return true
	}
	ifi, err := net.InterfaceByIndex(int(index))
	return err != nil || ifi.Name != l.tunnel
}
