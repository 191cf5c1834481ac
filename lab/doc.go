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
// failed prints its seed and its last packets; the same seed makes the same network
// again, with the same losses and port numbers at the same times. What the programs
// choose by themselves (keys, transaction IDs, the order of a select) is drawn by the Go
// runtime and may differ, which seldom matters for the outcome and shows in the sum of
// Network.Packets when it does.
//
// The package is for tests; programs do not import it. What is simulated stands in package
// vnet, the same scenarios in real network namespaces in e2e.
package lab
