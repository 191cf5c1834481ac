package path

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ginnel/ginnel/relay/client"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// relays holds one link per relay region in use. Senders read the table without a lock;
// it is replaced when a link comes or goes.
type relays struct {
	e *Engine

	table   atomic.Pointer[map[int]*link]
	offline atomic.Bool    // there is no network: do not try
	wg      sync.WaitGroup // the links' goroutines

	mu      sync.Mutex // guards what follows and replacing the table
	priv    key.NodePrivate
	regions map[int]*control.DERPRegion
	home    int
	closed  bool
}

func (r *relays) init(e *Engine) {
	r.e = e
	r.table.Store(&map[int]*link{})
}

// send queues packets for p on the connection that suits best: an open one to its home,
// else an open one on which it was last heard, else one to be opened to its home (wire
// document paths, section 13). Urgent packets overtake others. It reports whether that
// connection is open; if not, the packets wait for it.
func (r *relays) send(now time.Time, p *peer, home int, pkts [][]byte, urgent bool) (open bool, err error) {
	l := (*r.table.Load())[home]
	if l == nil || !l.up.Load() {
		if heard := p.learned.Load(); heard != nil && heard.up.Load() {
			l = heard
		}
	}
	if l == nil {
		if l = r.link(home); l == nil {
			return false, ErrNoPath
		}
	}
	l.enqueue(now, p.key, pkts, urgent)
	return l.up.Load(), nil
}

// link returns the link of a region, making it if the region is known.
func (r *relays) link(region int) *link {
	r.mu.Lock()
	defer r.mu.Unlock()
	table := *r.table.Load()
	if l := table[region]; l != nil || r.closed || r.priv.IsZero() || r.regions[region] == nil {
		return l
	}
	l := newLink(r, r.regions[region], r.priv, region == r.home)
	next := maps.Clone(table)
	next[region] = l
	r.table.Store(&next)
	r.wg.Go(l.run)
	return l
}

// configure sets the key and the regions. Links that do not fit any more are closed.
func (r *relays) configure(priv key.NodePrivate, m *control.DERPMap) {
	r.mu.Lock()
	rekeyed := !priv.Equal(r.priv)
	next := map[int]*link{}
	var regions map[int]*control.DERPRegion
	if m != nil {
		regions = m.Regions
	}
	for region, l := range *r.table.Load() {
		if rekeyed || !reflect.DeepEqual(regions[region], r.regions[region]) {
			l.cancel()
		} else {
			next[region] = l
		}
	}
	r.priv, r.regions = priv, regions
	r.table.Store(&next)
	home := r.home
	r.mu.Unlock()
	if home != 0 {
		r.link(home)
	}
}

// setHome makes a region the home, connects to it and tells all relays.
func (r *relays) setHome(region int) {
	r.mu.Lock()
	r.home = region
	for id, l := range *r.table.Load() {
		l.setHome(id == region)
	}
	r.mu.Unlock()
	if region != 0 {
		r.link(region)
	}
}

// lastHeard returns when a frame of a region's relay last came, zero if never.
func (r *relays) lastHeard(region int) time.Time {
	if l := (*r.table.Load())[region]; l != nil {
		if ns := l.lastRecv.Load(); ns != 0 {
			return time.Unix(0, ns)
		}
	}
	return time.Time{}
}

// lost reports whether there is no connection to a region although one was tried.
func (r *relays) lost(region int) bool {
	l := (*r.table.Load())[region]
	return l != nil && l.lost.Load()
}

// reconnect has every link check its connection after a change of the network: those
// whose local address is not among local, if that is known, are closed at once, the
// others if a ping gets no answer.
func (r *relays) reconnect(local []netip.Addr) {
	for _, l := range *r.table.Load() {
		l.check(local)
	}
}

// close closes all links and waits for them.
func (r *relays) close() {
	r.mu.Lock()
	r.closed = true
	for _, l := range *r.table.Load() {
		l.cancel()
	}
	r.table.Store(&map[int]*link{})
	r.mu.Unlock()
	r.wg.Wait()
}

// RelayStatus describes the connection to a relay region.
type RelayStatus struct {
	Region    int
	Code      string
	Home      bool
	Connected bool
	LastError string // of the last attempt to connect, empty if that worked
}

// status describes all links.
func (r *relays) status() (list []RelayStatus) {
	for _, l := range *r.table.Load() {
		list = append(list, l.status())
	}
	return list
}

// options returns how to connect to a region.
func (r *relays) options(l *link) client.Options {
	return client.Options{
		PrivateKey:  l.priv,
		Region:      l.region,
		DialContext: r.e.opts.Dial,
		CanAckPings: true,
		Home:        l.home.Load(),
		PreferIPv6:  r.e.ipv6Works.Load,
		Logger:      r.e.log,

		WriteTimeout: relayWriteWait,
	}
}

// dial connects to a region.
func (r *relays) dial(ctx context.Context, l *link) (RelayConn, error) {
	c, err := r.e.opts.DialRelay(ctx, r.options(l))
	if err != nil {
		return nil, fmt.Errorf("relay %s: %w", l.region.RegionCode, err)
	}
	return c, nil
}
