package route

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// Table is the routing table for the mesh (wire document node, section 0).
const Table = 52

// Marks of packets (wire document node, section 0). The node's own sockets mark
// their packets with MarkBypass so that they avoid the tunnel.
const (
	MarkMask   = 0xff0000
	MarkBypass = 0x80000
)

const (
	tableMain    = 254
	tableDefault = 253

	// protocol marks routes and rules as made by us. The number is assigned to
	// nobody in the kernel's list.
	protocol = 103
)

// Config is the wanted state. The zero value wants nothing.
type Config struct {
	// Device is the name of the tunnel interface; empty for nothing at all.
	Device string
	// MTU of the interface in bytes; 0 leaves it.
	MTU int
	// Addrs are the interface's own addresses, in general single ones.
	Addrs []netip.Prefix
	// Routes lead into the tunnel.
	Routes []netip.Prefix
	// LocalRoutes keep their usual ways even where Routes cover them.
	LocalRoutes []netip.Prefix
}

func (c Config) validate() error {
	if c.Device == "" {
		return nil
	}
	for _, list := range [][]netip.Prefix{c.Addrs, c.Routes, c.LocalRoutes} {
		for _, p := range list {
			if !p.IsValid() || p.Addr().Is4In6() {
				return fmt.Errorf("routing configuration: invalid prefix %v", p)
			}
		}
	}
	if c.MTU < 0 || c.MTU > 65535 {
		return fmt.Errorf("routing configuration: MTU %d is out of range", c.MTU)
	}
	return nil
}

// kind says what an object is.
type kind string

const (
	kindLink  kind = "link"
	kindAddr  kind = "addr"
	kindRoute kind = "route"
	kindRule  kind = "rule"
)

// object is one thing in the kernel that we make. Objects are compared with ==
// and written to the journal, so a field's meaning never changes.
type object struct {
	Kind kind `json:"kind"`
	// Index of the interface: link, addr, and route other than throw.
	Index uint32 `json:"index,omitempty"`
	// Prefix: addr and route.
	Prefix netip.Prefix `json:"prefix,omitzero"`
	// Table: route and rule; 0 for an unreachable rule.
	Table uint32 `json:"table,omitempty"`
	// Throw marks a route that ends the search of its table.
	Throw bool `json:"throw,omitempty"`
	// V6, Priority, Mark: rule. Mark is matched under MarkMask; 0 matches all.
	V6       bool   `json:"v6,omitempty"`
	Priority uint32 `json:"priority,omitempty"`
	Mark     uint32 `json:"mark,omitempty"`
	// Up and MTU: link, its state before we changed it.
	Up  bool   `json:"up,omitempty"`
	MTU uint32 `json:"mtu,omitempty"`
}

// String describes the object for logs and errors.
func (o object) String() string {
	switch o.Kind {
	case kindAddr:
		return fmt.Sprintf("address %v on interface %d", o.Prefix, o.Index)
	case kindRoute:
		if o.Throw {
			return fmt.Sprintf("throw route %v in table %d", o.Prefix, o.Table)
		}
		return fmt.Sprintf("route %v in table %d", o.Prefix, o.Table)
	case kindRule:
		family := 4
		if o.V6 {
			family = 6
		}
		return fmt.Sprintf("IPv%d rule %d", family, o.Priority)
	}
	return fmt.Sprintf("state of interface %d", o.Index)
}

// support says what the system can do.
type support struct {
	v6             bool // IPv6 works, also on the interface
	rules4, rules6 bool // policy rules exist for the family
}

// rulePriorities are those of the four rules, in the order of their use.
const (
	priorityMain        = 5210
	priorityDefault     = 5230
	priorityUnreachable = 5250
	priorityMesh        = 5270
)

// rules returns the policy rules of a family. The node's own packets try the
// ordinary tables and then fail; everyone else's look into ours first.
func rules(v6 bool) []object {
	return []object{
		{Kind: kindRule, V6: v6, Priority: priorityMain, Mark: MarkBypass, Table: tableMain},
		{Kind: kindRule, V6: v6, Priority: priorityDefault, Mark: MarkBypass, Table: tableDefault},
		{Kind: kindRule, V6: v6, Priority: priorityUnreachable, Mark: MarkBypass},
		{Kind: kindRule, V6: v6, Priority: priorityMesh, Table: Table},
	}
}

// plan returns the objects that c wants, in the order in which to make them:
// addresses, exceptions before what they except, and the rules that put it all
// into force last.
func plan(c Config, index uint32, s support) []object {
	if c.Device == "" {
		return nil
	}
	usable := func(p netip.Prefix) bool { return p.Addr().Is4() || s.v6 }
	policy := func(p netip.Prefix) bool {
		if p.Addr().Is4() {
			return s.rules4
		}
		return s.rules6
	}
	routes := masked(c.Routes)
	var out []object
	for _, p := range sorted(c.Addrs) {
		if usable(p) {
			out = append(out, object{Kind: kindAddr, Index: index, Prefix: p})
		}
	}
	for _, p := range sorted(masked(c.LocalRoutes)) {
		if usable(p) && policy(p) && !slices.Contains(routes, p) {
			out = append(out, object{Kind: kindRoute, Prefix: p, Table: Table, Throw: true})
		}
	}
	for _, p := range sorted(routes) {
		if !usable(p) {
			continue
		}
		table := uint32(Table)
		if !policy(p) {
			table = tableMain
		}
		out = append(out, object{Kind: kindRoute, Index: index, Prefix: p, Table: table})
	}
	if s.rules4 {
		out = append(out, rules(false)...)
	}
	if s.v6 && s.rules6 {
		out = append(out, rules(true)...)
	}
	return out
}

func masked(ps []netip.Prefix) []netip.Prefix {
	out := make([]netip.Prefix, len(ps))
	for i, p := range ps {
		out[i] = p.Masked()
	}
	return out
}

// sorted returns ps in a fixed order without duplicates.
func sorted(ps []netip.Prefix) []netip.Prefix {
	out := slices.Clone(ps)
	slices.SortFunc(out, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	return slices.Compact(out)
}
