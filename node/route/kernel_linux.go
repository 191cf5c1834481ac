package route

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// kernel speaks rtnetlink.
type kernel struct {
	conn *rtnetlink.Conn
}

func dialKernel() (*kernel, error) {
	conn, err := rtnetlink.Dial(nil)
	if err != nil {
		return nil, fmt.Errorf("routing: open netlink: %w", err)
	}
	// With strict checking the kernel filters dumps by table. Old kernels
	// have no such option, and we filter anyway.
	_ = conn.SetOption(netlink.GetStrictCheck, true)
	return &kernel{conn}, nil
}

func (k *kernel) close() { k.conn.Close() }

// link is the state of an interface.
type link struct {
	index uint32
	up    bool
	mtu   uint32
}

// linkByName finds an interface. The error wraps unix.ENODEV if there is none.
func (k *kernel) linkByName(name string) (link, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return link{}, fmt.Errorf("interface %q: %w (%w)", name, unix.ENODEV, err)
	}
	return link{uint32(ifi.Index), ifi.Flags&net.FlagUp != 0, uint32(ifi.MTU)}, nil
}

func (k *kernel) setLink(index uint32, up bool, mtu uint32) error {
	msg := &rtnetlink.LinkMessage{Family: unix.AF_UNSPEC, Index: index, Change: unix.IFF_UP}
	if up {
		msg.Flags = unix.IFF_UP
	}
	if mtu != 0 {
		msg.Attributes = &rtnetlink.LinkAttributes{MTU: mtu}
	}
	return k.conn.Link.Set(msg)
}

func family(v6 bool) uint8 {
	if v6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

func addrMessage(o object) *rtnetlink.AddressMessage {
	ip := net.IP(o.Prefix.Addr().AsSlice())
	return &rtnetlink.AddressMessage{
		Family:       family(o.Prefix.Addr().Is6()),
		PrefixLength: uint8(o.Prefix.Bits()),
		Index:        o.Index,
		Attributes:   &rtnetlink.AddressAttributes{Address: ip, Local: ip},
	}
}

func routeMessage(o object) *rtnetlink.RouteMessage {
	m := &rtnetlink.RouteMessage{
		Family:    family(o.Prefix.Addr().Is6()),
		DstLength: uint8(o.Prefix.Bits()),
		Table:     uint8(o.Table),
		Protocol:  protocol,
		Type:      unix.RTN_UNICAST,
		Attributes: rtnetlink.RouteAttributes{
			Dst:      o.Prefix.Addr().AsSlice(),
			OutIface: o.Index,
			Table:    o.Table,
		},
	}
	switch {
	case o.Throw:
		m.Type = unix.RTN_THROW
	case o.Prefix.Addr().Is4():
		m.Scope = unix.RT_SCOPE_LINK
	}
	return m
}

func ruleMessage(o object) *rtnetlink.RuleMessage {
	proto := uint8(protocol)
	m := &rtnetlink.RuleMessage{
		Family:     family(o.V6),
		Table:      uint8(o.Table),
		Action:     unix.FR_ACT_TO_TBL,
		Attributes: &rtnetlink.RuleAttributes{Priority: &o.Priority, Protocol: &proto},
	}
	if o.Table == 0 {
		m.Action = unix.FR_ACT_UNREACHABLE
	} else {
		m.Attributes.Table = &o.Table
	}
	if o.Mark != 0 {
		mask := uint32(MarkMask)
		m.Attributes.FwMark, m.Attributes.FwMask = &o.Mark, &mask
	}
	return m
}

// make creates the object. The error wraps unix.EEXIST if it is there.
func (k *kernel) make(o object) error {
	switch o.Kind {
	case kindAddr:
		return k.conn.Address.New(addrMessage(o))
	case kindRoute:
		return k.conn.Route.Add(routeMessage(o))
	case kindRule:
		return k.conn.Rule.Add(ruleMessage(o))
	}
	return fmt.Errorf("cannot make %v", o)
}

// remove deletes the object. It is no error if it is gone.
func (k *kernel) remove(o object) error {
	var err error
	switch o.Kind {
	case kindAddr:
		err = k.conn.Address.Delete(addrMessage(o))
	case kindRoute:
		err = k.conn.Route.Delete(routeMessage(o))
	case kindRule:
		err = k.conn.Rule.Delete(ruleMessage(o))
	case kindLink:
		err = k.setLink(o.Index, o.Up, o.MTU)
	}
	for _, gone := range []error{unix.ESRCH, unix.ENOENT, unix.ENODEV, unix.EADDRNOTAVAIL, unix.EAFNOSUPPORT} {
		if errors.Is(err, gone) {
			return nil
		}
	}
	return err
}

// existing maps the objects that are in the kernel to whether they bear our
// protocol number, where they can bear one.
type existing map[object]bool

// addrs adds the addresses of an interface.
func (k *kernel) addrs(index uint32, out existing) error {
	msgs, err := k.conn.Address.List()
	if err != nil {
		return fmt.Errorf("routing: list addresses: %w", err)
	}
	for _, m := range msgs {
		if m.Index != index || m.Attributes == nil {
			continue
		}
		ip := m.Attributes.Local
		if ip == nil {
			ip = m.Attributes.Address
		}
		if a, ok := netip.AddrFromSlice(ip); ok {
			out[object{Kind: kindAddr, Index: index, Prefix: netip.PrefixFrom(a, int(m.PrefixLength))}] = true
		}
	}
	return nil
}

// defaultMetric6 is what the kernel gives an IPv6 route without a metric.
const defaultMetric6 = 1024

// list asks for all objects that match request. The library's own list methods
// cannot be limited to a family or table.
func list[M rtnetlink.Message](k *kernel, kind uint16, request rtnetlink.Message) ([]M, error) {
	msgs, err := k.conn.Execute(request, kind, netlink.Request|netlink.Dump)
	if err != nil {
		return nil, err
	}
	var out []M
	for _, m := range msgs {
		if m, ok := m.(M); ok {
			out = append(out, m)
		}
	}
	return out, nil
}

// routes adds the routes of a table.
func (k *kernel) routes(v6 bool, table uint32, out existing) error {
	msgs, err := list[*rtnetlink.RouteMessage](k, unix.RTM_GETROUTE, &rtnetlink.RouteMessage{
		Family: family(v6), Table: uint8(table), Attributes: rtnetlink.RouteAttributes{Table: table},
	})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EAFNOSUPPORT) {
		return nil // no such table, or family: no route
	}
	if err != nil {
		return fmt.Errorf("routing: list routes: %w", err)
	}
	for _, m := range msgs {
		a := m.Attributes
		t := a.Table
		if t == 0 {
			t = uint32(m.Table)
		}
		metric := uint32(0)
		if v6 {
			metric = defaultMetric6
		}
		if t != table || a.Priority != metric || m.Tos != 0 || len(a.Multipath) > 0 || a.Gateway != nil {
			continue
		}
		o := object{Kind: kindRoute, Table: table, Index: a.OutIface}
		switch m.Type {
		case unix.RTN_UNICAST:
		case unix.RTN_THROW:
			o.Throw, o.Index = true, 0
		default:
			continue
		}
		dst, ok := netip.AddrFromSlice(a.Dst)
		if !ok {
			dst = netip.IPv4Unspecified()
			if v6 {
				dst = netip.IPv6Unspecified()
			}
		}
		o.Prefix = netip.PrefixFrom(dst, int(m.DstLength))
		out[o] = out[o] || m.Protocol == protocol
	}
	return nil
}

// rules adds the policy rules of a family that look like ours.
func (k *kernel) rules(v6 bool, out existing) error {
	msgs, err := list[*rtnetlink.RuleMessage](k, unix.RTM_GETRULE, &rtnetlink.RuleMessage{Family: family(v6)})
	if err != nil {
		return fmt.Errorf("routing: list rules: %w", err)
	}
	for _, m := range msgs {
		if o, ours, ok := ruleObject(*m); ok && o.V6 == v6 {
			out[o] = out[o] || ours
		}
	}
	return nil
}

// ruleObject returns the rule as an object, if it is of a form that we make.
func ruleObject(m rtnetlink.RuleMessage) (o object, ours, ok bool) {
	a := m.Attributes
	if a == nil || a.Priority == nil || m.SrcLength != 0 || m.DstLength != 0 || a.IIFName != nil || a.OIFName != nil || a.IPProto != nil || a.UIDRange != nil {
		return o, false, false
	}
	o = object{Kind: kindRule, V6: m.Family == unix.AF_INET6, Priority: *a.Priority}
	switch m.Action {
	case unix.FR_ACT_TO_TBL:
		o.Table = uint32(m.Table)
		if a.Table != nil {
			o.Table = *a.Table
		}
	case unix.FR_ACT_UNREACHABLE:
	default:
		return o, false, false
	}
	if a.FwMark != nil {
		if a.FwMask == nil || *a.FwMask != MarkMask {
			return o, false, false
		}
		o.Mark = *a.FwMark
	}
	// Kernels before 4.17 keep no protocol for rules.
	return o, a.Protocol == nil || *a.Protocol == protocol, true
}

// probe finds out what the system supports, for the interface name.
func (k *kernel) probe(name string) support {
	s := support{v6: ipv6Usable("/proc/sys/net/ipv6", name)}
	none := existing{}
	s.rules4 = k.rules(false, none) == nil
	s.rules6 = s.v6 && k.rules(true, none) == nil
	return s
}

// ipv6Usable looks at the IPv6 settings under root, /proc/sys/net/ipv6 (wire
// document node, section 2.3).
func ipv6Usable(root, device string) bool {
	if _, err := os.Stat(root); err != nil {
		return false
	}
	for _, f := range []string{"all/disable_ipv6", "all/disable_policy", device + "/disable_ipv6"} {
		b, err := os.ReadFile(root + "/conf/" + f)
		switch {
		case err == nil && strings.TrimSpace(string(b)) != "0":
			return false
		case err != nil && !strings.HasSuffix(f, "disable_policy"):
			return false
		}
	}
	return true
}

// here identifies the boot and the network namespace.
func here() (journalHead, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return journalHead{}, fmt.Errorf("routing: %w", err)
	}
	ns, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return journalHead{}, fmt.Errorf("routing: %w", err)
	}
	return journalHead{Version: journalVersion, Boot: strings.TrimSpace(string(boot)), NetNS: ns}, nil
}
