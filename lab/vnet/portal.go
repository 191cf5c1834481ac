package vnet

import "net/netip"

// Portal makes a router hold everything back, as networks of hotels do, until Release:
// requests to port 80 reach the web server that listens on the router's inner address at
// the given port, whatever address they are for; everything else but DNS is dropped.
func (r *Router) Portal(port uint16) {
	r.edit(func() {
		r.portal = netip.AddrPortFrom(r.inner[0].addr(true), port)
		r.disguise = map[connKey]netip.AddrPort{}
	})
}

// Release lets everything through again.
func (r *Router) Release() { r.edit(func() { r.portal = netip.AddrPort{} }) }

// capture handles a packet from inside while the portal is closed. It reports false for
// one that passes.
func (r *Router) capture(p *Port, pkt *Packet) bool {
	switch {
	case pkt.Dst.Port() == dnsPort:
		return false
	case pkt.Proto == TCP && pkt.Dst.Port() == 80 && pkt.Dst.Addr().Is4():
		q := *pkt
		q.Dst = r.portal
		r.disguise[connKey{r.portal, pkt.Src}] = pkt.Dst
		r.local(&q)
		return true
	}
	r.net.record(p, pkt, "held by the portal")
	return true
}

// masked gives an answer of the portal's web server the address that was asked.
func (r *Router) masked(pkt *Packet) *Packet {
	as, ok := r.disguise[connKey{pkt.Src, pkt.Dst}]
	if !ok {
		return pkt
	}
	q := *pkt
	q.Src = as
	return &q
}
