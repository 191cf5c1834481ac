package vnet

import (
	"net/netip"
	"time"
)

// allocate chooses the outer address and port of a new mapping.
func (t *Translator) allocate(now time.Time, k flowKey) (netip.AddrPort, bool) {
	addr := t.outerAddr(k.inner)
	if !addr.IsValid() {
		return netip.AddrPort{}, false
	}
	first, size := int(t.kind.First), int(t.kind.Last)-int(t.kind.First)+1
	if t.kind.Block > 0 {
		blocks := max(size/t.kind.Block, 1)
		first += int(mix(t.dice.salt^hashAddr(netip.AddrPortFrom(k.inner.Addr(), 0)))%uint64(blocks)) * t.kind.Block
		size = min(t.kind.Block, size)
	}
	free := func(port int) bool { return t.free(now, k, netip.AddrPortFrom(addr, uint16(port))) }
	if p := int(k.inner.Port()); t.kind.Ports == Preserve && p >= first && p < first+size && free(p) {
		return netip.AddrPortFrom(addr, uint16(p)), true
	}
	if t.kind.Ports == Sequential {
		return t.nextPort(addr, k.inner.Addr(), first, size, free)
	}
	luck := hashAddr(k.inner) ^ mix(uint64(k.proto))
	for range 4 * size {
		if p := first + int(t.dice.below(luck, uint64(size))); free(p) {
			return netip.AddrPortFrom(addr, uint16(p)), true
		}
	}
	return netip.AddrPort{}, false
}

// nextPort chooses the next port in the order of Sequential.
func (t *Translator) nextPort(addr, inner netip.Addr, first, size int, free func(int) bool) (netip.AddrPort, bool) {
	at := addr
	if t.kind.Block > 0 {
		at = inner // each has a counter of its own
	}
	last, used := t.last[at]
	if !used {
		last = uint16(first + int(mix(t.dice.salt)%uint64(size)))
	}
	offset := int(last) - first
	for range size {
		offset = (offset + t.kind.Step) % size
		if free(first + offset) {
			t.last[at] = uint16(first + offset)
			return netip.AddrPortFrom(addr, uint16(first+offset)), true
		}
	}
	return netip.AddrPort{}, false
}

// free reports whether a new mapping for k may have an outer address.
func (t *Translator) free(now time.Time, k flowKey, outer netip.AddrPort) bool {
	for _, m := range t.byOut[outerKey{k.proto, outer}] {
		if !now.Before(m.expires) {
			continue
		}
		if !t.kind.Overload || m.fixed || m.key.remote == k.remote {
			return false
		}
	}
	return true
}

// outerAddr chooses the outer address for an inner one.
func (t *Translator) outerAddr(inner netip.AddrPort) netip.Addr {
	if len(t.kind.Pool) == 0 {
		return t.outer
	}
	i := hashAddr(netip.AddrPortFrom(inner.Addr(), 0)) % uint64(len(t.kind.Pool)+1)
	if t.kind.Unpaired {
		i = t.dice.below(hashAddr(inner), uint64(len(t.kind.Pool)+1))
	}
	if i == 0 {
		return t.outer
	}
	return t.kind.Pool[i-1]
}

// open makes a mapping that lets everybody in, as port mapping protocols do. It returns
// the outer address, not valid if no port is free.
func (t *Translator) open(proto Proto, inner netip.AddrPort, wanted uint16, lifetime time.Duration) netip.AddrPort {
	now := time.Now()
	k := flowKey{proto: proto, inner: inner}
	if m := t.byFlow[k]; m != nil {
		if m.fixed {
			m.expires = now.Add(lifetime)
			return m.outer
		}
		t.remove(m)
	}
	outer := netip.AddrPortFrom(t.outer, wanted)
	if wanted == 0 || !t.free(now, k, outer) {
		var ok bool
		if outer, ok = t.allocate(now, k); !ok {
			return netip.AddrPort{}
		}
	}
	m := &mapping{key: k, outer: outer, fixed: true, expires: now.Add(lifetime), opened: map[netip.AddrPort]time.Time{}}
	t.add(m)
	return outer
}
