package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"log/slog"

	"github.com/ginnel/ginnel/filter"
	"github.com/ginnel/ginnel/internal/packet"
	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/node/netcheck"
	"github.com/ginnel/ginnel/node/netmon"
	"github.com/ginnel/ginnel/node/netstack"
	"github.com/ginnel/ginnel/node/path"
	"github.com/ginnel/ginnel/node/route"
	"github.com/ginnel/ginnel/node/tun"
	"github.com/ginnel/ginnel/node/tunnel"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// realPlane is the plane made of the packages below.
type realPlane struct {
	log     *slog.Logger
	engine  *path.Engine
	sockets *sockets
	filter  *filter.Filter
	dev     *tun.Wrapped
	tunnel  *tunnel.Tunnel
	router  *route.Router   // nil in userspace mode
	user    *netstack.Stack // nil in kernel mode
	portmap *portMapping
	monitor *netmon.Monitor // nil when the system has none
	link    atomic.Pointer[netmon.Change]
	changed func() // tells of liveness

	// Of the node's loop.
	whole bool        // all parts are as cfg wants them
	paths path.Config // what the engine was last told

	cancel context.CancelFunc
	wg     sync.WaitGroup
	cfg    atomic.Pointer[planeConfig] // last applied
}

// newRealPlane makes the data plane. Nothing passes through it before Apply.
func newRealPlane(o planeOptions) (plane, error) {
	ctx, cancel := context.WithCancel(context.Background())
	p := &realPlane{log: o.Logger, filter: filter.New(), cancel: cancel, changed: o.hooks.changed}
	p.cfg.Store(&planeConfig{})
	err := p.open(o)
	if err == nil {
		err = p.serveProxies(ctx, o)
	}
	if err == nil {
		p.watch(ctx, o)
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// open makes the parts, from the interface outwards.
func (p *realPlane) open(o planeOptions) error {
	dev, err := p.openDevice(o)
	if err != nil {
		return err
	}
	p.dev = tun.Wrap(dev, tun.Hooks{
		Out: p.filter.Out, In: p.filter.In,
		DiscoKey: func(from netip.Addr, k [32]byte) { p.learnDisco(from, key.DiscoPublicFromRaw32(k)) },
	})
	listen := o.System.ListenPacket
	if listen == nil {
		listen = path.SystemListen(p.router != nil)
	}
	p.sockets = newSockets(listen, o.Port, o.preferPort)
	p.engine, err = path.New(path.Options{
		Logger: o.Logger.With("part", "path"), Port: o.Port, PreferPort: o.preferPort, Mark: p.router != nil,
		ListenPacket: p.sockets.open, BatchSize: o.System.BatchSize, Dial: o.System.Dial, Lookup: o.System.Lookup, Interfaces: o.System.Interfaces,
		OnEndpoints: func(list []path.Endpoint) {
			addrs, types := make([]netip.AddrPort, len(list)), make([]control.EndpointType, len(list))
			for i, ep := range list {
				addrs[i], types[i] = ep.Addr, ep.Type
			}
			o.hooks.endpoints(addrs, types)
			p.wantPorts() // they may be others now
		},
		OnNetInfo:    o.hooks.netInfo,
		OnConnected:  func(bool) { o.hooks.changed() },
		OnLastResort: p.tellDisco,
	})
	if err != nil {
		return fmt.Errorf("opening UDP sockets: %w", err)
	}
	tunnelName := ""
	if p.router != nil {
		tunnelName = p.dev.Name()
	}
	p.portmap = newPortMapping(o, p.engine, tunnelName, p.router != nil)
	p.tunnel, err = tunnel.New(p.dev, p.engine, o.Logger.With("part", "tunnel"))
	if err != nil {
		return fmt.Errorf("starting the tunnel: %w", err)
	}
	return nil
}

// openDevice opens the kernel interface or the userspace stack: the first name of
// the list that works.
func (p *realPlane) openDevice(o planeOptions) (tun.Device, error) {
	if o.System.Device != nil {
		return o.System.Device, nil
	}
	var errs []error
	for name := range strings.SplitSeq(o.TUN, ",") {
		if name == Userspace {
			p.cleanRoutes(o)
			stack, err := newUserspaceStack(o)
			if err != nil {
				return nil, err
			}
			p.user = stack
			return stack, nil
		}
		dev, err := tun.Open(name, tunnelMTU)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		p.router, err = route.New(route.Options{JournalPath: JournalPath(o.StateDir), Logger: o.Logger.With("part", "route")})
		if err != nil {
			return nil, errors.Join(err, dev.Close())
		}
		return dev, nil
	}
	return nil, errors.Join(errs...)
}

// cleanRoutes undoes what a crashed run with a kernel interface left behind. With
// a kernel interface the router itself does that.
func (p *realPlane) cleanRoutes(o planeOptions) {
	if o.StateDir == "" {
		return
	}
	if err := route.Cleanup(JournalPath(o.StateDir), o.Logger); err != nil {
		p.log.Warn("what an earlier run did to the routing could not be undone", "err", err)
	}
}

// JournalPath returns where the changes to the system's routing are noted.
func JournalPath(stateDir string) string { return filepath.Join(stateDir, "route-journal.json") }

// watch follows changes of the network.
func (p *realPlane) watch(ctx context.Context, o planeOptions) {
	tunName := ""
	if p.user == nil {
		tunName = p.dev.Name()
	}
	m, err := netmon.New(netmon.Options{Logger: o.Logger.With("part", "netmon"), Tunnel: tunName, Source: o.System.Network})
	if err != nil {
		p.log.Warn("changes of the network cannot be watched", "err", err)
	} else {
		p.monitor = m
		p.wg.Go(func() {
			m.Run(ctx, func(c netmon.Change) {
				if c.Old == nil {
					return // the state at the start is no change
				}
				p.link.Store(&c)
				o.hooks.linkChanged(c.RebindLikely || c.Slept || c.Up)
			})
		})
	}
}

// Apply brings all parts to the wanted state.
func (p *realPlane) Apply(c planeConfig) error {
	old := p.cfg.Swap(&c)
	if c.Map != nil && p.sockets.follow(c.Map.Self) {
		p.engine.Rebind()
	}
	if old.Map == nil && c.Map != nil && p.engine.Connected() {
		defer p.changed() // no event will tell
	}
	if p.whole && onlyPaths(old, &c) {
		p.paths = nextPathConfig(p.paths, old, &c)
		return p.engine.Apply(p.paths)
	}
	p.paths = pathConfig(c)
	err := p.applyAll(c)
	p.whole = err == nil
	return err
}

// applyAll brings all parts to the wanted state, whatever they are told to be in. The
// order is the way of an answer, from its end: a new peer's first packet may have
// waited for Apply of the paths, and what the system answers must find its route.
func (p *realPlane) applyAll(c planeConfig) error {
	var errs []error
	note := func(what string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
	}
	program, err := filter.Compile(filterConfig(c))
	if err != nil {
		p.log.Warn("some rules of the packet filter cannot be used", "err", err)
	}
	p.filter.Set(program)
	if p.user != nil {
		note("userspace addresses", p.user.SetAddrs(ownAddrs(c.Map)))
	}
	if p.router != nil {
		note("routes", p.router.Apply(routeConfig(c, p.dev.Name())))
	}
	note("tunnel", p.tunnel.Apply(tunnelConfig(c)))
	note("paths", p.engine.Apply(p.paths))
	p.wantPorts()
	return errors.Join(errs...)
}

// wantPorts has the gateway forward to the ports of now.
func (p *realPlane) wantPorts() {
	c := p.cfg.Load()
	if p.portmap == nil {
		return // the engine is being made
	}
	if c.Map == nil {
		p.portmap.want(false, false, nil)
		return
	}
	link := p.link.Load()
	p.portmap.want(!c.Key.IsZero(), link != nil && !link.New.AnyUp(), c.Map.Self)
}

// tunnelConfig says who may speak through the tunnel, and for which addresses.
func tunnelConfig(c planeConfig) tunnel.Config {
	out := tunnel.Config{PrivateKey: c.Key}
	for _, peer := range usablePeers(c.Map, c.Now) {
		out.Peers = append(out.Peers, tunnel.PeerConfig{
			Key: peer.Key, AllowedIPs: allowedIPs(peer, c.Map.Self, c.Prefs),
		})
	}
	return out
}

// learnDisco passes on a disco key that a peer has told through the tunnel.
func (p *realPlane) learnDisco(from netip.Addr, k key.DiscoPublic) {
	if m := p.cfg.Load().Map; m != nil {
		if peer := m.NodeByIP(from); peer != nil && peer.ID != m.Self.ID {
			p.engine.SetDiscoKey(peer.Key, k)
		}
	}
}

// discoAdvertVersion is the capability version from which on nodes understand a disco
// key that comes through the tunnel (wire document paths, section 14.5).
const discoAdvertVersion = 144

// tellDisco tells a peer this node's disco key through the tunnel, as soon as there is a
// session.
func (p *realPlane) tellDisco(k key.NodePublic) {
	m := p.cfg.Load().Map
	if m == nil {
		return
	}
	peer := m.NodeByKey(k)
	if peer == nil || peer.Cap < discoAdvertVersion || peer.IsWireGuardOnly {
		return
	}
	for _, dst := range ownIPs(peer) {
		src := p.ownAddr(dst.Is4())
		if !src.IsValid() {
			continue
		}
		msg, err := packet.AppendDiscoKey(nil, src, dst, p.engine.DiscoKey().Raw32())
		if err == nil {
			err = p.dev.InjectOut(msg)
		}
		if err != nil {
			p.log.Debug("cannot tell a peer the disco key", "peer", peer.Name, "err", err)
		}
		return
	}
}

// Live reports whether a relay is connected or a peer is reached directly.
func (p *realPlane) Live() bool { return p.cfg.Load().Map != nil && p.engine.Connected() }

// LocalPort returns the UDP port.
func (p *realPlane) LocalPort() uint16 { return p.engine.LocalPort() }

// Status returns the state of all parts.
func (p *realPlane) Status() planeStatus {
	s := p.engine.Status()
	out := planeStatus{TUN: p.user == nil, HomeRegion: s.HomeRegion, Peers: make(map[key.NodePublic]peerState, len(s.Peers))}
	for _, r := range s.Relays {
		if r.Connected {
			out.Relays = append(out.Relays, r.Region)
		}
		if r.Region == s.HomeRegion {
			out.HomeCode = r.Code
		}
	}
	for _, ep := range s.Endpoints {
		out.Endpoints = append(out.Endpoints, ep.Addr)
	}
	out.Metrics = p.metrics(s)
	stats := p.tunnel.Stats()
	for k, peer := range s.Peers {
		st := peerState{RelayCode: peer.RelayCode, LastWrite: peer.LastSend, LastRecv: peer.LastRecv, Active: peer.Active}
		if peer.CurAddr.IsValid() {
			st.CurAddr = peer.CurAddr.String()
		}
		if t, ok := stats[k]; ok {
			st.RxBytes, st.TxBytes, st.LastHandshake = int64(t.RxBytes), int64(t.TxBytes), t.LastHandshake
		}
		out.Peers[k] = st
	}
	return out
}

// Problems returns what keeps the node from being reached.
func (p *realPlane) Problems() []problem {
	if p.cfg.Load().Map == nil {
		return nil
	}
	s := p.engine.Status()
	var list []problem
	for _, r := range s.Relays {
		if r.Region == s.HomeRegion && !r.Connected && r.LastError != "" {
			list = append(list, problem{
				Code: api.WarnNoDERPConnection, Severity: control.SeverityMedium, Title: "Relay", Impact: true,
				Text: fmt.Sprintf("No connection to the home relay %s: %s", r.Code, r.LastError),
			})
		}
	}
	return list
}

// metrics returns the counters of traffic and drops.
func (p *realPlane) metrics(s path.Status) []metric {
	var list []metric
	traffic := func(direction string, t path.Traffic) {
		for _, c := range []struct {
			label string
			count path.Count
		}{{"direct_ipv4", t.DirectIPv4}, {"direct_ipv6", t.DirectIPv6}, {"derp", t.Relay}} {
			labels := map[string]string{"path": c.label}
			list = append(list,
				metric{"tailscaled_" + direction + "_packets_total", "Packets by path.", "counter", labels, float64(c.count.Packets)},
				metric{"tailscaled_" + direction + "_bytes_total", "Bytes by path.", "counter", labels, float64(c.count.Bytes)})
		}
	}
	traffic("inbound", s.Rx)
	traffic("outbound", s.Tx)
	for kind, n := range map[string]uint64{"wireguard": s.Unknown.WireGuard, "disco": s.Unknown.Disco, "other": s.Unknown.Other} {
		list = append(list, metric{
			"ginnel_inbound_unknown_packets_total", "Packets that came over UDP from nobody known, by what they look like.",
			"counter", map[string]string{"kind": kind}, float64(n),
		})
	}
	in, out := p.filter.Dropped()
	for direction, drops := range map[string]map[filter.Reason]uint64{"inbound": in, "outbound": out} {
		for reason, n := range drops {
			list = append(list, metric{
				"tailscaled_" + direction + "_dropped_packets_total", "Packets dropped, by reason.", "counter",
				map[string]string{"reason": reason.String()}, float64(n),
			})
		}
	}
	return list
}

// Ping pings a peer over its path or through the tunnel.
func (p *realPlane) Ping(ctx context.Context, peer *control.Node, ip netip.Addr, kind api.PingType, size int) (api.PingResult, error) {
	if kind == api.PingDisco {
		r, err := p.pingPath(ctx, peer.Key, size)
		if err != nil {
			return api.PingResult{}, err
		}
		out := api.PingResult{LatencySeconds: r.Latency.Seconds(), DERPRegionID: r.RegionID, DERPRegionCode: r.RegionCode}
		if r.Endpoint.IsValid() {
			out.Endpoint = r.Endpoint.String()
		}
		return out, nil
	}
	self := p.ownAddr(ip.Is4())
	if !self.IsValid() {
		return api.PingResult{}, fmt.Errorf("this node has no address of the family of %s", ip)
	}
	r, err := p.dev.Ping(ctx, self, ip, tun.PingKind(kind))
	if err != nil {
		return api.PingResult{}, err
	}
	return api.PingResult{LatencySeconds: r.Latency.Seconds(), PeerAPIPort: r.PeerAPIPort}, nil
}

// pingPath pings a peer over its path.
func (p *realPlane) pingPath(ctx context.Context, peer key.NodePublic, size int) (path.PingResult, error) {
	begin := time.Now()
	for {
		r, err := p.engine.Ping(ctx, peer, size)
		noWay := errors.Is(err, path.ErrNoPath) || errors.Is(err, path.ErrNoDisco) || errors.Is(err, path.ErrUnknownPeer)
		if !noWay || time.Since(begin) > patienceForPeer {
			return r, err
		}
		select {
		case <-ctx.Done():
			return r, err
		case <-time.After(peerPoll):
		}
	}
}

// ownAddr returns the node's address of a family, or an invalid one.
func (p *realPlane) ownAddr(v4 bool) netip.Addr {
	for _, a := range ownAddrs(p.cfg.Load().Map) {
		if a.Addr().Is4() == v4 {
			return a.Addr()
		}
	}
	return netip.Addr{}
}

// CapsFor returns what the peer at src may do to this node.
func (p *realPlane) CapsFor(src netip.Addr) control.PeerCapMap { return p.filter.CapsFor(src) }

// Dial opens a connection into the mesh.
func (p *realPlane) Dial(ctx context.Context, network string, addr netip.AddrPort) (net.Conn, error) {
	return p.dialMesh(ctx, network, addr.String())
}

// PeerOf returns the peer behind a connection that was forwarded to a service on
// this host.
func (p *realPlane) PeerOf(local netip.AddrPort) (netip.AddrPort, bool) {
	if p.user == nil {
		return netip.AddrPort{}, false
	}
	return p.user.PeerOf(local)
}

// Netcheck makes a full report with sockets of its own.
func (p *realPlane) Netcheck(ctx context.Context) (*api.NetcheckReport, error) {
	m := p.cfg.Load().Map
	if m == nil || m.DERPMap == nil {
		return nil, errors.New("there are no relays to measure yet: the node is not connected")
	}
	r, err := netcheck.Standalone(ctx, &netcheck.Client{Logger: p.log.With("part", "netcheck")}, m.DERPMap)
	if err != nil {
		return nil, fmt.Errorf("network check: %w", err)
	}
	services := p.portmap.mapper.Probe(ctx)
	r.UPnP, r.PMP, r.PCP = services.UPnP, services.PMP, services.PCP
	return netcheckReport(r), nil
}

// netcheckReport puts a report into the form of the local API.
func netcheckReport(r *netcheck.Report) *api.NetcheckReport {
	return &api.NetcheckReport{
		Now: r.Time, UDP: r.UDP, IPv6: r.IPv6, IPv4: r.IPv4, IPv6CanSend: r.IPv6CanSend, IPv4CanSend: r.IPv4CanSend,
		OSHasIPv6: r.OSHasIPv6, MappingVariesByDestIP: r.MappingVariesByDestIP, UPnP: r.UPnP, PMP: r.PMP, PCP: r.PCP,
		PreferredDERP: r.Home, RegionLatency: r.RegionLatency, RegionV4Latency: r.RegionV4Latency,
		RegionV6Latency: r.RegionV6Latency, GlobalV4Counters: r.GlobalV4Counters, GlobalV6Counters: r.GlobalV6Counters,
		GlobalV4: r.GlobalV4, GlobalV6: r.GlobalV6, CaptivePortal: r.CaptivePortal,
	}
}

// LinkChanged passes on the latest change of the network.
func (p *realPlane) LinkChanged() {
	p.whole = false // routes and addresses may have gone with the link
	p.wantPorts()
	p.portmap.mapper.LinkChanged()
	c := p.link.Load()
	if c == nil {
		p.engine.Rebind()
		return
	}
	p.engine.LinkChanged(path.LinkChange{Up: c.New.AnyUp(), Rebind: c.RebindLikely || c.Slept, LocalAddrs: c.New.LocalAddrs()})
}

// Rebind opens the sockets anew.
func (p *realPlane) Rebind() { p.engine.Rebind() }

// Restun asks for the public addresses anew.
func (p *realPlane) Restun() { p.engine.Restun() }

// Debug returns the engine's state.
func (p *realPlane) Debug() any { return p.engine.Status() }

// Close ends all parts and undoes what they did to the system.
func (p *realPlane) Close() error {
	p.cancel()
	p.wg.Wait()
	var errs []error
	if p.portmap != nil {
		p.portmap.close() // first: it takes a moment, and needs the network as it is
	}
	if p.router != nil {
		errs = append(errs, p.router.Close())
	}
	switch {
	case p.tunnel != nil:
		errs = append(errs, p.tunnel.Close())
	case p.dev != nil:
		errs = append(errs, p.dev.Close())
	}
	if p.engine != nil {
		errs = append(errs, p.engine.Close())
	}
	return errors.Join(errs...)
}
