package jitter

import (
	"testing"
	"testing/cryptotest"
	"time"
)

func TestBoundsAndRepetition(t *testing.T) {
	draw := func() (list [100]time.Duration) {
		cryptotest.SetGlobalRandom(t, 7)
		for i := range list {
			list[i] = Around(time.Second)
			if d := list[i]; d < time.Second/2 || d >= 3*time.Second/2 {
				t.Fatalf("%v is not around a second", d)
			}
		}
		return list
	}
	first := draw()
	if first != draw() {
		t.Error("the same seed gave other delays")
	}
	if first[0] == first[1] && first[1] == first[2] {
		t.Error("always the same delay")
	}
	if d := Below(0); d != 0 {
		t.Errorf("below nothing: %v", d)
	}
	var order []int
	for range 3 {
		order = append(order, len(order))
	}
	sum := 0
	Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	for _, x := range order {
		sum += 1 << x
	}
	if sum != 7 {
		t.Errorf("shuffled into %v", order)
	}
}
