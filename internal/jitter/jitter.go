// Package jitter draws the random parts of delays and the order of what is tried. It draws
// from crypto/rand, which is fast enough for that and which tests can make repeatable
// (testing/cryptotest), other than the generators of math/rand.
package jitter

import (
	"crypto/rand"
	"encoding/binary"
	mathrand "math/rand/v2"
	"time"
)

// source is safe for concurrent use.
type source struct{}

func (source) Uint64() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}

// rng has no state of its own.
var rng = mathrand.New(source{})

// Below returns a duration in [0, d), 0 if d is not positive.
func Below(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(rng.Int64N(int64(d)))
}

// Around returns a duration in [d/2, 3d/2).
func Around(d time.Duration) time.Duration { return d/2 + Below(d) }

// Shuffle puts n elements into a random order.
func Shuffle(n int, swap func(i, j int)) { rng.Shuffle(n, swap) }
