package node

import (
	"context"
	"crypto/sha256"
	"net"
	"net/netip"

	"github.com/ginnel/ginnel/node/netmon"
	"github.com/ginnel/ginnel/node/path"
	"github.com/ginnel/ginnel/node/portmap"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// portMapping keeps ports on the gateway open for the node's UDP sockets.
type portMapping struct {
	mapper *portmap.Mapper
	engine *path.Engine
}

// newPortMapping starts it, wanting nothing.
func newPortMapping(o planeOptions, engine *path.Engine, tunnel string, mark bool) *portMapping {
	m := &portMapping{engine: engine}
	opts := portmap.Options{
		Logger: o.Logger.With("part", "portmap"), Secret: portMappingSecret(o.machine),
		Gateways: o.System.Gateways, ListenPacket: o.System.ListenFrom, Dial: o.System.Dial, OnChange: m.changed,
	}
	if opts.Gateways == nil {
		opts.Gateways = func() (netmon.Gateways, error) { return netmon.SystemGateways(tunnel) }
	}
	if o.System.ListenFrom != nil { // nobody announces anything there
		opts.ListenAnnouncements = func(string) (net.PacketConn, error) { return nil, errNoAnnouncements }
	}
	if mark {
		markPortMapping(&opts)
	}
	m.mapper = portmap.New(opts)
	return m
}

// errNoAnnouncements is the error of listening to gateways where that is not simulated.
var errNoAnnouncements = net.UnknownNetworkError("announcements")

// markPortMapping keeps what goes to gateways out of the tunnel.
func markPortMapping(o *portmap.Options) {
	if o.ListenPacket == nil {
		lc := net.ListenConfig{Control: markBypass}
		o.ListenPacket = func(network string, local netip.Addr) (net.PacketConn, error) {
			return lc.ListenPacket(context.Background(), network, netip.AddrPortFrom(local, 0).String())
		}
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{Control: markBypass}).DialContext
	}
}

// portMappingSecret returns a secret by which mappings of an earlier run are this node's.
func portMappingSecret(k key.MachinePrivate) []byte {
	if k.IsZero() {
		return nil
	}
	text, err := k.MarshalText()
	if err != nil {
		return nil
	}
	sum := sha256.Sum256(append([]byte("ginnel port mapping "), text...))
	return sum[:]
}

// changed tells the paths what gateways do.
func (m *portMapping) changed(s portmap.State) {
	m.engine.SetPortMapping(path.PortMapping{
		External: s.External, DoubleNAT: s.DoubleNAT, Pinhole: s.Pinhole,
		UPnP: s.Services.UPnP, PMP: s.Services.PMP, PCP: s.Services.PCP,
	})
}

// want makes the engine's ports of now the ones to keep open, none while the node is not
// to be reached. Without a network nobody is asked.
func (m *portMapping) want(on, down bool, self *control.Node) {
	w := portmap.Want{Down: down}
	if on && !self.HasCap(control.AttrOnlyTCP443) {
		w.Port4, w.Port6 = m.engine.LocalPorts()
		w.NoUPnP = self.HasCap(control.AttrDisableUPnP)
	}
	m.mapper.Set(w)
}

// close gives the ports back.
func (m *portMapping) close() { m.mapper.Close() }
