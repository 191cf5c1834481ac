package filter

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strings"

	"go4.org/netipx"
)

// parseRanges reads one address text of a rule: an address, a prefix without
// host bits, "a-b", or "*" (wire document control, section 6.8).
func parseRanges(text string) ([]netipx.IPRange, error) {
	if text == "*" {
		return []netipx.IPRange{
			netipx.RangeOfPrefix(netip.PrefixFrom(netip.IPv4Unspecified(), 0)),
			netipx.RangeOfPrefix(netip.PrefixFrom(netip.IPv6Unspecified(), 0)),
		}, nil
	}
	var r netipx.IPRange
	switch {
	case strings.Contains(text, "/"):
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("bad prefix %q: %w", text, err)
		}
		if p != p.Masked() {
			return nil, fmt.Errorf("bad prefix %q: has bits after its length", text)
		}
		r = netipx.RangeOfPrefix(p)
	case strings.Contains(text, "-"):
		var err error
		if r, err = netipx.ParseIPRange(text); err != nil {
			return nil, fmt.Errorf("bad address range %q: %w", text, err)
		}
	default:
		a, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("bad address %q: %w", text, err)
		}
		r = netipx.IPRangeFrom(a, a)
	}
	if !r.IsValid() || r.From().Zone() != "" || r.From().Is4In6() {
		return nil, fmt.Errorf("bad address %q: zones and mapped addresses are not allowed", text)
	}
	return []netipx.IPRange{r}, nil
}

// bitset is a set of small numbers.
type bitset []uint64

func (s bitset) set(i int)      { s[i/64] |= 1 << (i % 64) }
func (s bitset) clear(i int)    { s[i/64] &^= 1 << (i % 64) }
func (s bitset) has(i int) bool { return i/64 < len(s) && s[i/64]&(1<<(i%64)) != 0 }

// intersects reports whether a and b have a member in common.
func intersects(a, b bitset) bool {
	for i := range min(len(a), len(b)) {
		if a[i]&b[i] != 0 {
			return true
		}
	}
	return false
}

// first returns the least member of both a and b that is at least from, or -1.
func first(a, b bitset, from int) int {
	n := min(len(a), len(b))
	for w := from / 64; w < n; w++ {
		both := a[w] & b[w]
		if w == from/64 {
			both &= ^uint64(0) << (from % 64)
		}
		if both != 0 {
			return w*64 + bits.TrailingZeros64(both)
		}
	}
	return -1
}

// addrKey is an address as a number, most significant half first. IPv4
// addresses use the lower 32 bits.
type addrKey struct{ hi, lo uint64 }

func (k addrKey) less(o addrKey) bool { return k.hi < o.hi || k.hi == o.hi && k.lo < o.lo }

func keyOf(a netip.Addr) addrKey {
	if a.Is4() {
		b := a.As4()
		return addrKey{lo: uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := a.As16()
	return addrKey{hi: binary.BigEndian.Uint64(b[:8]), lo: binary.BigEndian.Uint64(b[8:])}
}

// segments maps addresses of one family to the set of owners whose ranges hold
// them. starts[i] is the first address with the set sets[i]; it ends where the
// next one starts. starts[0] is the lowest address.
type segments struct {
	starts []addrKey
	sets   []bitset
}

func (s *segments) lookup(k addrKey) bitset {
	lo, hi := 0, len(s.starts) // invariant: starts[lo] <= k, or the table is empty
	if hi == 0 {
		return nil
	}
	for hi-lo > 1 {
		mid := int(uint(lo+hi) / 2)
		if k.less(s.starts[mid]) {
			hi = mid
		} else {
			lo = mid
		}
	}
	return s.sets[lo]
}

// addrTable answers which of a number of owners (rules, grants) contain an
// address, by binary search. It is immutable once built.
type addrTable struct{ v4, v6 segments }

// lookup returns the owners of a, not to be changed.
func (t *addrTable) lookup(a netip.Addr) bitset {
	if a.Is4() {
		return t.v4.lookup(keyOf(a))
	}
	return t.v6.lookup(keyOf(a))
}

// tableBuilder collects the ranges of owners numbered from 0.
type tableBuilder struct{ v4, v6 []edge }

// edge is a place in the address space where an owner's range begins, or where
// the first address behind it is.
type edge struct {
	at    addrKey
	owner int
	open  bool
}

// add gives owner the ranges.
func (b *tableBuilder) add(owner int, ranges []netipx.IPRange) {
	for _, r := range ranges {
		edges := &b.v6
		if r.From().Is4() {
			edges = &b.v4
		}
		*edges = append(*edges, edge{keyOf(r.From()), owner, true})
		if next := r.To().Next(); next.IsValid() {
			*edges = append(*edges, edge{keyOf(next), owner, false})
		}
	}
}

// build returns the table for owners 0 to n-1. Each owner's ranges must not
// overlap each other, as those of an IPSet do not.
func (b *tableBuilder) build(n int) addrTable {
	return addrTable{v4: buildSegments(b.v4, n), v6: buildSegments(b.v6, n)}
}

func buildSegments(edges []edge, n int) segments {
	if len(edges) == 0 {
		return segments{}
	}
	slices.SortFunc(edges, func(a, b edge) int {
		switch {
		case a.at.less(b.at):
			return -1
		case b.at.less(a.at):
			return 1
		case a.open != b.open && !a.open: // close before open, for adjacent ranges
			return -1
		case a.open != b.open:
			return 1
		}
		return 0
	})
	words := (n + 63) / 64
	current := make(bitset, words)
	interned := map[string]bitset{}
	intern := func() bitset {
		raw := make([]byte, 0, 8*words)
		for _, w := range current {
			raw = binary.LittleEndian.AppendUint64(raw, w)
		}
		if s, ok := interned[string(raw)]; ok {
			return s
		}
		s := slices.Clone(current)
		interned[string(raw)] = s
		return s
	}
	out := segments{starts: []addrKey{{}}, sets: []bitset{nil}}
	for i := 0; i < len(edges); {
		at := edges[i].at
		for ; i < len(edges) && edges[i].at == at; i++ {
			if edges[i].open {
				current.set(edges[i].owner)
			} else {
				current.clear(edges[i].owner)
			}
		}
		if at == (addrKey{}) {
			out.sets[0] = intern()
			continue
		}
		out.starts = append(out.starts, at)
		out.sets = append(out.sets, intern())
	}
	return out
}
