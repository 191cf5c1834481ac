package netcheck

import (
	"maps"
	"net/netip"
	"strconv"
	"time"

	"github.com/ginnel/ginnel/wire/control"
)

// Report is the outcome of a check.
type Report struct {
	Time time.Time // when it was made
	Full bool      // all regions were asked

	UDP                      bool // some STUN answer came
	IPv4, IPv6               bool // one came over that family
	IPv4CanSend, IPv6CanSend bool // a packet could be sent over that family
	OSHasIPv6                bool

	// MappingVariesByDestIP says whether the NAT gives another mapping for each
	// destination over IPv4. Unset with less than two answers.
	MappingVariesByDestIP control.OptBool
	UPnP, PMP, PCP        control.OptBool // unset: not checked

	// Home is the region to use as home relay, 0 if none was reached.
	Home int
	// RegionLatency is the lowest round trip by region, the others by family. Over
	// HTTPS if UDP is blocked.
	RegionLatency, RegionV4Latency, RegionV6Latency map[int]time.Duration

	// GlobalV4 is the first mapping seen over IPv4, GlobalV6 the last over IPv6; the
	// counters say how often each was seen.
	GlobalV4, GlobalV6                 netip.AddrPort
	GlobalV4Counters, GlobalV6Counters map[netip.AddrPort]int

	CaptivePortal control.OptBool

	firstServer netip.AddrPort // which saw GlobalV4
}

func newReport(now time.Time, full bool) *Report {
	return &Report{
		Time: now, Full: full,
		RegionLatency:    map[int]time.Duration{},
		RegionV4Latency:  map[int]time.Duration{},
		RegionV6Latency:  map[int]time.Duration{},
		GlobalV4Counters: map[netip.AddrPort]int{},
		GlobalV6Counters: map[netip.AddrPort]int{},
	}
}

// clone returns a copy that shares nothing.
func (r *Report) clone() *Report {
	c := *r
	c.RegionLatency = maps.Clone(r.RegionLatency)
	c.RegionV4Latency = maps.Clone(r.RegionV4Latency)
	c.RegionV6Latency = maps.Clone(r.RegionV6Latency)
	c.GlobalV4Counters = maps.Clone(r.GlobalV4Counters)
	c.GlobalV6Counters = maps.Clone(r.GlobalV6Counters)
	return &c
}

// addLatency notes a measurement.
func (r *Report) addLatency(region int, ipv6 bool, d time.Duration) {
	lower(r.RegionLatency, region, d)
	if ipv6 {
		lower(r.RegionV6Latency, region, d)
	} else {
		lower(r.RegionV4Latency, region, d)
	}
}

// lower sets m[region] to d unless it is lower already.
func lower(m map[int]time.Duration, region int, d time.Duration) {
	if old, ok := m[region]; !ok || d < old {
		m[region] = d
	}
}

// addMapping notes the address under which a STUN server saw us. It reports whether that
// is a new one.
func (r *Report) addMapping(server, addr netip.AddrPort) (isNew bool) {
	r.UDP = true
	if addr.Addr().Is6() {
		r.IPv6, r.GlobalV6 = true, addr
		r.GlobalV6Counters[addr]++
		return r.GlobalV6Counters[addr] == 1
	}
	r.IPv4 = true
	r.GlobalV4Counters[addr]++
	switch {
	case !r.GlobalV4.IsValid():
		r.GlobalV4, r.firstServer = addr, server
	case r.GlobalV4 != addr:
		r.MappingVariesByDestIP = control.True
	case r.MappingVariesByDestIP == control.Unset && server.Addr() != r.firstServer.Addr():
		// A second answer of one server would say nothing about others.
		r.MappingVariesByDestIP = control.False
	}
	return r.GlobalV4Counters[addr] == 1
}

// NetInfo returns the summary of the report that the coordination server gets.
func (r *Report) NetInfo() *control.NetInfo {
	n := &control.NetInfo{
		MappingVariesByDestIP: r.MappingVariesByDestIP,
		WorkingIPv6:           control.OptBoolOf(r.IPv6),
		OSHasIPv6:             control.OptBoolOf(r.OSHasIPv6),
		WorkingUDP:            control.OptBoolOf(r.UDP),
		UPnP:                  r.UPnP,
		PMP:                   r.PMP,
		PCP:                   r.PCP,
		PreferredDERP:         r.Home,
	}
	if len(r.RegionV4Latency)+len(r.RegionV6Latency) > 0 {
		n.DERPLatency = map[string]float64{}
	}
	for region, d := range r.RegionV4Latency {
		n.DERPLatency[strconv.Itoa(region)+"-v4"] = d.Seconds()
	}
	for region, d := range r.RegionV6Latency {
		n.DERPLatency[strconv.Itoa(region)+"-v6"] = d.Seconds()
	}
	return n
}
