//go:build linux

package join

import "testing"

func TestSummarizeCountsLostPings(t *testing.T) {
	r := &result{Rounds: []round{{Up: 10, Total: 20, Answered: true}, {Up: 30}, {Up: 20, Total: 40, Answered: true}}}
	r.summarize()
	if r.Lost != 1 || r.Up.Median != 20 || r.Total.Median != 30 || r.Total.P99 != 40 {
		t.Errorf("summary %+v", r)
	}
	if len(r.Bars) != 2 || r.Bars[0].Met || !r.Bars[1].Met {
		t.Errorf("bars %v", r.Bars)
	}
}

func TestSummarizeNothingAnswered(t *testing.T) {
	r := &result{Rounds: []round{{Up: 10}}}
	r.summarize()
	if r.Lost != 1 || len(r.Bars) != 1 || r.Bars[0].Met {
		t.Errorf("summary %+v", r)
	}
}
