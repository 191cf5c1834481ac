package netcheck

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ginnel/ginnel/wire/control"
)

const ms = time.Millisecond

// relayMap makes regions 1 to n with two nodes each.
func relayMap(n int) *control.DERPMap {
	m := &control.DERPMap{Regions: map[int]*control.DERPRegion{}}
	for id := 1; id <= n; id++ {
		m.Regions[id] = &control.DERPRegion{RegionID: id, RegionCode: fmt.Sprint("r", id), Nodes: []*control.DERPNode{
			{Name: fmt.Sprintf("%da", id), RegionID: id, HostName: "a.test", IPv4: fmt.Sprintf("192.0.2.%d", id), IPv6: fmt.Sprintf("2001:db8::%d", id)},
			{Name: fmt.Sprintf("%db", id), RegionID: id, HostName: "b.test", IPv4: fmt.Sprintf("198.51.100.%d", id), IPv6: fmt.Sprintf("2001:db8:1::%d", id)},
		}}
	}
	return m
}

// describe writes a plan as "region-family: node@delay node@delay; ...".
func describe(plan []probeSet) string {
	var sets []string
	for _, s := range plan {
		family := "v4"
		if s.ipv6 {
			family = "v6"
		}
		var probes []string
		for _, p := range s.probes {
			probes = append(probes, fmt.Sprintf("%s@%d", p.node.Name, p.delay.Milliseconds()))
		}
		sets = append(sets, fmt.Sprintf("%d-%s: %s", s.region, family, strings.Join(probes, " ")))
	}
	slices.Sort(sets)
	return strings.Join(sets, "; ")
}

func TestFullPlan(t *testing.T) {
	both, v4 := families{true, true}, families{ipv4: true}
	for _, c := range []struct {
		name  string
		tweak func(*control.DERPMap)
		have  families
		want  string
	}{
		{"dual stack", nil, both, "1-v4: 1a@0 1b@100 1a@200; 1-v6: 1a@0 1b@100 1a@200"},
		{"IPv4 only", nil, v4, "1-v4: 1a@0 1b@100 1a@200"},
		{"no measure", func(m *control.DERPMap) { m.Regions[1].NoMeasureNoHome = true }, both, ""},
		{"avoid is still asked", func(m *control.DERPMap) { m.Regions[1].Avoid = true }, v4, "1-v4: 1a@0 1b@100 1a@200"},
		{"test node", func(m *control.DERPMap) {
			m.Regions[1].Nodes = m.Regions[1].Nodes[:1]
			m.Regions[1].Nodes[0].STUNTestIP = "127.0.0.1"
		},
			families{}, "1-v4: 1a@0 1a@100 1a@200; 1-v6: 1a@0 1a@100 1a@200"},
		{"no node", func(m *control.DERPMap) { m.Regions[1].Nodes = nil }, both, ""},
		{"no family", nil, families{}, ""},
	} {
		m := relayMap(1)
		if c.tweak != nil {
			c.tweak(m)
		}
		if got := describe(fullPlan(m, c.have)); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestIncrementalPlan(t *testing.T) {
	last := newReport(time.Time{}, true)
	last.IPv4, last.IPv6 = true, true
	last.RegionLatency = map[int]time.Duration{1: 50 * ms, 2: 10 * ms, 3: 20 * ms, 4: 100 * ms, 5: 90 * ms}
	only4 := last.clone()
	only4.IPv6 = false
	both, v4 := families{true, true}, families{ipv4: true}
	for _, c := range []struct {
		name string
		have families
		last *Report
		home int
		want string
	}{
		{"home is the nearest", both, last, 2, "1-v4: 1a@0; 2-v4: 2a@0 2b@12 2a@124 2b@186; 2-v6: 2a@0 2b@12 2a@124 2b@186; 3-v4: 3a@0 3b@24; 3-v6: 3a@0 3b@24"},
		{"home is far", v4, only4, 4, "1-v4: 1a@0; 2-v4: 2a@0 2b@12; 3-v4: 3a@0 3b@24; 4-v4: 4a@0 4b@120 4a@340 4b@510"},
		{"IPv6 did not work", both, only4, 2, "1-v4: 1a@0; 2-v4: 2a@0 2b@12 2a@124 2b@186; 2-v6: 2a@0; 3-v4: 3a@0 3b@24; 3-v6: 3a@0"},
	} {
		if got := describe(incrementalPlan(relayMap(5), c.have, c.last, c.home)); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
	m := relayMap(5)
	m.Regions[2].NoMeasureNoHome, m.Regions[3].Avoid = true, true
	if got := describe(incrementalPlan(m, v4, only4, 1)); strings.Contains(got, "2-") || strings.Contains(got, "3-") {
		t.Errorf("regions not to be measured are: %s", got)
	}
}

func TestChooseHome(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	report := func(age time.Duration, list ...time.Duration) *Report {
		r := newReport(now.Add(-age), true)
		for i, d := range list {
			if d > 0 {
				r.RegionLatency[i+1] = d
			}
		}
		return r
	}
	for _, c := range []struct {
		name string
		in   homeInput
		want int
	}{
		{"first", homeInput{report: report(0, 50*ms, 20*ms)}, 2},
		{"nothing answered", homeInput{report: report(0)}, 0},
		{"nothing answered, home heard lately", homeInput{report: report(0), old: 1, heard: now.Add(-time.Minute)}, 1},
		{"nothing answered, home silent", homeInput{report: report(0), old: 1, heard: now.Add(-3 * time.Minute)}, 0},
		{"9 ms better", homeInput{report: report(0, 29*ms, 20*ms), old: 1}, 1},
		{"10 ms better, over 2/3", homeInput{report: report(0, 40*ms, 30*ms), old: 1}, 1},
		{"10 ms better, at 2/3", homeInput{report: report(0, 30*ms, 20*ms), old: 1}, 2},
		{"11 ms better, under 2/3", homeInput{report: report(0, 31*ms, 20*ms), old: 1}, 2},
		{"much better", homeInput{report: report(0, 100*ms, 20*ms), old: 1}, 2},
		{"old is gone", homeInput{report: report(0, 0, 20*ms), old: 1}, 2},
		{"old did not answer but was heard", homeInput{report: report(0, 0, 20*ms), old: 1, heard: now.Add(-5 * time.Second)}, 1},
		{"old was heard too long ago", homeInput{report: report(0, 0, 20*ms), old: 1, heard: now.Add(-9 * time.Second)}, 2},
		{"old was better before", homeInput{report: report(0, 80*ms, 30*ms), history: []*Report{report(time.Minute, 10*ms, 30*ms)}}, 1},
		{"history too old", homeInput{report: report(0, 80*ms, 30*ms), history: []*Report{report(time.Hour, 10*ms, 30*ms)}}, 2},
		{"candidate must answer now", homeInput{report: report(0, 80*ms), history: []*Report{report(time.Minute, 80*ms, 5*ms)}}, 1},
		{"score attracts", homeInput{report: report(0, 50*ms, 40*ms), params: &control.DERPHomeParams{RegionScore: map[int]float64{1: 0.5}}}, 1},
		{"score zero is ignored", homeInput{report: report(0, 50*ms, 40*ms), params: &control.DERPHomeParams{RegionScore: map[int]float64{1: 0}}}, 2},
		{"tie", homeInput{report: report(0, 40*ms, 40*ms)}, 1},
	} {
		c.in.now, c.in.began = now, now.Add(-time.Second)
		if got := chooseHome(c.in); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
