package api

import (
	"net/netip"
	"time"

	"github.com/ginnel/ginnel/wire/control"
)

// NetcheckReport is what the node found out about its network (wire document cli,
// section 3.4). Latencies are in nanoseconds in JSON.
type NetcheckReport struct {
	Now time.Time
	// UDP says that any UDP round trip worked; IPv6 and IPv4 that one of the
	// family did; the CanSend ones that sending one did not fail.
	UDP         bool
	IPv6        bool
	IPv4        bool
	IPv6CanSend bool
	IPv4CanSend bool
	OSHasIPv6   bool
	ICMPv4      bool
	// MappingVariesByDestIP is the mark of a hard NAT.
	MappingVariesByDestIP control.OptBool
	UPnP                  control.OptBool
	PMP                   control.OptBool
	PCP                   control.OptBool
	// PreferredDERP is the nearest region, zero for none.
	PreferredDERP   int
	RegionLatency   map[int]time.Duration
	RegionV4Latency map[int]time.Duration
	RegionV6Latency map[int]time.Duration
	// GlobalV4Counters count how often each public address was seen.
	GlobalV4Counters map[netip.AddrPort]int
	GlobalV6Counters map[netip.AddrPort]int
	GlobalV4         netip.AddrPort
	GlobalV6         netip.AddrPort
	CaptivePortal    control.OptBool
}
