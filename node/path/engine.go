package path

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ginnel/ginnel/node/netcheck"
	"github.com/ginnel/ginnel/node/path/probing"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// Engine finds and uses paths to peers. See the package comment.
type Engine struct {
	opts Options
	log  *slog.Logger

	// Shared by all.
	sock4, sock6 socket
	relays       relays
	relayIn      relayRing
	early        early
	strangers    strangers
	live         liveness
	discoKey     atomic.Pointer[key.DiscoPublic]
	sources      sources
	byKey        sync.Map // key.NodePublic -> *peer
	knownDisco   sync.Map // key.DiscoPublic of loop.byDisco -> struct{}
	counters     counters
	unknown      unknownCounters
	overruns     atomic.Uint64 // path-finding packets that the loop had no time for
	ipv6Works    atomic.Bool
	socketBroken atomic.Bool // the loop is about to see to it
	checker      netcheck.Client

	// Ways into the loop.
	cmds    chan func()
	posted  postbox
	packets chan *inPacket
	wake    chan *peer
	closing chan struct{}
	done    chan struct{}
	once    sync.Once
	notify  notifier

	loop loopState // belongs to the loop
}

// loopState is what only the loop touches.
type loopState struct {
	cfg     Config
	disco   key.DiscoPrivate
	peers   map[key.NodePublic]*peer
	byDisco map[key.DiscoPublic]*discoPeers
	timers  timers
	waiters map[txID]*pingWaiter
	self    selfState
	acts    []probing.Action // reused

	lastErrorRebind time.Time
	linkUp          bool
	buf, inner      []byte // reused for sealing and opening
}

// ErrClosed is the error of an engine after Close.
var ErrClosed = errors.New("path: engine closed")

// New opens the sockets and starts the engine, without peers.
func New(o Options) (*Engine, error) {
	o.fill()
	e := &Engine{
		opts: o, log: o.Logger,
		cmds: make(chan func()), packets: make(chan *inPacket, 512), wake: make(chan *peer, 1024),
		closing: make(chan struct{}), done: make(chan struct{}),
	}
	e.loop = loopState{
		peers: map[key.NodePublic]*peer{}, byDisco: map[key.DiscoPublic]*discoPeers{},
		waiters: map[txID]*pingWaiter{}, linkUp: true,
	}
	if o.DiscoKey.IsZero() {
		o.DiscoKey = key.NewDisco()
	}
	e.setDisco(o.DiscoKey)
	e.live.e = e
	e.posted.init()
	e.relays.init(e)
	e.relayIn.init()
	e.notify.init()
	e.sock4.init("udp4", o.ListenPacket)
	e.sock6.init("udp6", o.ListenPacket)
	e.initChecker()
	if err := e.openSockets(o.Port); err != nil {
		return nil, err
	}
	go e.notify.run()
	go e.run()
	return e, nil
}

// openSockets opens both sockets on one port, if possible that one or the one before.
// IPv6 may be missing.
func (e *Engine) openSockets(port uint16) error {
	if e.opts.NoUDP {
		return nil
	}
	before := e.sock4.port()
	if before == 0 {
		before = e.opts.PreferPort
	}
	if err := e.sock4.open(uniquePorts(port, before)...); err != nil {
		return fmt.Errorf("open UDP port %d: %w", port, err)
	}
	if port != 0 && e.sock4.port() != port {
		e.log.Warn("UDP port is taken, using another", "wanted", port, "port", e.sock4.port())
	}
	if err := e.sock6.open(uniquePorts(e.sock4.port(), e.sock6.port())...); err != nil {
		e.log.Debug("no IPv6 socket", "error", err)
	}
	return nil
}

// uniquePorts returns ports and then 0, without repeating any.
func uniquePorts(ports ...uint16) (list []uint16) {
	for _, p := range ports {
		if p != 0 && (len(list) == 0 || list[0] != p) {
			list = append(list, p)
		}
	}
	return append(list, 0)
}

// DiscoKey returns the public disco key in use.
func (e *Engine) DiscoKey() key.DiscoPublic { return *e.discoKey.Load() }

// LocalPort returns the UDP port for IPv4, 0 if there is none.
func (e *Engine) LocalPort() uint16 { return e.sock4.port() }

// LocalPorts returns the UDP ports for IPv4 and IPv6, 0 for none.
func (e *Engine) LocalPorts() (port4, port6 uint16) { return e.sock4.port(), e.sock6.port() }

// Close stops everything and waits for it.
func (e *Engine) Close() error {
	e.once.Do(func() { close(e.closing) })
	<-e.done
	return nil
}

// run is the loop.
func (e *Engine) run() {
	defer close(e.done)
	defer e.shutdown()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if next := e.nextDeadline(); next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(next))
		}
		select {
		case f := <-e.cmds:
			f()
		case <-e.posted.ready:
			for _, f := range e.posted.take() {
				f()
			}
		case p := <-e.packets:
			e.handlePacket(p.data, p.from)
			p.release()
		case p := <-e.wake:
			p.waking.Store(false)
			e.tickPeer(p)
		case <-timer.C:
			e.tick()
		case <-e.closing:
			return
		}
	}
}

// shutdown ends all that the engine started.
func (e *Engine) shutdown() {
	e.loop.self.cancelCheck()
	for _, w := range e.loop.waiters {
		w.finish(PingResult{}, ErrClosed)
	}
	e.sock4.close()
	e.sock6.close()
	e.relayIn.close()
	e.relays.close()
	e.notify.close()
}

// nextDeadline returns when the loop has something to do by itself, zero for never.
func (e *Engine) nextDeadline() time.Time {
	next := e.loop.self.nextCheck
	if t := e.loop.timers; len(t) > 0 && (next.IsZero() || t[0].deadline.Before(next)) {
		next = t[0].deadline
	}
	return next
}

// tick does what is due.
func (e *Engine) tick() {
	now := time.Now()
	for len(e.loop.timers) > 0 && !e.loop.timers[0].deadline.After(now) {
		e.tickPeer(e.loop.timers[0])
	}
	if c := e.loop.self.nextCheck; !c.IsZero() && !c.After(now) {
		e.periodicCheck(now)
	}
}

// tickPeer lets a peer's machine do what is due and know when data was last sent.
func (e *Engine) tickPeer(p *peer) {
	e.drive(p, func(now time.Time, acts []probing.Action) []probing.Action {
		if addr := p.unreachable.Swap(nil); addr != nil {
			p.machine.Unreachable(*addr)
		}
		if at := p.lastSend.Load(); at != 0 {
			acts = p.machine.Sent(now, unixNano(now, at), acts)
		}
		if at := p.lastBest.Load(); at != 0 {
			p.machine.Heard(unixNano(now, at))
		}
		return p.machine.Tick(now, acts)
	})
	// A packet between reading lastSend and publishing that the session is over would
	// not have woken the loop.
	if r := p.route.Load(); !r.Flowing && p.lastSend.Load() > time.Now().Add(-probing.FlowDuration).UnixNano() {
		e.wakeLoop(p)
	}
}

// unixNano returns the time ns, not after now and with its monotonic clock.
func unixNano(now time.Time, ns int64) time.Time {
	return now.Add(-max(time.Duration(now.UnixNano()-ns), 0))
}

// drive hands an event to a peer's machine and does all that follows.
func (e *Engine) drive(p *peer, event func(now time.Time, acts []probing.Action) []probing.Action) {
	if p.gone {
		return
	}
	now := time.Now()
	acts := event(now, e.loop.acts[:0])
	e.loop.acts = nil // in case performing them drives another peer
	for i := range acts {
		e.perform(p, &acts[i])
	}
	e.loop.acts = acts[:0]
	e.publish(p)
	e.loop.timers.set(p, p.machine.Deadline())
	e.scheduleCheck(now)
}

// publish makes the machine's route the one that senders use.
func (e *Engine) publish(p *peer) {
	old, r := p.route.Load(), p.machine.Route()
	if old != nil && *old == r {
		return
	}
	p.route.Store(&r)
	if p.held.Load() != nil && (r.Region != 0 || r.Addr.IsValid()) {
		e.sendHeld(p)
	}
	e.live.path(old != nil && old.Addr.IsValid(), r.Addr.IsValid())
	if e.opts.OnPeerPath != nil && old != nil && (old.Addr != r.Addr || old.Region != r.Region) {
		pp := PeerPath{Peer: p.key, Addr: r.Addr, Region: r.Region}
		e.notify.add(func() { e.opts.OnPeerPath(pp) })
	}
}

// do runs f on the loop and waits for it.
func (e *Engine) do(f func()) error {
	ran := make(chan struct{})
	select {
	case e.cmds <- func() { f(); close(ran) }:
	case <-e.done:
		return ErrClosed
	}
	select {
	case <-ran:
		return nil
	case <-e.done:
		return ErrClosed
	}
}

// post has f run on the loop soon. It does not wait, so that the loop itself and what it
// waits for may call it.
func (e *Engine) post(f func()) { e.posted.add(f) }

// rebindThrottle is the least time between rebinds because of errors.
const rebindThrottle = 5 * time.Second

// rebindAfterError replaces sockets that fail, but not all the time.
func (e *Engine) rebindAfterError() {
	e.socketBroken.Store(false)
	now := time.Now()
	if !e.loop.lastErrorRebind.IsZero() && now.Sub(e.loop.lastErrorRebind) < rebindThrottle {
		return
	}
	e.loop.lastErrorRebind = now
	e.rebind(nil)
}

// rebind replaces the sockets and forgets what was known of paths.
func (e *Engine) rebind(localAddrs []addr) {
	if err := e.openSockets(e.opts.Port); err != nil {
		e.log.Warn("rebind", "error", err)
	}
	e.loop.self.moved()
	e.relays.reconnect(localAddrs)
	for _, p := range e.loop.peers {
		e.drive(p, p.machine.Rebound)
	}
	e.check("rebind")
}

// Rebind opens new UDP sockets, forgets all direct paths and looks for new ones.
func (e *Engine) Rebind() { e.post(func() { e.rebind(nil) }) }

// Restun finds out the node's endpoints anew.
func (e *Engine) Restun() { e.post(func() { e.check("asked for") }) }

// LinkChanged tells the engine of a change of the machine's network.
func (e *Engine) LinkChanged(c LinkChange) {
	e.post(func() {
		wasUp := e.loop.linkUp
		e.loop.linkUp = c.Up
		e.relays.offline.Store(!c.Up)
		switch {
		case !c.Up:
			e.relays.reconnect([]addr{})
		case c.Rebind || !wasUp:
			e.rebind(c.LocalAddrs)
		default:
			e.check("link change")
		}
	})
}

// initChecker sets up the network checker to use the engine's sockets.
func (e *Engine) initChecker() {
	e.checker.Logger = e.log
	e.checker.Lookup = e.opts.Lookup
	e.checker.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		return e.opts.Dial(ctx, network, address)
	}
	e.checker.Families = e.families
	if !e.opts.NoUDP {
		e.checker.Send = func(pkt []byte, to addrPort) error {
			return e.socket(to).writeBatch([][]byte{pkt}, to)
		}
	}
}

// netInfoChanged reports whether the coordination server should hear of b after a.
func netInfoChanged(a, b *control.NetInfo) bool { return a == nil || !a.EqualButLatency(b) }
