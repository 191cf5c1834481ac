package vnet

import "net/netip"

// dice draws chance for one purpose. Each draw depends on the network's seed, the
// purpose, and how many draws came before for the same thing.
type dice struct {
	salt  uint64
	count map[uint64]uint64
}

// newDice returns dice whose draws differ from those of other names.
func (n *Network) newDice(name string) *dice {
	return &dice{salt: mix(n.seed ^ hashString(name)), count: map[uint64]uint64{}}
}

// draw returns the next number for a thing.
func (d *dice) draw(thing uint64) uint64 {
	c := d.count[thing]
	d.count[thing] = c + 1
	return mix(d.salt ^ mix(thing^mix(c)))
}

// chance reports true with probability p.
func (d *dice) chance(thing uint64, p float64) bool {
	return p > 0 && float64(d.draw(thing)>>11)/(1<<53) < p
}

// below returns a number in [0, n).
func (d *dice) below(thing, n uint64) uint64 {
	if n == 0 {
		return 0
	}
	return d.draw(thing) % n
}

// mix is the finishing step of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// hashString is FNV-1a.
func hashString(s string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 0x100000001b3
	}
	return h
}

// hashAddr returns a number for an address and port.
func hashAddr(a netip.AddrPort) uint64 {
	b := a.Addr().As16()
	h := uint64(0xcbf29ce484222325)
	for _, x := range b {
		h = (h ^ uint64(x)) * 0x100000001b3
	}
	return mix(h ^ uint64(a.Port()))
}
