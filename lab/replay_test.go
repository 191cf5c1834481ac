package lab

import (
	"testing"
	"time"
)

// TestReplay runs a world again and again: the same seed makes the same packets at the
// same nanoseconds, another seed does not. Since a machine under load may take a processor
// from a goroutine at any time, which changes the order of what happens at one instant,
// one run of three has to be equal to others, not all.
func TestReplay(t *testing.T) {
	run := func(seed uint64) (sum uint64) {
		Replayable(t, seed)
		Run(t, seed, func(w *World) {
			x, y := w.Site("left", C3).Node("alice"), w.Site("right", H).Node("bob")
			w.Within(10*time.Second, "both are up", w.AllUp)
			w.Within(time.Second, "ping", x.Reaches(y))
			time.Sleep(10 * time.Second)
			_, sum = w.Packets()
		})
		return sum
	}
	const runs = 9
	count := map[uint64]int{}
	for range runs {
		count[run(1)]++
	}
	t.Logf("%d runs, packets and how often: %x", runs, count)
	most := 0
	for _, n := range count {
		most = max(most, n)
	}
	// On a busy machine the runtime interrupts a goroutine now and then, and two ways of
	// going on alternate; the race detector shuffles all.
	if most*3 < runs && !underRace {
		t.Errorf("of %d runs with one seed at most %d were equal", runs, most)
	}
	if _, same := count[run(2)]; same {
		t.Error("two seeds made the same packets at the same times")
	}
}
