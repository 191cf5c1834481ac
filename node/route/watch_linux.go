package route

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"
)

// How the state is restored after others removed parts of it (wire document
// node, section 2.3). systemd-networkd does that, and it must not become a race.
const (
	repairDelay = 250 * time.Millisecond
	repairEvery = 5 * time.Second
	repairBurst = 10
)

// watcher listens for removals of what a Router made.
type watcher struct {
	conn *rtnetlink.Conn
}

func newWatcher() (*watcher, error) {
	groups := uint32(0)
	for _, g := range []uint32{
		unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE, unix.RTNLGRP_IPV4_ROUTE,
		unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
	} {
		groups |= 1 << (g - 1)
	}
	conn, err := rtnetlink.Dial(&netlink.Config{Groups: groups})
	if err != nil {
		return nil, err
	}
	return &watcher{conn}, nil
}

// run repairs r after removals until ctx ends.
func (w *watcher) run(ctx context.Context, r *Router) {
	removed := make(chan struct{}, 1)
	received := make(chan struct{})
	go func() {
		defer close(received)
		w.receive(ctx, r, removed)
	}()
	defer func() {
		w.conn.Close()
		<-received
	}()
	limit := rate.NewLimiter(rate.Every(repairEvery), repairBurst)
	for {
		select {
		case <-ctx.Done():
			return
		case <-received:
			return
		case <-removed:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(repairDelay):
		}
		if limit.Wait(ctx) != nil {
			return
		}
		select { // removals up to now are covered by the repair
		case <-removed:
		default:
		}
		r.log.Info("restoring routes and rules that were removed")
		if err := r.repair(); err != nil {
			r.log.Warn("cannot restore routes and rules", "err", err)
		}
	}
}

// receive reads notifications and signals removals of wanted objects.
func (w *watcher) receive(ctx context.Context, r *Router, removed chan<- struct{}) {
	signal := func() {
		select {
		case removed <- struct{}{}:
		default:
		}
	}
	for {
		msgs, heads, err := w.conn.Receive()
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, unix.ENOBUFS) {
			signal() // notifications were lost; better look
			continue
		}
		var op *netlink.OpError
		if errors.As(err, &op) {
			r.log.Warn("routing: watching ends", "err", err)
			return
		}
		if err != nil {
			continue // a message that the library cannot read
		}
		for i, m := range msgs {
			if o, ok := removedObject(m, heads[i].Header.Type); ok && r.wants(o) {
				signal()
			}
		}
	}
}

// removedObject returns what a notification says was removed.
func removedObject(m rtnetlink.Message, kind netlink.HeaderType) (object, bool) {
	switch m := m.(type) {
	case *rtnetlink.RuleMessage:
		o, _, ok := ruleObject(*m)
		return o, ok && kind == unix.RTM_DELRULE
	case *rtnetlink.RouteMessage:
		a, ok := netip.AddrFromSlice(m.Attributes.Dst)
		if kind != unix.RTM_DELROUTE {
			return object{}, false
		}
		if !ok {
			a = netip.IPv4Unspecified()
			if m.Family == unix.AF_INET6 {
				a = netip.IPv6Unspecified()
			}
		}
		o := object{Kind: kindRoute, Prefix: netip.PrefixFrom(a, int(m.DstLength)), Table: m.Attributes.Table, Index: m.Attributes.OutIface}
		if m.Type == unix.RTN_THROW {
			o.Throw, o.Index = true, 0
		}
		return o, true
	case *rtnetlink.AddressMessage:
		if kind != unix.RTM_DELADDR || m.Attributes == nil {
			return object{}, false
		}
		ip := m.Attributes.Local
		if ip == nil {
			ip = m.Attributes.Address
		}
		a, ok := netip.AddrFromSlice(ip)
		return object{Kind: kindAddr, Index: m.Index, Prefix: netip.PrefixFrom(a, int(m.PrefixLength))}, ok
	}
	return object{}, false
}
