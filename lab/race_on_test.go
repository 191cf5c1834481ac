//go:build race

package lab

// underRace says that the race detector watches, which is slow and has a limit on
// goroutines.
const underRace = true
