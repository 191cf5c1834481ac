package netcheck

import (
	"time"

	"github.com/ginnel/ginnel/wire/control"
)

// Hysteresis of wire document paths, section 16.
const (
	homeHeardRecently = 8 * time.Second
	homeHeardLately   = 120 * time.Second
	homeMinGain       = 10 * time.Millisecond
)

// homeInput is what the choice of a home relay depends on.
type homeInput struct {
	report  *Report   // current, with latencies
	history []*Report // retained ones, without the current
	params  *control.DERPHomeParams
	old     int // current home, 0 if none
	// heard is when the last relay frame of the old home came, zero if never.
	heard time.Time
	// began is when the check began.
	began time.Time
	now   time.Time
}

// chooseHome returns the region to use as home relay, 0 if nothing was reached.
func chooseHome(in homeInput) int {
	best := bestLatencies(in)
	candidate := 0
	for region := range in.report.RegionLatency {
		if candidate == 0 || best[region] < best[candidate] || best[region] == best[candidate] && region < candidate {
			candidate = region
		}
	}
	if candidate == 0 {
		if in.old != 0 && !in.heard.IsZero() && in.now.Sub(in.heard) <= homeHeardLately {
			return in.old
		}
		return 0
	}
	if candidate == in.old || in.old == 0 {
		return candidate
	}
	oldNow, answered := in.report.RegionLatency[in.old]
	heard := !in.heard.IsZero() && (!in.heard.Before(in.began) || in.now.Sub(in.heard) <= homeHeardRecently)
	if !answered && !heard {
		return candidate
	}
	oldNow = scaled(in.params, in.old, oldNow)
	if !answered || oldNow-best[candidate] < homeMinGain || 3*best[candidate] > 2*oldNow {
		return in.old
	}
	return candidate
}

// bestLatencies returns the lowest latency of each region over the history, times its
// score.
func bestLatencies(in homeInput) map[int]time.Duration {
	best := map[int]time.Duration{}
	for _, r := range append([]*Report{in.report}, in.history...) {
		if in.now.Sub(r.Time) > historyLength {
			continue
		}
		for region, d := range r.RegionLatency {
			lower(best, region, scaled(in.params, region, d))
		}
	}
	return best
}

// scaled returns d times the score of a region.
func scaled(p *control.DERPHomeParams, region int, d time.Duration) time.Duration {
	if p == nil {
		return d
	}
	if score := p.RegionScore[region]; score > 0 {
		return time.Duration(float64(d) * score)
	}
	return d
}
