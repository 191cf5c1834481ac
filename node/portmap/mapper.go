package portmap

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ginnel/ginnel/wire/control"
)

// Want is what a Mapper is to reach.
type Want struct {
	// Port4 and Port6 are the local UDP ports that are to be reachable from outside by
	// IPv4 and IPv6, 0 for none.
	Port4, Port6 uint16
	// NoUPnP leaves out UPnP.
	NoUPnP bool
	// Down says that there is no network: all is forgotten, and nothing is sent.
	Down bool
}

// Mapper holds mappings on the gateway. Make one with New and Close it.
type Mapper struct {
	opts  Options
	log   *slog.Logger
	state atomic.Pointer[State]

	ctx     context.Context
	cancel  context.CancelFunc
	ended   chan struct{}
	changed chan struct{} // want or links may have changed
	inbox   chan func()   // run by the loop
	news    chan struct{} // state has changed
	jobs    sync.WaitGroup

	mu    sync.Mutex
	want  Want
	moved bool // the network has changed

	// What follows belongs to the loop.
	now        Want
	four, six  *session // nil without a gateway
	announces  net.PacketConn
	searched   time.Time // when the last search began
	searchMore time.Time // when to repeat it, zero if not
	complete   bool      // a search of this gateway has been given its time
	probes     []probe
	releasing  map[releaseKey]int
}

// probe is somebody who waits for a search.
type probe struct {
	until time.Time
	done  chan struct{}
}

// releaseKey tells mappings that are being released from others.
type releaseKey struct {
	gateway  netip.Addr
	internal netip.AddrPort
}

// New starts a Mapper that wants nothing yet.
func New(o Options) *Mapper {
	o.fill()
	m := &Mapper{
		opts: o, log: o.Logger, ended: make(chan struct{}), changed: make(chan struct{}, 1),
		inbox: make(chan func()), news: make(chan struct{}, 1), releasing: map[releaseKey]int{},
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.state.Store(&State{})
	m.jobs.Go(m.tell)
	go m.run()
	return m
}

// State returns what is reached now.
func (m *Mapper) State() State { return *m.state.Load() }

// Set says what is wanted. It may be called at any time, also with what it was before.
func (m *Mapper) Set(w Want) { m.edit(func() { m.want = w }) }

// LinkChanged says that the network has changed, or that the machine slept: gateway and
// addresses are read again, and mappings are renewed.
func (m *Mapper) LinkChanged() { m.edit(func() { m.moved = true }) }

func (m *Mapper) edit(f func()) {
	m.mu.Lock()
	f()
	m.mu.Unlock()
	poke(m.changed)
}

func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// Probe finds out what the gateway speaks. It takes up to 1.1 s, or until ctx ends, and
// returns what is known by then. Several calls within a few seconds share one search.
func (m *Mapper) Probe(ctx context.Context) Services {
	done := make(chan struct{})
	if m.post(func() { m.startProbe(done) }) {
		select {
		case <-done:
		case <-ctx.Done():
		case <-m.ctx.Done():
		}
	}
	return m.State().Services
}

// Close takes the mappings back and ends the Mapper. It takes at most 2 s.
func (m *Mapper) Close() {
	m.cancel()
	<-m.ended
}

// post has f run by the loop. It reports false if the loop has ended or is about to.
func (m *Mapper) post(f func()) bool {
	select {
	case m.inbox <- f:
		return true
	case <-m.ctx.Done():
		return false
	}
}

// job runs f aside. f must end soon after its context.
func (m *Mapper) job(f func()) { m.jobs.Go(f) }

// run is the loop.
func (m *Mapper) run() {
	defer close(m.ended)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if at := m.due(); at.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(at))
		}
		select {
		case <-m.ctx.Done():
			m.shutdown()
			return
		case <-m.changed:
			m.reconcile()
		case f := <-m.inbox:
			f()
		case <-timer.C:
		}
		m.tick(time.Now())
		m.publish(time.Now())
	}
}

// shutdown takes all back and waits until it is done.
func (m *Mapper) shutdown() {
	for _, s := range []*session{m.four, m.six} {
		if s != nil {
			s.close(true)
		}
	}
	m.four, m.six = nil, nil
	m.listen()
	m.jobs.Wait()
}

// sessions calls f for each session.
func (m *Mapper) sessions(f func(*session)) {
	for _, s := range []*session{m.four, m.six} {
		if s != nil {
			f(s)
		}
	}
}

// reconcile brings the sessions to what is wanted.
func (m *Mapper) reconcile() {
	m.mu.Lock()
	m.now = m.want
	moved := m.moved
	m.moved = false
	m.mu.Unlock()
	var four, six sessionKey
	if !m.now.Down {
		g, err := m.opts.Gateways()
		if err != nil {
			m.log.Warn("cannot find the gateway; no ports are mapped", "err", err)
		}
		// Whoever has a public gateway needs no mapping, and its owner no questions.
		if a := g.V4.Addr; a.Is4() && within(a, notPublic) && g.V4.Self.Is4() {
			four = sessionKey{a, g.V4.Self, g.V4.Interface, m.now.Port4}
		}
		if g.V6.Addr.Is6() && g.V6.Self.Is6() && m.now.Port6 != 0 {
			six = sessionKey{g.V6.Addr, g.V6.Self, g.V6.Interface, m.now.Port6}
		}
	}
	m.four, m.six = m.adjust(m.four, four, moved), m.adjust(m.six, six, moved)
}

// adjust returns the session that is to be instead of s.
func (m *Mapper) adjust(s *session, key sessionKey, moved bool) *session {
	if s != nil && s.key == key {
		if m.now.NoUPnP && s.held != nil && s.held.via == UPnP {
			s.drop(time.Now())
		}
		if moved {
			s.moved(time.Now())
		}
		return s
	}
	var next *session
	if key.gateway.IsValid() {
		next = m.newSession(key, s)
	}
	if s != nil {
		s.close(!m.now.Down)
	}
	return next
}

// due returns when tick is to be called next, zero for never.
func (m *Mapper) due() (at time.Time) {
	sooner := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	m.sessions(func(s *session) { sooner(s.due()) })
	sooner(m.searchMore)
	for _, p := range m.probes {
		sooner(p.until)
	}
	if m.four != nil && !m.searched.IsZero() && time.Since(m.searched) < probeTime {
		sooner(m.searched.Add(probeTime)) // what has not answered by then is not there
	}
	return at
}

func (m *Mapper) tick(now time.Time) {
	m.sessions(func(s *session) { s.tick(now) })
	m.listen()
	if !m.searchMore.IsZero() && !now.Before(m.searchMore) {
		m.searchMore = time.Time{}
		if m.four != nil {
			m.four.search()
		}
	}
	all := m.four == nil || m.services(now).all()
	waiting := m.probes[:0]
	for _, p := range m.probes {
		if all || !now.Before(p.until) {
			m.publish(now)
			close(p.done)
		} else {
			waiting = append(waiting, p)
		}
	}
	m.probes = waiting
}

func (s Services) all() bool {
	return s.PMP == control.True && s.PCP == control.True && s.UPnP == control.True
}

// startProbe searches unless that was done just now.
func (m *Mapper) startProbe(done chan struct{}) {
	m.reconcile()
	now := time.Now()
	m.tick(now) // if a race is due then it searches as well
	if m.four != nil && (m.searched.IsZero() || now.Sub(m.searched) > probeSpacing) {
		m.four.search()
		m.searched, m.searchMore = now, now.Add(firstResend)
	}
	m.probes = append(m.probes, probe{m.searched.Add(probeTime), done})
}

// services returns what is known of the gateway.
func (m *Mapper) services(now time.Time) (s Services) {
	if m.four == nil {
		return s
	}
	over := !m.searched.IsZero() && now.Sub(m.searched) >= probeTime
	m.complete = m.complete || over
	known := func(via Protocol) control.OptBool {
		switch at := m.four.seen[via]; {
		case !at.IsZero() && (now.Sub(at) < present || !at.Before(m.searched) || !over):
			return control.True
		case m.complete && (via != UPnP || !m.now.NoUPnP):
			return control.False
		}
		return control.Unset
	}
	return Services{PMP: known(PMP), PCP: known(PCP), UPnP: known(UPnP)}
}

// publish makes the state known if it has changed.
func (m *Mapper) publish(now time.Time) {
	s := State{Services: m.services(now)}
	if m.four != nil && m.four.held != nil {
		h := m.four.held
		s.External, s.Via, s.DoubleNAT = h.external, h.via, h.doubleNAT
	}
	if m.six != nil && m.six.held != nil {
		s.Pinhole = m.six.held.external
	}
	if old := m.state.Load(); s != *old {
		m.state.Store(&s)
		poke(m.news)
	}
}

// tell calls OnChange.
func (m *Mapper) tell() {
	var last State
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-m.news:
		}
		if s := m.State(); s != last {
			last = s
			m.opts.OnChange(s)
		}
	}
}

// listen hears announcements while there is a mapping that they may be about.
func (m *Mapper) listen() {
	wanted := false
	m.sessions(func(s *session) { wanted = wanted || s.held != nil })
	switch {
	case wanted == (m.announces != nil):
	case !wanted:
		m.announces.Close()
		m.announces = nil
	case m.four != nil:
		c, err := m.opts.ListenAnnouncements(m.four.key.ifname)
		if err != nil {
			m.log.Debug("cannot hear what gateways announce; restarts are noticed later", "err", err)
			c = deaf{}
		}
		m.announces = c
		m.job(func() {
			m.read(c, func(from netip.AddrPort, b []byte) {
				if m.announces == c {
					m.sessions(func(s *session) { s.announced(from, b) })
				}
			})
		})
	}
}

// deaf stands for a socket that could not be opened.
type deaf struct{ net.PacketConn }

func (deaf) ReadFrom([]byte) (int, net.Addr, error) { return 0, nil, net.ErrClosed }
func (deaf) Close() error                           { return nil }

// read hands the datagrams of a socket to the loop until the socket is closed.
func (m *Mapper) read(c net.PacketConn, take func(from netip.AddrPort, b []byte)) {
	buf := make([]byte, 4097)
	for failures := 0; failures < 10; {
		n, addr, err := c.ReadFrom(buf)
		if err != nil {
			if m.ctx.Err() != nil || isClosed(err) {
				return
			}
			failures++ // such as a report that nobody listened to what was sent
			continue
		}
		failures = 0
		from, ok := addr.(*net.UDPAddr)
		if !ok {
			continue
		}
		b := append([]byte(nil), buf[:n]...)
		ap := from.AddrPort()
		ap = netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
		if !m.post(func() { take(ap, b) }) {
			return
		}
	}
}
