package netcheck

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/stun"
)

// run is one check in progress.
type run struct {
	c     *Client
	log   *slog.Logger
	m     *control.DERPMap
	req   Request
	began time.Time
	full  bool
	plan  []probeSet
	done  chan struct{} // closed when enough regions answered

	hasIPv6 bool
	names   map[string]*name // of the STUN servers of the plan; not changed while it runs

	mu       sync.Mutex
	report   *Report
	inflight map[stun.TxID]*sentProbe
	answered map[setKey]chan struct{} // closed by the first answer of a set
	enough   bool
	https    map[int]time.Duration
}

// setKey identifies a probeSet.
type setKey struct {
	region int
	ipv6   bool
}

// sentProbe is a request without an answer yet.
type sentProbe struct {
	set setKey
	to  netip.AddrPort
	at  time.Time
}

func newRun(c *Client, m *control.DERPMap, req Request, now time.Time, full bool) *run {
	log := c.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &run{
		c: c, log: log, m: m, req: req, began: now, full: full, done: make(chan struct{}),
		report: newReport(now, full), inflight: map[stun.TxID]*sentProbe{},
		answered: map[setKey]chan struct{}{}, https: map[int]time.Duration{},
	}
}

// measure runs the STUN phase and, without answers, the HTTPS phase.
func (r *run) measure(ctx context.Context) {
	httpsDone := make(chan struct{})
	httpsCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer close(httpsDone)
		if !r.req.STUNOnly {
			r.fallback(httpsCtx)
		}
	}()
	if r.c.Send != nil {
		r.stunPhase(ctx)
	}
	if r.gotUDP() {
		cancel()
	}
	<-httpsDone
}

// gotUDP reports whether a STUN answer came.
func (r *run) gotUDP() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.report.UDP
}

// stunPhase sends the planned probes until all sets are answered, enough regions are, or
// the time is over.
func (r *run) stunPhase(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stunTimeout)
	defer cancel()
	for _, set := range r.plan {
		r.answered[setKey{set.region, set.ipv6}] = make(chan struct{})
	}
	r.resolveNames(ctx)
	var sets sync.WaitGroup
	for _, set := range r.plan {
		sets.Go(func() { r.probeSet(ctx, set) })
	}
	all := make(chan struct{})
	go func() {
		sets.Wait()
		close(all)
	}()
	select {
	case <-all:
		return
	case <-r.done:
		cancel()
	case <-ctx.Done():
	}
	<-all
}

// probeSet sends the tries of one set until one is answered or ctx ends.
func (r *run) probeSet(ctx context.Context, set probeSet) {
	key := setKey{set.region, set.ipv6}
	answered := r.answered[key]
	sent := false
	for _, p := range set.probes {
		timer := time.NewTimer(time.Until(r.began.Add(p.delay)))
		select {
		case <-timer.C:
		case <-answered:
			timer.Stop()
			return
		case <-ctx.Done():
			timer.Stop()
			return
		}
		if !r.useful(key) {
			return
		}
		addr, err := r.stunAddr(ctx, p.node, set.ipv6)
		if err != nil {
			r.log.Debug("no STUN address", "node", p.node.Name, "ipv6", set.ipv6, "error", err)
			continue
		}
		sent = r.sendProbe(key, addr) || sent
	}
	if !sent {
		return // nothing can come
	}
	select {
	case <-answered:
	case <-ctx.Done():
	}
}

// useful reports whether an answer to a set would tell anything new.
func (r *run) useful(key setKey) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, known := r.report.RegionLatency[key.region]
	return !known || key.ipv6 && !r.report.IPv6 || !key.ipv6 && r.report.MappingVariesByDestIP == control.Unset
}

// sendProbe sends one request and reports whether it left.
func (r *run) sendProbe(key setKey, addr netip.AddrPort) bool {
	tx := newTxID()
	r.mu.Lock()
	r.inflight[tx] = &sentProbe{set: key, to: addr, at: time.Now()}
	r.mu.Unlock()
	err := r.c.Send(stun.AppendRequest(nil, tx), addr)
	// The system's packet filter dropping a packet is like the network doing it.
	sent := err == nil || errors.Is(err, syscall.EPERM)
	if !sent {
		r.log.Debug("STUN send failed", "addr", addr, "error", err)
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.IPv4CanSend = r.report.IPv4CanSend || !key.ipv6
	r.report.IPv6CanSend = r.report.IPv6CanSend || key.ipv6
	return true
}

// answer notes that the request tx was answered with the mapping addr, and reports whether
// there was such a request.
func (r *run) answer(tx stun.TxID, addr netip.AddrPort) bool {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.inflight[tx]
	if p == nil {
		return false
	}
	delete(r.inflight, tx)
	r.report.addLatency(p.set.region, p.set.ipv6, now.Sub(p.at))
	if isNew := r.report.addMapping(p.to, addr); isNew && r.req.OnMapping != nil {
		r.req.OnMapping(addr)
	}
	select {
	case <-r.answered[p.set]:
	default:
		close(r.answered[p.set])
	}
	if !r.enough && len(r.report.RegionLatency) >= min(enoughRegions, r.regions()) {
		r.enough = true
		time.AfterFunc(r.grace(), func() { close(r.done) })
	}
	return true
}

// regions returns how many regions the plan has.
func (r *run) regions() int {
	seen := map[int]bool{}
	for _, set := range r.plan {
		seen[set.region] = true
	}
	return len(seen)
}

// grace is how long answers are waited for once enough regions answered.
func (r *run) grace() time.Duration {
	var largest time.Duration
	for _, d := range r.report.RegionLatency {
		largest = max(largest, d)
	}
	if r.full {
		largest *= 2
	}
	return max(largest, leastGrace)
}

// result returns the report, with HTTPS latencies if there are no others.
func (r *run) result() *Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.report.UDP {
		for region, d := range r.https {
			lower(r.report.RegionLatency, region, d)
		}
	}
	return r.report.clone()
}
