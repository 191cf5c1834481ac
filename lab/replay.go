package lab

import (
	"runtime"
	"testing"
	"testing/cryptotest"
)

// Replayable makes the worlds of a test that has no parallel parts as repeatable as they
// can be: what the programs draw from crypto/rand comes from the seed, and goroutines take
// turns on one processor. See the package comment for what remains.
func Replayable(t *testing.T, seed uint64) {
	t.Helper()
	cryptotest.SetGlobalRandom(t, seed)
	before := runtime.GOMAXPROCS(1)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
}
