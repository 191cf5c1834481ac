package netmon

import "golang.org/x/sys/unix"

// systemGateways reads the default routes of the main table.
func systemGateways(s *State) (g Gateways) {
	if name, gw := defaultRoute(unix.AF_INET, s); gw.IsValid() {
		g.V4 = Gateway{Addr: gw.Unmap(), Self: s.Interfaces[name].self4(gw.Unmap()), Interface: name}
	}
	if name, gw := defaultRoute(unix.AF_INET6, s); gw.IsValid() {
		if gw.IsLinkLocalUnicast() {
			gw = gw.WithZone(name)
		}
		g.V6 = Gateway{Addr: gw, Self: s.Interfaces[name].self6(), Interface: name}
	}
	return g
}
