package path

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// Timing of wire document relay, section 11.2.
const (
	maxBackoff    = 5 * time.Second
	backoffUnit   = 10 * time.Millisecond
	relayIdle     = 60 * time.Second
	relayPingWait = 3 * time.Second
)

// link is the connection to one relay region, over all its reconnections. Packets wait in
// its queue while it connects. Without packets it connects only if it is the home.
type link struct {
	r      *relays
	region *control.DERPRegion
	priv   key.NodePrivate
	ctx    context.Context
	cancel context.CancelFunc

	queue    sendQueue
	up       atomic.Bool
	home     atomic.Bool
	lastSend atomic.Int64 // Unix nanoseconds
	lastRecv atomic.Int64
	failures atomic.Int32 // connections that failed since the last message received

	mu      sync.Mutex
	conn    RelayConn // nil while not connected
	lastErr error
}

func newLink(r *relays, region *control.DERPRegion, priv key.NodePrivate, home bool) *link {
	l := &link{r: r, region: region, priv: priv}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.home.Store(home)
	l.queue.init()
	return l
}

// enqueue copies packets to the queue.
func (l *link) enqueue(now time.Time, dst key.NodePublic, pkts [][]byte, urgent bool) {
	l.lastSend.Store(now.UnixNano())
	l.queue.add(now, dst, pkts, urgent)
}

// setHome tells the relay whether it is the home. It does not block.
func (l *link) setHome(home bool) {
	if l.home.Swap(home) == home {
		return
	}
	l.mu.Lock()
	c := l.conn
	l.mu.Unlock()
	if c != nil {
		go c.NotePreferred(home) // an error ends the connection, which its reader sees
	}
	l.queue.poke()
}

// run connects whenever there is a reason to, until the link is closed.
func (l *link) run() {
	for l.awaitReason() {
		conn, err := l.r.dial(l.ctx, l)
		l.setConn(conn, err)
		if err != nil {
			if l.ctx.Err() == nil {
				l.r.e.log.Debug("cannot connect to relay", "region", l.region.RegionCode, "error", err)
			}
			l.pause()
			continue
		}
		l.serve(conn)
		l.pause()
	}
}

// awaitReason waits until there is a reason to be connected. It reports false when the
// link is closed.
func (l *link) awaitReason() bool {
	for !l.home.Load() && l.queue.empty() {
		select {
		case <-l.queue.ready:
		case <-l.ctx.Done():
			return false
		}
	}
	return l.ctx.Err() == nil
}

// setConn notes the outcome of connecting.
func (l *link) setConn(c RelayConn, err error) {
	l.mu.Lock()
	l.conn, l.lastErr = c, err
	l.mu.Unlock()
	l.setUp(c != nil)
}

// setUp notes whether there is a connection.
func (l *link) setUp(up bool) {
	if l.up.Swap(up) != up {
		l.r.e.live.relay(up)
	}
}

// pause waits before connecting again, longer after each failure.
func (l *link) pause() {
	n := min(l.failures.Add(1), 100)
	d := min(time.Duration(n*n)*backoffUnit, maxBackoff)
	d = time.Duration(float64(d) * (0.5 + rand.Float64()))
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.ctx.Done():
	}
}

// serve uses a connection until it fails, is idle or the link is closed.
func (l *link) serve(conn RelayConn) {
	ctx, cancel := context.WithCancel(l.ctx)
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if l.home.Load() { // it may have become so while connecting
		go conn.NotePreferred(true)
	}
	reader := make(chan struct{})
	go func() {
		defer close(reader)
		defer cancel()
		l.receive(conn)
	}()
	l.transmit(ctx, conn)
	l.setUp(false)
	cancel()
	conn.Close()
	<-reader
	l.setConn(nil, nil)
	l.r.e.post(func() { l.r.e.relayLost(l) })
}

// transmit writes what is queued to the connection until that fails, is idle or ctx
// ends.
func (l *link) transmit(ctx context.Context, conn RelayConn) {
	idle := time.NewTicker(relayIdle / 4)
	defer idle.Stop()
	var batch sendBatch
	defer batch.release()
	for {
		if l.queue.take(time.Now(), &batch) {
			err := conn.SendPackets(batch.packets)
			batch.release()
			if err != nil {
				return
			}
			continue
		}
		select {
		case <-l.queue.ready:
		case <-idle.C:
			if !l.home.Load() && time.Since(time.Unix(0, l.lastSend.Load())) >= relayIdle {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// check verifies the connection after the network changed.
func (l *link) check(local []netip.Addr) {
	l.mu.Lock()
	c := l.conn
	l.mu.Unlock()
	l.failures.Store(0)
	if c == nil {
		return
	}
	if from := c.LocalAddr().Addr(); local != nil && from.IsValid() && !slices.Contains(local, from) {
		c.Close()
		return
	}
	l.r.wg.Go(func() {
		ctx, cancel := context.WithTimeout(l.ctx, relayPingWait)
		defer cancel()
		if _, err := c.Ping(ctx); err != nil {
			c.Close()
		}
	})
}

// status describes the link.
func (l *link) status() RelayStatus {
	s := RelayStatus{Region: l.region.RegionID, Code: l.region.RegionCode, Home: l.home.Load(), Connected: l.up.Load()}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lastErr != nil {
		s.LastError = l.lastErr.Error()
	}
	return s
}
