package path

import (
	"net/netip"

	"github.com/ginnel/ginnel/wire/control"
)

// PortMapping is what gateways do for the node's sockets.
type PortMapping struct {
	// External is the address from which the gateway forwards to the IPv4 socket, not
	// valid for none. Behind a second translator, which DoubleNAT says, it is of use
	// only to those who are behind that one too.
	External  netip.AddrPort
	DoubleNAT bool
	// Pinhole is the node's own IPv6 address for which the gateway's firewall is open.
	Pinhole netip.AddrPort
	// UPnP, PMP and PCP say which protocols the gateway speaks.
	UPnP, PMP, PCP control.OptBool
}

// SetPortMapping tells what gateways do now. Peers hear of new addresses by the
// coordination server and by the next call-me-maybe.
func (e *Engine) SetPortMapping(m PortMapping) {
	e.post(func() {
		if e.loop.self.portmap == m {
			return
		}
		e.loop.self.portmap = m
		if e.loop.cfg.PrivateKey.IsZero() {
			return
		}
		e.setEndpoints()
		e.tellNetInfo()
	})
}

// addTo adds the addresses to the front of endpoints, or, if front is not set, those of
// little use to the end.
func (m *PortMapping) addTo(front bool, add func(netip.AddrPort, control.EndpointType)) {
	if m.DoubleNAT != front {
		add(m.External, control.EndpointPortMapped)
	}
	if front {
		add(m.Pinhole, control.EndpointPortMapped)
	}
}

// describe adds what is known of gateways to the summary for the coordination server.
func (m *PortMapping) describe(info *control.NetInfo) {
	info.UPnP, info.PMP, info.PCP = m.UPnP, m.PMP, m.PCP
}
