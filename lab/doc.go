// Package lab runs whole tailnets in a virtual internet: the real server, real relays
// and real nodes, in one process, on a fake clock.
//
// A test describes places and who is there, lets things happen, and says what is to be
// true within which time:
//
//	lab.Run(t, 1, func(w *lab.World) {
//		alice := w.Site("home", lab.C3).Node("alice")
//		bob := w.Site("office", lab.H).Node("bob")
//		w.Within(time.Second, "all are up", w.AllUp)
//		w.Within(500*time.Millisecond, "direct", alice.DirectTo(bob))
//	})
//
// Nothing sleeps for real: an hour of a quiet tailnet takes milliseconds. A world that
// failed prints its seed and its last packets; GINNEL_LAB_SEED gives the seed to the next
// run, GINNEL_LAB_LOG prints the programs' logs and GINNEL_LAB_TRACE=FILE writes every
// packet, to compare two runs.
//
// # What a seed repeats
//
// Always: the network itself. Losses, delays, port numbers and the scenarios of TestRandom
// depend on the seed alone, and what several programs, or several sockets of one, send at
// one instant goes out in an order of its own.
//
// In a test without parallel parts that calls [Replayable], also what the programs draw:
// keys, nonces, transaction IDs and the jitter of their timers come from the seed, and
// goroutines take turns on one processor. Two runs then send the same packets at the same
// nanoseconds, which TestReplay checks, for as long as none of the following matters:
// which of several ready cases a select takes, the order in which a map is walked, the
// moment at which the Go runtime takes the processor from a goroutine (a loaded machine,
// a slow disk under the server's database; files are in /dev/shm where there is one), and
// the race detector, which shuffles goroutines on purpose. A world of a few nodes mostly
// repeats to the byte; the long and crowded ones of TestRandom do for seconds up to a
// minute of their time and then differ in some packets, seldom in how they end. So play a
// failing seed more than once before believing that it is repaired.
//
// Without Replayable, as in parallel tests, only the first paragraph holds.
//
// The package is for tests; programs do not import it. What is simulated stands in package
// vnet, the same scenarios in real network namespaces in e2e.
package lab
