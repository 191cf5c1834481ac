package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/wire/control"
)

// printReport prints a report in the wanted format.
func (a *app) printReport(f netcheckFlags, r *api.NetcheckReport, regions *control.DERPMap) error {
	switch f.format {
	case "json":
		text, err := json.MarshalIndent(r, "", "\t")
		if err != nil {
			return fmt.Errorf("netcheck: %w", err)
		}
		return a.print("%s\n", text)
	case "json-line":
		text, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("netcheck: %w", err)
		}
		return a.print("%s\n", text)
	}
	return a.print("%s", reportText(r, regions, f.verbose))
}

// reportText describes a report for people.
func reportText(r *api.NetcheckReport, regions *control.DERPMap, verbose bool) string {
	var b strings.Builder
	line := func(name string, value any) { fmt.Fprintf(&b, "\t* %s: %v\n", name, value) }
	b.WriteString("\nReport:\n")
	line("Time", r.Now.UTC().Format("2006-01-02 15:04:05.999999999Z"))
	line("UDP", r.UDP)
	line("IPv4", familyText(r.GlobalV4, "(no addr found)"))
	line("IPv6", familyText(r.GlobalV6, noIPv6(r)))
	line("MappingVariesByDestIP", optText(r.MappingVariesByDestIP))
	line("PortMapping", portMapping(r))
	if r.CaptivePortal != control.Unset {
		line("CaptivePortal", optText(r.CaptivePortal))
	}
	line("Nearest DERP", nearest(r, regions))
	if len(r.RegionLatency) > 0 {
		b.WriteString("\t* DERP latency:\n")
		for _, id := range byLatency(r, regions) {
			b.WriteString(latencyLine(r, regions.Regions[id], id, verbose))
		}
	}
	return b.String()
}

// familyText describes the public address of a family, or says what is missing.
func familyText(global netip.AddrPort, without string) string {
	if global.IsValid() {
		return "yes, " + global.String()
	}
	return without
}

// noIPv6 says why there is no public IPv6 address.
func noIPv6(r *api.NetcheckReport) string {
	switch {
	case r.IPv6:
		return "(no addr found)"
	case r.OSHasIPv6:
		return "no, but OS has support"
	}
	return "no, unavailable in OS"
}

// optText returns a tri-state boolean; unset is empty.
func optText(o control.OptBool) string {
	switch o {
	case control.True:
		return "true"
	case control.False:
		return "false"
	}
	return ""
}

// portMapping lists the port mapping protocols that a router offers.
func portMapping(r *api.NetcheckReport) string {
	if r.UPnP == control.Unset && r.PMP == control.Unset && r.PCP == control.Unset {
		return "not checked"
	}
	var names []string
	for _, p := range []struct {
		name string
		has  control.OptBool
	}{{"UPnP", r.UPnP}, {"NAT-PMP", r.PMP}, {"PCP", r.PCP}} {
		if p.has == control.True {
			names = append(names, p.name)
		}
	}
	return strings.Join(names, ", ")
}

// nearest names the nearest region.
func nearest(r *api.NetcheckReport, regions *control.DERPMap) string {
	switch {
	case len(r.RegionLatency) == 0:
		return "unknown (no response to latency probes)"
	case r.PreferredDERP == 0:
		return "[none]"
	case regions.Regions[r.PreferredDERP] == nil:
		return fmt.Sprintf("region %d", r.PreferredDERP)
	}
	return regions.Regions[r.PreferredDERP].RegionName
}

// byLatency returns the regions' IDs, nearest first and those without answer last.
func byLatency(r *api.NetcheckReport, regions *control.DERPMap) []int {
	ids := make([]int, 0, len(regions.Regions))
	for id := range regions.Regions {
		ids = append(ids, id)
	}
	const never = time.Duration(1<<63 - 1)
	of := func(id int) time.Duration {
		if d, ok := r.RegionLatency[id]; ok {
			return d
		}
		return never
	}
	slices.SortFunc(ids, func(a, b int) int { return cmp.Or(cmp.Compare(of(a), of(b)), cmp.Compare(a, b)) })
	return ids
}

// latencyLine returns the line of one region.
func latencyLine(r *api.NetcheckReport, region *control.DERPRegion, id int, verbose bool) string {
	text := ""
	if d, ok := r.RegionLatency[id]; ok {
		text = d.Round(time.Millisecond / 10).String()
	}
	number := ""
	if verbose {
		number = fmt.Sprintf("derp%d, ", id)
	}
	return fmt.Sprintf("\t\t- %3s: %-7s (%s%s)\n", region.RegionCode, text, number, region.RegionName)
}
