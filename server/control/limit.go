package control

import (
	"net/http"
	"net/netip"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/ginnel/ginnel/internal/connlimit"
	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// Limits of failed registrations: those that were refused, and those that left
// somebody to decide. Joins that succeed are free, so an office behind one address
// may join all at once. A machine that retries a bad auth key as the protocol's
// backoff has it stays below its limit; that of an address is for thousands of
// them.
const (
	machineFailures   = 30
	machineFailuresIn = 5 * time.Second // each
	addressFailures   = 1000
	addressFailuresIn = 50 * time.Millisecond // each
	// maxFailing bounds how many machines, and how many addresses, are kept.
	maxFailing = 4096
)

// registerLimit holds back those whose registrations fail too often.
type registerLimit struct {
	mu        sync.Mutex
	machines  failures[key.MachinePublic]
	addresses failures[netip.Prefix]
}

func (l *registerLimit) init() {
	l.machines.init(machineFailures, machineFailuresIn)
	l.addresses.init(addressFailures, addressFailuresIn)
}

// wait returns how long the machine, at that address, must wait before it may try
// to register, 0 for not at all.
func (l *registerLimit) wait(m key.MachinePublic, from netip.Addr, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(l.machines.wait(m, now), l.addresses.wait(connlimit.Source(from), now))
}

// failed counts a failure.
func (l *registerLimit) failed(m key.MachinePublic, from netip.Addr, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.machines.add(m, now)
	l.addresses.add(connlimit.Source(from), now)
}

// failures counts failures by key K in leaky buckets: max of them at once, one more
// with every interval.
type failures[K comparable] struct {
	interval time.Duration
	burst    time.Duration
	// clear is when the bucket of a key is empty again.
	clear map[K]time.Time
}

func (f *failures[K]) init(max int, interval time.Duration) {
	f.interval, f.burst = interval, time.Duration(max)*interval
	f.clear = map[K]time.Time{}
}

func (f *failures[K]) wait(k K, now time.Time) time.Duration {
	fill := max(0, f.clear[k].Sub(now))
	return max(0, fill+f.interval-f.burst)
}

func (f *failures[K]) add(k K, now time.Time) {
	at := f.clear[k]
	if at.Before(now) {
		at = now
	}
	if len(f.clear) >= maxFailing {
		f.shrink(now)
	}
	f.clear[k] = at.Add(f.interval)
}

// shrink makes room: empty buckets go, else any of them.
func (f *failures[K]) shrink(now time.Time) {
	for k, at := range f.clear {
		if !at.After(now) {
			delete(f.clear, k)
		}
	}
	for k := range f.clear {
		if len(f.clear) < maxFailing-maxFailing/16 {
			return
		}
		delete(f.clear, k)
	}
}

// versionRateLimit is the version from which nodes wait as a status 429 says.
const versionRateLimit control.CapabilityVersion = 137

// admitRegister lets a registration go on, or holds it back (wire document control,
// sections 4.3 and 10.6) and returns false. Nodes that are in, and logins that wait
// for an answer, are never held back.
func (s *Server) admitRegister(w http.ResponseWriter, req *control.RegisterRequest, p tailnet.RegisterParams, now time.Time) bool {
	wait := s.limit.wait(p.Machine, p.From, now)
	if wait == 0 {
		return true
	}
	if n := s.cfg.Tailnet.Snapshot().NodeByKey(p.NodeKey); n != nil && n.Machine == p.Machine && !n.Expired(now) {
		return true
	}
	if l, ok := s.cfg.Tailnet.PendingLogin(p.FollowupID); ok && l.Machine == p.Machine && l.NodeKey == p.NodeKey {
		return true
	}
	seconds := strconv.Itoa(int((wait + time.Second - 1) / time.Second))
	text := "too many failed registrations from this machine or address; try again in " + seconds + " seconds"
	s.metrics.limited.Inc()
	s.log.Debug("registration held back", "machine", p.Machine.ShortString(), "from", p.From, "seconds", seconds)
	if req.Version < versionRateLimit {
		s.reply(w, "register", &control.RegisterResponse{Error: text})
		return false
	}
	w.Header().Set("Retry-After", seconds)
	s.refuse(w, "register", http.StatusTooManyRequests, text)
	return false
}

// Limits of upgrades from one address. The first is for all nodes of a company that
// come back at once, after the server has started anew.
const (
	addressUpgrades   = 10000
	addressUpgradesIn = 10 * time.Millisecond // each
)

// upgradeLimit holds back addresses that make too many Noise handshakes, each of
// which costs the server a good deal more than it costs them.
type upgradeLimit struct {
	// slots are held during a handshake's arithmetic, so that a flood of
	// handshakes competes with everything else for no more than each processor's
	// time once.
	slots chan struct{}

	mu        sync.Mutex
	addresses failures[netip.Prefix]
}

func (l *upgradeLimit) init() {
	l.slots = make(chan struct{}, runtime.GOMAXPROCS(0))
	l.addresses.init(addressUpgrades, addressUpgradesIn)
}

// admitUpgrade lets a handshake go on, or refuses it and returns false.
func (s *Server) admitUpgrade(w http.ResponseWriter, r *http.Request, now time.Time) bool {
	addr, _ := netip.ParseAddrPort(r.RemoteAddr)
	from := connlimit.Source(addr.Addr())
	l := &s.upgrades
	l.mu.Lock()
	wait := l.addresses.wait(from, now)
	if wait == 0 {
		l.addresses.add(from, now)
	}
	l.mu.Unlock()
	if wait == 0 {
		return true
	}
	s.metrics.upgradesLimited.Inc()
	w.Header().Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
	w.Header().Set("Connection", "close")
	s.refuse(w, "ts2021", http.StatusTooManyRequests, "too many connections from this address")
	return false
}
