package path

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ginnel/ginnel/internal/jitter"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// Timing of wire document relay, section 11.2.
const (
	maxBackoff  = 5 * time.Second
	backoffUnit = 10 * time.Millisecond
	relayIdle   = 60 * time.Second
	// relayPingMin and relayPingMax bound how long the relay may take to answer a ping;
	// between them it is three round trips and relayPingMin.
	relayPingMin = 150 * time.Millisecond
	relayPingMax = 3 * time.Second
	// relayPingAny is that for a connection whose round trip is not known.
	relayPingAny = time.Second
	// relayWriteWait is how long the relay may take in nothing of what is written.
	relayWriteWait = 5 * time.Second
	// relaySilence is how long nothing may come from a relay that is being written to
	// before it is asked whether it is there.
	relaySilence = 2 * time.Second
	// relayHomeSilence is how long nothing may come from the home relay before it is
	// asked, whether or not something is written to it.
	relayHomeSilence = 20 * time.Second
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
	failures atomic.Int32  // connections that failed since the last message received
	kick     chan struct{} // has an element when waiting to connect again makes no sense any more
	probing  atomic.Bool   // the relay is being asked whether it is there
	suspect  atomic.Bool   // nothing is written before it has answered
	lost     atomic.Bool   // the last connection ended, or connecting failed
	rtt      atomic.Int64  // of the last answer, nanoseconds, 0 if unknown

	mu      sync.Mutex
	conn    RelayConn // nil while not connected
	lastErr error
}

func newLink(r *relays, region *control.DERPRegion, priv key.NodePrivate, home bool) *link {
	l := &link{r: r, region: region, priv: priv, kick: make(chan struct{}, 1)}
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
	if l.home.Swap(home) != home {
		l.queue.poke() // transmit tells the relay
		if home {
			l.retry()
		}
	}
}

// retry ends a pause before connecting again.
func (l *link) retry() {
	l.failures.Store(0)
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// run connects whenever there is a reason to, until the link is closed.
func (l *link) run() {
	for l.awaitReason() {
		conn, err := l.r.dial(l.ctx, l)
		l.setConn(conn, err)
		if err != nil {
			if l.ctx.Err() == nil {
				l.r.e.log.Debug("cannot connect to relay", "region", l.region.RegionCode, "error", err)
				l.r.e.post(func() { l.r.e.homeLost(l) })
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
	for (!l.home.Load() || l.r.offline.Load()) && l.queue.empty() {
		select {
		case <-l.queue.ready:
		case <-l.kick:
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
	l.lost.Store(c == nil)
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
	timer := time.NewTimer(jitter.Around(d))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.kick:
	case <-l.ctx.Done():
	}
}

// serve uses a connection until it fails, is idle or the link is closed.
func (l *link) serve(conn RelayConn) {
	ctx, cancel := context.WithCancel(l.ctx)
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	l.rtt.Store(0)
	l.ask(conn) // to know how long it takes
	reader := make(chan struct{})
	go func() {
		defer close(reader)
		defer cancel()
		l.receive(conn)
	}()
	l.transmit(ctx, conn)
	l.setUp(false)
	l.suspect.Store(false)
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
	toldHome := false
	for {
		if home := l.home.Load(); home != toldHome {
			toldHome = home
			if conn.NotePreferred(home) != nil {
				return
			}
		}
		if now := time.Now(); !l.suspect.Load() && l.queue.take(now, &batch) {
			err := conn.SendPackets(batch.packets)
			batch.release()
			if err != nil {
				return
			}
			l.probe(now, conn)
			continue
		}
		select {
		case <-l.queue.ready:
		case <-idle.C:
			switch home := l.home.Load(); {
			case home && time.Since(time.Unix(0, l.lastRecv.Load())) >= relayHomeSilence:
				l.ask(conn) // nobody may be able to reach us, and writing would not show it
			case !home && time.Since(time.Unix(0, l.lastSend.Load())) >= relayIdle:
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
	l.retry()
	if c == nil {
		return
	}
	if from := c.LocalAddr().Addr(); local != nil && from.IsValid() && !slices.Contains(local, from) {
		c.Close()
		return
	}
	// It may be dead without anybody knowing, also where the address is the same: home
	// networks are alike. What is written now would be lost then.
	l.suspect.Store(true)
	l.ask(c)
}

// probe asks the relay whether it is there if nothing came from it for a while although
// something was written to it: the writes of a dead connection succeed for long.
func (l *link) probe(now time.Time, c RelayConn) {
	if now.Sub(time.Unix(0, l.lastRecv.Load())) >= relaySilence {
		l.ask(c)
	}
}

// ask closes the connection if the relay does not answer a ping. One ping is on its way at
// a time.
func (l *link) ask(c RelayConn) {
	if l.probing.Swap(true) {
		return
	}
	wait := relayPingAny
	if rtt := time.Duration(l.rtt.Load()); rtt != 0 {
		wait = min(3*rtt+relayPingMin, relayPingMax)
	} else if !l.suspect.Load() {
		wait = relayPingMax // nothing waits for the answer
	}
	l.r.wg.Go(func() {
		ctx, cancel := context.WithTimeout(l.ctx, wait)
		defer cancel()
		rtt, err := c.Ping(ctx)
		// Before suspect is cleared: whoever sets it from here on asks again.
		l.probing.Store(false)
		if err != nil {
			c.Close()
			return
		}
		l.rtt.Store(int64(rtt))
		l.suspect.Store(false)
		l.queue.poke()
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
