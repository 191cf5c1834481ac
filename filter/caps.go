package filter

import (
	"net/netip"

	"github.com/ginnel/ginnel/wire/control"
)

// capTable holds the capability grants of a Program.
type capTable struct {
	src, dst addrTable // owners are indexes of grants
	grants   []control.CapGrant
	self     []netip.Addr
}

// CapsFor returns what the peer at src may do to this node: the union of the
// grants towards the node's own address of the same family, values in rule
// order. It returns nil if there is none.
func (p *Program) CapsFor(src netip.Addr) control.PeerCapMap {
	for _, self := range p.caps.self {
		if self.Is4() == src.Is4() {
			return p.CapsBetween(src, self)
		}
	}
	return nil
}

// CapsBetween returns the capabilities that src has towards dst, an address of
// this node or of a service that it hosts. A capability without values is a
// key without values (wire document policy, section 7.9).
func (p *Program) CapsBetween(src, dst netip.Addr) control.PeerCapMap {
	var out control.PeerCapMap
	s, d := p.caps.src.lookup(src), p.caps.dst.lookup(dst)
	for i := first(s, d, 0); i >= 0; i = first(s, d, i+1) {
		if out == nil {
			out = control.PeerCapMap{}
		}
		for _, name := range p.caps.grants[i].Caps {
			out[name] = append(out[name], nil...)
		}
		for name, values := range p.caps.grants[i].CapMap {
			out[name] = append(out[name], values...)
		}
	}
	return out
}
