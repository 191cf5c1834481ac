package gateway

import (
	"errors"
	"net/netip"
	"time"

	"github.com/ginnel/ginnel/lab/vnet"
	"github.com/ginnel/ginnel/wire/natpmp"
	"github.com/ginnel/ginnel/wire/pcp"
)

// mapping answers NAT-PMP and PCP, which share a port.
func (g *Gateway) mapping(from netip.AddrPort, b []byte) [][]byte {
	o := g.options()
	if len(b) == 0 {
		return nil
	}
	switch {
	case b[0] == 0 && o.PMP:
		return one(g.pmp(from, b))
	case b[0] != 0 && o.PCP:
		return one(g.pcp(from, b))
	case b[0] == 0:
		return one(pcp.AppendRefusal(nil, b, pcp.UnsuppVersion, 0, g.epoch()))
	}
	return one(natpmp.AppendRefusal(nil, b, natpmp.UnsupportedVersion, g.epoch()))
}

func one(b []byte) [][]byte {
	if b == nil {
		return nil
	}
	return [][]byte{b}
}

func (g *Gateway) pmp(from netip.AddrPort, b []byte) []byte {
	o := g.options()
	q, err := natpmp.ParseRequest(b)
	switch {
	case errors.Is(err, natpmp.ErrOpcode):
		return natpmp.AppendRefusal(nil, b, natpmp.UnsupportedOpcode, g.epoch())
	case err != nil:
		return nil
	case q.Op == natpmp.OpExternal:
		if !g.note("pmp address") {
			return nil
		}
		return natpmp.Response{Op: q.Op, Epoch: g.epoch(), Address: g.external()}.Append(nil)
	}
	inner := netip.AddrPortFrom(from.Addr(), q.Internal)
	a := natpmp.Response{Op: q.Op, Epoch: g.epoch(), Internal: q.Internal}
	if q.Lifetime == 0 {
		g.note("pmp delete")
		g.router.UnmapPort(proto(q.Op), inner)
		return a.Append(nil)
	}
	if !g.note("pmp map") {
		return nil
	}
	outer := netip.AddrPort{}
	refuse := o.Refuse || o.RefusePMP
	if !refuse {
		outer = g.router.MapPort(proto(q.Op), inner, q.External, time.Duration(q.Lifetime)*time.Second)
	}
	if !outer.IsValid() {
		a.Result = natpmp.OutOfResources
		if refuse {
			a.Result = natpmp.NotAuthorized
		}
		return a.Append(nil)
	}
	a.External, a.Lifetime = outer.Port(), o.lifetime(q.Lifetime)
	if o.WrongInternal {
		a.Internal++
	}
	return a.Append(nil)
}

func proto(op natpmp.Op) vnet.Proto {
	if op == natpmp.OpMapTCP {
		return vnet.TCP
	}
	return vnet.UDP
}

func (g *Gateway) pcp(from netip.AddrPort, b []byte) []byte {
	q, err := pcp.ParseRequest(b)
	refuse := func(r pcp.Result) []byte { return pcp.AppendRefusal(nil, b, r, 1800, g.epoch()) }
	switch {
	case errors.Is(err, pcp.ErrOpcode):
		return refuse(pcp.UnsuppOpcode)
	case errors.Is(err, pcp.ErrOption):
		return refuse(pcp.MalformedOption)
	case err != nil:
		return nil
	case q.Client != from.Addr():
		return refuse(pcp.AddressMismatch)
	case q.Op == pcp.OpAnnounce:
		if !g.note("pcp announce") {
			return nil
		}
		return pcp.Response{Op: q.Op, Epoch: g.epoch()}.Append(nil)
	case q.Map.Protocol != pcp.UDP:
		return refuse(pcp.UnsuppProtocol)
	}
	what := "pcp map"
	if q.Lifetime == 0 {
		what = "pcp delete"
	}
	if !g.note(what) {
		return nil
	}
	inner := netip.AddrPortFrom(from.Addr(), q.Map.Internal)
	if !g.authorized(inner, q.Map.Nonce) {
		return refuse(pcp.NotAuthorized)
	}
	return g.pcpMap(q, inner).Append(nil)
}

// authorized reports whether a nonce may change the mapping of an inner address.
func (g *Gateway) authorized(inner netip.AddrPort, nonce pcp.Nonce) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opts.Refuse {
		return false
	}
	old, known := g.nonces[inner]
	g.nonces[inner] = nonce
	if known && old != nonce {
		g.nonces[inner] = old
		return false
	}
	return true
}

func (g *Gateway) pcpMap(q pcp.Request, inner netip.AddrPort) pcp.Response {
	o := g.options()
	a := pcp.Response{Op: q.Op, Epoch: g.epoch(), Map: q.Map}
	switch {
	case q.Lifetime == 0:
		g.mu.Lock()
		delete(g.nonces, inner)
		g.mu.Unlock()
		g.router.UnmapPort(vnet.UDP, inner)
		g.router.ClosePinhole(vnet.UDP, inner)
		return a
	case inner.Addr().Is6():
		if !g.router.OpenPinhole(vnet.UDP, inner, time.Duration(q.Lifetime)*time.Second) {
			a.Result = pcp.NoResources
			return a
		}
		a.Map.External = inner
	default:
		outer := g.router.MapPort(vnet.UDP, inner, q.Map.External.Port(), time.Duration(q.Lifetime)*time.Second)
		if !outer.IsValid() {
			a.Result = pcp.NoResources
			return a
		}
		a.Map.External = netip.AddrPortFrom(g.external(), outer.Port())
	}
	if o.WrongInternal {
		a.Map.Internal++
	}
	if o.WrongNonce {
		a.Map.Nonce[0]++
	}
	a.Lifetime = o.lifetime(q.Lifetime)
	return a
}
