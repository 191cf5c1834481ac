// Package filter decides which packets may pass between the tunnel and a node.
//
// [Compile] turns the rules that the coordination server sent into an immutable
// [Program]; a [Filter] runs one Program at a time and remembers the flows that
// the node opened. Only inbound new flows are judged by rules: what the node
// sends out is judged by the receiver (wire document policy, section 7).
//
// The filter trusts the source address of an inbound packet, because the tunnel
// has already checked it against the sending peer's allowed addresses. It does
// no address translation and no logging; callers count and report.
package filter
