package probing

import "time"

// budget allows probeBurst events at once and probeRate per second. The zero value is
// full.
type budget struct {
	full time.Time // when all is allowed again
}

// take reports whether an event is allowed now.
func (b *budget) take(now time.Time) bool {
	if b.full.Before(now) {
		b.full = now
	}
	next := b.full.Add(time.Second / probeRate)
	if next.Sub(now) > probeBurst*time.Second/probeRate {
		return false
	}
	b.full = next
	return true
}
