// Package portmap asks the machine's gateway to let the world in: for a UDP port on its
// external IPv4 address, by NAT-PMP (RFC 6886), PCP (RFC 6887) or UPnP IGD 1 and 2, and
// for a hole in its IPv6 firewall, by PCP. See wire document paths, section 17.
//
// A Mapper is told which local ports are to be reachable and brings the gateway to that,
// again and again: it finds out which protocols the gateway speaks by asking in all of
// them at once, keeps the first good mapping, renews it at half its lifetime, notices that
// the gateway has restarted, and takes the mapping back when it is not wanted any more. A
// network without such a gateway costs a few packets after each change of the network,
// and then fewer and fewer.
//
// # What is believed
//
// Gateways are the least reliable programs on the Internet, and whoever is on the same
// network can pretend to be one. So only answers from the gateway's own address count,
// devices are asked at no other address, and all that they send is bounded. What a gateway
// grants must make sense. An external address that is itself behind a NAT is kept, since
// peers behind that NAT can use it, but marked as such.
//
// # How it works
//
// One goroutine owns all state: a session per address family, which is a gateway, our
// address and a port. A session has at most one round under way: a race of all protocols,
// the renewal of its mapping, or the check that the mapping is still there. Sockets are
// read, and UPnP's HTTP is spoken, by other goroutines, which hand what they got to the
// first.
package portmap
