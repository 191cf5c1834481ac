package path

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/ginnel/ginnel/internal/jitter"
	"github.com/ginnel/ginnel/node/netcheck"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// Timing of wire document paths, section 6.
const (
	endpointsFresh = 27 * time.Second // how long own endpoints are good for a call-me-maybe
	checkMin       = 20 * time.Second // periodic checks come after checkMin to
	checkSpread    = 6 * time.Second  // checkMin+checkSpread
)

// selfState is what the loop knows of this node's own place in the network.
type selfState struct {
	public    key.NodePublic
	endpoints []Endpoint
	cache     endpointCache
	report    *netcheck.Report // nil before the first
	home      int
	portmap   PortMapping
	told      *control.NetInfo // last told to OnNetInfo

	checking  bool
	mapped    []netip.AddrPort // what the check under way has found so far
	again     bool             // another check is wanted after this one
	anew      bool             // the next check judges by nothing older
	cancel    context.CancelFunc
	lostAt    time.Time // of the last check because the home relay was lost
	checkedAt time.Time // zero if never, or not valid any more
	nextCheck time.Time // periodic, zero for none
}

// fresh reports whether the endpoints are good enough to be told to a peer.
func (s *selfState) fresh(now time.Time) bool {
	return !s.checkedAt.IsZero() && now.Sub(s.checkedAt) <= endpointsFresh
}

// moved forgets what was found out: the node may be in another network. A check that is
// under way asks in vain.
func (s *selfState) moved() {
	s.checkedAt, s.report, s.anew = time.Time{}, nil, true
	s.cache.forget()
	s.cancelCheck()
}

// reset forgets what was told to the coordination server, for another key.
func (s *selfState) reset() { s.told, s.endpoints = nil, nil }

func (s *selfState) cancelCheck() {
	if s.cancel != nil {
		s.cancel()
	}
}

// check finds out the node's endpoints, how far relays are and which should be the home.
// While one check runs, at most one more is remembered.
func (e *Engine) check(why string) {
	s := &e.loop.self
	cfg := &e.loop.cfg
	if s.checking {
		s.again = true
		return
	}
	if cfg.PrivateKey.IsZero() || !e.loop.linkUp {
		return
	}
	if s.endpoints == nil {
		e.setEndpoints() // those known without asking anybody
	}
	if cfg.DERPMap == nil {
		return // the next Apply with one checks
	}
	e.log.Debug("network check", "why", why)
	s.checking, s.again, s.nextCheck = true, false, time.Time{}
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(context.Background())
	m, home := cfg.DERPMap, s.home
	lost := e.relays.lost(home)
	req := netcheck.Request{
		Home: home, HomeLost: lost, HomeHeard: func() time.Time { return e.relays.lastHeard(home) }, Fresh: s.anew,
		OnMapping: func(at netip.AddrPort) { e.post(func() { e.mapped(ctx, at) }) },
	}
	s.anew = false
	go func() {
		report, err := e.checker.Report(ctx, m, req)
		e.post(func() { e.checked(report, err, lost) })
	}()
}

// mapped takes the address under which somebody saw the node, as soon as a check finds
// it: peers that wait for it need not wait for the slowest relay.
func (e *Engine) mapped(ctx context.Context, at netip.AddrPort) {
	s := &e.loop.self
	if ctx.Err() != nil || !s.checking || e.loop.cfg.PrivateKey.IsZero() {
		return
	}
	s.mapped = append(s.mapped, at)
	if now := time.Now(); !s.fresh(now) {
		e.setEndpoints()
		s.checkedAt = now
		e.sendWaitingCalls()
	}
}

// sendWaitingCalls tells the node's endpoints to peers that are to hear of them.
func (e *Engine) sendWaitingCalls() {
	for _, p := range e.loop.peers {
		if p.wantsCallMeMaybe {
			e.callMeMaybe(p)
		}
	}
}

// checked takes the outcome of a check, during which the home relay may have been lost.
func (e *Engine) checked(report *netcheck.Report, err error, lost bool) {
	s := &e.loop.self
	s.cancelCheck()
	s.checking, s.mapped = false, nil
	now := time.Now()
	if err != nil {
		e.log.Debug("network check failed", "error", err)
	} else {
		s.report = report
		e.ipv6Works.Store(report.IPv6)
		if !lost || e.relays.lost(s.home) { // else the home has come back meanwhile
			e.chooseHome(report)
		}
	}
	if e.loop.cfg.PrivateKey.IsZero() {
		return
	}
	if err != nil && s.again { // cut short because the network changed
		e.check("asked for during the last")
		return
	}
	e.setEndpoints()
	s.checkedAt = now // also after a failure: these are the best there are
	e.tellNetInfo()
	e.sendWaitingCalls()
	if s.again {
		e.check("asked for during the last")
		return
	}
	e.scheduleCheck(now)
}

// scheduleCheck has the next periodic check done while data is being sent; it keeps the
// NAT's mapping.
func (e *Engine) scheduleCheck(now time.Time) {
	s := &e.loop.self
	if s.checking || !s.nextCheck.IsZero() || len(e.loop.timers) == 0 || e.opts.NoUDP {
		return
	}
	s.nextCheck = now.Add(checkMin + jitter.Below(checkSpread))
}

// periodicCheck does the check that is due.
func (e *Engine) periodicCheck(time.Time) {
	e.loop.self.nextCheck = time.Time{}
	if len(e.loop.timers) > 0 {
		e.check("periodic")
	}
}

// setEndpoints finds the node's endpoints from the last report and the interfaces, and
// tells them if they changed.
func (e *Engine) setEndpoints() {
	s := &e.loop.self
	if e.opts.NoUDP {
		return
	}
	ifaces, err := e.opts.Interfaces()
	if err != nil {
		e.log.Warn("no local addresses", "error", err)
	}
	list := buildEndpoints(endpointInput{
		report: s.report, mapped: s.mapped, fixedPort: e.opts.Port, port4: e.sock4.port(), port6: e.sock6.port(),
		static: e.opts.StaticEndpoints, portmap: s.portmap, local: localAddrs(ifaces), cache: &s.cache, now: time.Now(),
	})
	if s.endpoints != nil && slices.Equal(list, s.endpoints) {
		return
	}
	s.endpoints = list
	if e.opts.OnEndpoints != nil {
		told := slices.Clone(list)
		e.notify.add(func() { e.opts.OnEndpoints(told) })
	}
}

// chooseEarlyHome makes the only region of the map the home without measuring anything,
// and gives up a home that is not in the map any more.
func (e *Engine) chooseEarlyHome() {
	s := &e.loop.self
	m := e.loop.cfg.DERPMap
	if m == nil || e.loop.cfg.PrivateKey.IsZero() {
		return
	}
	if s.home != 0 && m.Regions[s.home] == nil {
		e.setHome(0)
		e.check("home left the relay map")
	}
	if regions := homeRegions(m); s.home == 0 && len(regions) == 1 {
		e.setHome(regions[0])
		e.tellNetInfo()
	}
}

// chooseHome makes the region that a report names the home, if it may be changed now.
func (e *Engine) chooseHome(report *netcheck.Report) {
	s := &e.loop.self
	want := report.Home
	if want == 0 || e.loop.cfg.DERPMap == nil || e.loop.cfg.DERPMap.Regions[want] == nil {
		want = s.home
	}
	if want == 0 {
		want = e.anyRegion()
	}
	if s.home != 0 && want != s.home && !e.loop.cfg.ControlConnected {
		return // peers could not learn of it
	}
	e.setHome(want)
}

// anyRegion returns some region, the same one in this process each time, 0 if there is
// none.
func (e *Engine) anyRegion() int {
	regions := homeRegions(e.loop.cfg.DERPMap)
	if len(regions) == 0 {
		return 0
	}
	raw := e.DiscoKey().Raw32()
	return regions[int(raw[0])%len(regions)]
}

// homeRegions returns the regions that can be a home, in ascending order.
func homeRegions(m *control.DERPMap) (list []int) {
	if m == nil {
		return nil
	}
	for id, r := range m.Regions {
		if r != nil && !r.NoMeasureNoHome && len(r.Nodes) > 0 {
			list = append(list, id)
		}
	}
	slices.Sort(list)
	return list
}

// setHome makes a region the home, 0 for none.
func (e *Engine) setHome(region int) {
	s := &e.loop.self
	if region == s.home {
		return
	}
	e.log.Info("home relay", "region", region, "before", s.home)
	s.home = region
	e.relays.setHome(region)
}

// tellNetInfo tells what is known of the network if anything but latencies changed.
func (e *Engine) tellNetInfo() {
	s := &e.loop.self
	info := new(control.NetInfo)
	if s.report != nil {
		info = s.report.NetInfo()
	}
	info.PreferredDERP = s.home
	s.portmap.describe(info)
	if !netInfoChanged(s.told, info) {
		return
	}
	s.told = info
	if e.opts.OnNetInfo != nil {
		told := info.Clone()
		e.notify.add(func() { e.opts.OnNetInfo(told) })
	}
}

// relayLost reacts to the end of a relay connection.
func (e *Engine) relayLost(l *link) {
	for _, p := range e.loop.peers {
		p.learned.CompareAndSwap(l, nil)
	}
	e.homeLost(l)
}

// homeLostGap is the least time between two checks because the home relay is lost.
const homeLostGap = 4 * time.Second

// homeLost looks for another home if l, to which there is no connection, is the home, and
// there are others.
func (e *Engine) homeLost(l *link) {
	s := &e.loop.self
	now := time.Now()
	if l.ctx.Err() != nil || !l.home.Load() || !l.lost.Load() || len(homeRegions(e.loop.cfg.DERPMap)) < 2 || now.Sub(s.lostAt) < homeLostGap {
		return
	}
	s.lostAt = now
	if s.checking { // it may have asked before the loss
		s.cancelCheck()
	}
	e.check("home relay lost")
}
