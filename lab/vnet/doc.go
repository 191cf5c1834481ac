// Package vnet is an internet in memory: hosts, links, routers and address translators
// that carry UDP, TCP and ICMP between programs of one process, on the clock of a
// testing/synctest bubble. A second of it costs what its packets cost, and a network of
// one seed makes the same choices every time.
//
// Programs meet it at the edge where they would meet the operating system: a Host opens
// UDP sockets and TCP streams, lists its interfaces, resolves names, and tells when its
// network changes. Nothing above that edge knows that it is not real.
//
// # How time passes
//
// A network owns a queue of events. No two of them share an instant: the second of two
// falls one nanosecond later. Since the clock of a bubble stands still until every
// goroutine waits for something, each event is worked off completely before the next one
// happens. What programs send at one instant is put into an order of its own first, so
// that the order in which goroutines happened to run does not matter.
//
// Chance (loss, jitter, port numbers) is drawn by hashing the seed with what it is drawn
// for and a count, not from one stream: one packet more on one link leaves the luck of
// all others as it was.
//
// # What it is not
//
// TCP here is a reliable stream with windows, loss recovery and resets, as much as
// decides what middleboxes do to it; it is not a model of congestion control. There is
// no routing protocol, no ARP, and no fragmentation: a packet that is too large is
// dropped and, if the sender's network says so, reported.
package vnet
