package vnet

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Host is a machine: interfaces, sockets, and perhaps a router's work.
type Host struct {
	net      *Network
	index    int
	name     string
	dice     *dice
	ports    []*Port
	router   *Router // nil for one that does not forward
	udp      map[socketKey]*UDPConn
	tcp      map[connKey]*TCPConn
	listens  map[socketKey]*Listener
	pings    map[uint16]chan struct{}
	watchers []func()
	resolver []netip.AddrPort
	guard    *Translator // a firewall of its own, nil for none
	mtus     map[netip.Addr]int
}

// socketKey finds a socket. addr is not valid for one that takes packets to any address
// of its family.
type socketKey struct {
	v6   bool
	port uint16
	addr netip.Addr
}

// Host makes a machine that is not plugged in anywhere.
func (n *Network) Host(name string) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := &Host{
		net: n, index: len(n.hosts), name: name, dice: n.newDice("host " + name),
		udp: map[socketKey]*UDPConn{}, tcp: map[connKey]*TCPConn{}, listens: map[socketKey]*Listener{},
		pings: map[uint16]chan struct{}{}, mtus: map[netip.Addr]int{},
	}
	n.hosts = append(n.hosts, h)
	return h
}

// Name returns the host's name.
func (h *Host) Name() string { return h.name }

// Plug gives the host an interface on a segment. The line has the properties l in both
// directions.
func (h *Host) Plug(s *Segment, l Link, addrs ...netip.Prefix) *Port {
	n := h.net
	n.mu.Lock()
	p := &Port{host: h, seg: s, name: fmt.Sprintf("eth%d", len(h.ports)), addrs: addrs, up: true}
	id := h.name + "/" + p.name
	p.out, p.in = n.newPipe(id+" out", l), n.newPipe(id+" in", l)
	h.ports = append(h.ports, p)
	s.ports = append(s.ports, p)
	n.mu.Unlock()
	h.changed()
	return p
}

// Move plugs the interface into another segment, with other addresses and gateways: the
// machine roams.
func (p *Port) Move(s *Segment, addrs []netip.Prefix, gateways ...netip.Addr) {
	n := p.host.net
	n.mu.Lock()
	p.seg.ports = slices.DeleteFunc(p.seg.ports, func(q *Port) bool { return q == p })
	p.seg, p.addrs, p.gateways = s, addrs, gateways
	s.ports = append(s.ports, p)
	n.mu.Unlock()
	p.host.changed()
}

// SetAddrs gives the interface other addresses.
func (p *Port) SetAddrs(addrs ...netip.Prefix) {
	p.edit(func() { p.addrs = addrs })
	p.host.changed()
}

// Via sets the gateways, at most one per family.
func (p *Port) Via(gateways ...netip.Addr) *Port {
	p.edit(func() { p.gateways = gateways })
	p.host.changed()
	return p
}

// SetUp switches the interface on or off; the host notices.
func (p *Port) SetUp(up bool) {
	p.edit(func() { p.up = up })
	p.host.changed()
}

// SetLink changes the line in both directions; the host does not notice.
func (p *Port) SetLink(change func(*Link)) {
	p.edit(func() {
		change(&p.out.link)
		change(&p.in.link)
	})
}

// SetLinks changes the line differently by direction, as seen from the host.
func (p *Port) SetLinks(change func(out, in *Link)) {
	p.edit(func() { change(&p.out.link, &p.in.link) })
}

func (p *Port) edit(f func()) {
	p.host.net.mu.Lock()
	defer p.host.net.mu.Unlock()
	f()
}

// Addr returns the interface's first address of a family, not valid if it has none.
func (p *Port) Addr(v4 bool) netip.Addr {
	p.host.net.mu.Lock()
	defer p.host.net.mu.Unlock()
	return p.addr(v4)
}

// Interface describes an interface of a host.
type Interface struct {
	Name     string
	Up       bool
	Addrs    []netip.Prefix
	Gateways []netip.Addr
	MTU      int
}

// Interfaces lists the host's interfaces, without loopback.
func (h *Host) Interfaces() []Interface {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	var list []Interface
	for _, p := range h.ports {
		list = append(list, Interface{p.name, p.up, slices.Clone(p.addrs), slices.Clone(p.gateways), p.out.mtu()})
	}
	return list
}

// Firewall gives the host a firewall of its own, which lets in only what belongs to flows
// that the host began. It forgets flows after idle, 0 meaning 120 s.
func (h *Host) Firewall(filtering Dependence, idle time.Duration) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.guard = h.net.newFirewall(h.name+" own", filtering, idle)
}

// Watch has f called, on a goroutine of its own, whenever the host's interfaces, addresses
// or gateways have changed.
func (h *Host) Watch(f func()) (stop func()) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	var once sync.Once
	i := len(h.watchers)
	h.watchers = append(h.watchers, f)
	return func() {
		once.Do(func() {
			h.net.mu.Lock()
			defer h.net.mu.Unlock()
			h.watchers[i] = nil
		})
	}
}

// changed tells who watches.
func (h *Host) changed() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	for _, f := range h.watchers {
		if f != nil {
			go f()
		}
	}
}

// owns reports whether addr is one of the host's.
func (h *Host) owns(addr netip.Addr) bool {
	if addr.IsLoopback() {
		return true
	}
	for _, p := range h.ports {
		if p.up && p.has(addr) {
			return true
		}
	}
	return false
}

// way returns the interface by which packets to dst leave, and the address that they are
// handed to on its segment.
func (h *Host) way(dst netip.Addr) (best *Port, hop netip.Addr) {
	bits := -1
	for _, p := range h.ports {
		if !p.up || !p.addr(dst.Is4()).IsValid() {
			continue
		}
		for _, a := range p.addrs {
			if !p.seg.core && a.Masked().Contains(dst) && a.Bits() > bits {
				best, hop, bits = p, dst, a.Bits()
			}
		}
	}
	if best != nil || dst.IsLinkLocalUnicast() {
		return best, hop
	}
	for _, p := range h.ports {
		if !p.up || !p.addr(dst.Is4()).IsValid() {
			continue
		}
		if p.seg.core || dst.IsMulticast() {
			return p, dst
		}
		for _, g := range p.gateways {
			if g.Is4() == dst.Is4() {
				return p, g
			}
		}
	}
	return nil, netip.Addr{}
}

// source returns the address that packets to dst come from.
func (h *Host) source(dst netip.Addr) (netip.Addr, error) {
	if h.owns(dst) {
		return dst, nil
	}
	p, _ := h.way(dst)
	if p == nil {
		return netip.Addr{}, syscall.ENETUNREACH
	}
	return p.addr(dst.Is4()), nil
}

// send lets a packet of the host's own leave.
func (h *Host) send(pkt *Packet) error {
	if h.owns(pkt.Dst.Addr()) {
		h.net.after(0, func() { h.local(pkt) })
		return nil
	}
	if h.router != nil {
		pkt = h.router.masked(pkt)
	}
	p, hop := h.way(pkt.Dst.Addr())
	if p == nil {
		return syscall.ENETUNREACH
	}
	if pkt.Size() > p.out.mtu() {
		return syscall.EMSGSIZE
	}
	if known, ok := h.mtus[pkt.Dst.Addr()]; ok && pkt.Size() > known && pkt.Proto == UDP {
		return syscall.EMSGSIZE
	}
	if h.guard != nil {
		if pkt, _ = h.guard.outbound(pkt); pkt == nil {
			return syscall.EPERM
		}
	}
	p.send(hop, pkt)
	return nil
}

// receive takes a packet from a segment.
func (h *Host) receive(p *Port, pkt *Packet) {
	if h.router != nil && h.router.take(p, pkt) {
		return
	}
	if !h.owns(pkt.Dst.Addr()) && !pkt.Dst.Addr().IsMulticast() {
		h.net.record(p, pkt, "not for "+h.name)
		return
	}
	if h.guard != nil {
		in, lost := h.guard.inbound(pkt)
		if in == nil {
			h.net.record(p, pkt, lost)
			return
		}
		pkt = in
	}
	h.local(pkt)
}

// local hands a packet to the host's own sockets.
func (h *Host) local(pkt *Packet) {
	switch pkt.Proto {
	case UDP:
		h.localUDP(pkt)
	case TCP:
		h.localTCP(pkt)
	case ICMP:
		h.localICMP(pkt)
	}
}

// forwardError sends an ICMP error that the host makes about a packet in transit.
func (h *Host) forwardError(e *Packet) {
	p, hop := h.way(e.Dst.Addr())
	if p != nil {
		p.send(hop, e)
	}
}

// closeSockets closes everything that is open.
func (h *Host) closeSockets() {
	for _, c := range h.udp {
		c.shut()
	}
	for _, c := range h.tcp {
		c.fail(syscall.ENETDOWN)
	}
	for _, l := range h.listens {
		l.shut()
	}
}

// Kill closes all sockets of the host without a word to anyone, as a crash of the machine
// does.
func (h *Host) Kill() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.closeSockets()
	clear(h.udp)
	clear(h.tcp)
	clear(h.listens)
}
