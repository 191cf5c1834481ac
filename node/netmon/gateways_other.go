//go:build !linux

package netmon

// systemGateways guesses: without the system's routes, the IPv4 gateway is taken to be
// the first address of the network that leads out, which it mostly is at homes.
func systemGateways(s *State) (g Gateways) {
	self := source("192.0.2.1:9")
	name := owner(s, self)
	if name == "" {
		return g
	}
	for _, p := range s.Interfaces[name].Addrs {
		if first := p.Masked().Addr().Next(); p.Addr() == self && first != self {
			g.V4 = Gateway{Addr: first, Self: self, Interface: name}
		}
	}
	return g
}
