package netcheck

import (
	"cmp"
	"slices"
	"time"

	"github.com/ginnel/ginnel/wire/control"
)

// Timing of wire document paths, section 15.1.
const (
	reportTimeout     = 5 * time.Second
	stunTimeout       = 3 * time.Second
	httpsAfter        = time.Second // without any STUN answer, HTTPS is tried from then on
	fullInterval      = 5 * time.Minute
	historyLength     = fullInterval + 5*time.Second
	fullRetransmit    = 100 * time.Millisecond
	defaultRetransmit = 200 * time.Millisecond
	enoughRegions     = 3
	leastGrace        = 50 * time.Millisecond // for others after enough regions answered
)

// probe is one STUN request to send.
type probe struct {
	node  *control.DERPNode
	delay time.Duration // since the start of the check
}

// probeSet are the tries for one region over one family, in the order of their delays.
// An answer to one makes the rest unnecessary.
type probeSet struct {
	region int
	ipv6   bool
	probes []probe
}

// families says which address families the node has.
type families struct{ ipv4, ipv6 bool }

// list returns the families as values of probeSet.ipv6.
func (f families) list() (list []bool) {
	if f.ipv4 {
		list = append(list, false)
	}
	if f.ipv6 {
		list = append(list, true)
	}
	return list
}

// measurable reports whether a region is to be measured at all.
func measurable(r *control.DERPRegion) bool {
	return r != nil && !r.NoMeasureNoHome && len(r.Nodes) > 0
}

// sortedRegions returns the regions for which keep holds, by number.
func sortedRegions(m *control.DERPMap, keep func(*control.DERPRegion) bool) []*control.DERPRegion {
	var list []*control.DERPRegion
	for _, r := range m.Regions {
		if r != nil && keep(r) {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b *control.DERPRegion) int { return cmp.Compare(a.RegionID, b.RegionID) })
	return list
}

// testNode reports whether a node is asked over all families whatever the interfaces.
func testNode(n *control.DERPNode) bool { return n.STUNTestIP != "" || n.IPv4 == "127.0.0.1" }

// familiesFor returns the families over which a region is asked.
func familiesFor(r *control.DERPRegion, have families) families {
	for _, n := range r.Nodes {
		if testNode(n) {
			return families{true, true}
		}
	}
	return have
}

// fullPlan asks every region three times (section 15.2).
func fullPlan(m *control.DERPMap, have families) (plan []probeSet) {
	for _, r := range sortedRegions(m, measurable) {
		for _, ipv6 := range familiesFor(r, have).list() {
			set := probeSet{region: r.RegionID, ipv6: ipv6}
			for try := range 3 {
				set.probes = append(set.probes, probe{
					node:  r.Nodes[try%len(r.Nodes)],
					delay: time.Duration(try) * fullRetransmit,
				})
			}
			plan = append(plan, set)
		}
	}
	return plan
}

// incrementalPlan asks the nearest regions of the last report and the home
// (section 15.3).
func incrementalPlan(m *control.DERPMap, have families, last *Report, home int) (plan []probeSet) {
	regions := sortedRegions(m, func(r *control.DERPRegion) bool {
		return measurable(r) && (!r.Avoid || r.RegionID == home)
	})
	slices.SortStableFunc(regions, func(a, b *control.DERPRegion) int {
		la, oka := last.RegionLatency[a.RegionID]
		lb, okb := last.RegionLatency[b.RegionID]
		switch {
		case oka && okb:
			return cmp.Compare(la, lb)
		case oka:
			return -1
		case okb:
			return 1
		}
		return 0
	})
	for rank, r := range regions {
		isHome := r.RegionID == home
		if rank >= enoughRegions && !isHome {
			continue
		}
		fam := familiesFor(r, have)
		tries := 1
		switch {
		case isHome:
			tries = 4
		case rank < 2:
			tries = 2
		case fam.ipv4 && fam.ipv6 && last.IPv4 && last.IPv6:
			fam = families{ipv4: rank%2 == 0, ipv6: rank%2 == 1}
		default:
			fam.ipv6 = fam.ipv6 && (last.IPv6 || !fam.ipv4)
		}
		for _, ipv6 := range fam.list() {
			plan = append(plan, retrySet(r, ipv6, tries, last))
		}
	}
	return plan
}

// retrySet spaces the tries of one region by what its latency was.
func retrySet(r *control.DERPRegion, ipv6 bool, tries int, last *Report) probeSet {
	if ipv6 && !last.IPv6 {
		tries = 1
	}
	gap := defaultRetransmit
	if d, ok := last.RegionLatency[r.RegionID]; ok {
		gap = d * 6 / 5
	}
	set := probeSet{region: r.RegionID, ipv6: ipv6}
	for try := range tries {
		delay := time.Duration(try) * gap
		if try > 1 {
			delay += time.Duration(try) * 50 * time.Millisecond
		}
		set.probes = append(set.probes, probe{node: r.Nodes[try%len(r.Nodes)], delay: delay})
	}
	return set
}
