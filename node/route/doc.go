// Package route tells the operating system which traffic belongs to the mesh:
// the addresses of the tunnel interface, the routes through it, and the policy
// rules that lead to them (wire document node, sections 2.2 and 2.3).
//
// The wanted state is data, a [Config]. [Router.Apply] brings the system to it
// and may be repeated at any time. Every change is written to a journal on disk
// before it is made, so that [Cleanup] can undo it after a crash. What was there
// before, or was made by others, is never changed or removed; only the tunnel
// interface itself is treated as the node's own.
//
// It does not create the interface, touch the firewall, or configure names.
package route
