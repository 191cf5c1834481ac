package control

import "net/netip"

// FilterRule lets new inbound flows from SrcIPs through to DstPorts, or gives
// capabilities to SrcIPs; never both in one rule (section 6.8).
type FilterRule struct {
	// SrcIPs entries are an address, a prefix without host bits, "a-b", "*" for
	// both families, or "cap:" and a node capability.
	SrcIPs []string
	// SrcBits must not be sent: a node drops the whole filter for it.
	SrcBits  []int          `json:",omitempty"`
	DstPorts []NetPortRange `json:",omitempty"`
	// IPProto are IP protocol numbers; none means TCP, UDP and both ICMPs.
	IPProto  []int      `json:",omitempty"`
	CapGrant []CapGrant `json:",omitempty"`
}

// NetPortRange is a destination and its ports.
type NetPortRange struct {
	// IP has the forms of FilterRule.SrcIPs but "cap:".
	IP string
	// Bits must not be sent: a node drops the whole filter for it.
	Bits  *int `json:",omitempty"`
	Ports PortRange
}

// PortRange is the ports First to Last, both included.
type PortRange struct {
	First, Last uint16
}

// AllPorts is every port.
var AllPorts = PortRange{First: 0, Last: 65535}

// Contains reports whether port is in the range.
func (r PortRange) Contains(port uint16) bool { return r.First <= port && port <= r.Last }

// CapGrant gives the sources of its rule capabilities towards Dsts.
type CapGrant struct {
	Dsts []netip.Prefix
	// Caps is deprecated for CapMap.
	Caps   []PeerCapability `json:",omitempty"`
	CapMap PeerCapMap       `json:",omitempty"`
}
