package probing

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ginnel/ginnel/wire/disco"
)

var (
	start = time.Unix(1_700_000_000, 0)
	addrA = netip.MustParseAddrPort("192.0.2.1:41641")
	addrB = netip.MustParseAddrPort("192.0.2.2:41641")
	addrC = netip.MustParseAddrPort("[2001:db8::3]:41641")
)

// driver drives a machine through a time of its own.
type driver struct {
	t    testing.TB
	m    *Machine
	now  time.Time
	acts []Action // of the last step

	alive netip.AddrPort // from where pings are answered during sleep
	rtt   time.Duration  // after so long
}

// counter returns transaction IDs 1, 2, 3 ...
func counter() func() disco.TxID {
	n := uint64(0)
	return func() (id disco.TxID) {
		n++
		binary.BigEndian.PutUint64(id[:], n)
		return id
	}
}

func drive(t testing.TB, region int, endpoints ...netip.AddrPort) *driver {
	return &driver{t: t, m: New(Config{Endpoints: endpoints, Region: region, Disco: true}, counter()), now: start}
}

// sleep lets d pass, ticking whenever the machine wants to, and collects the actions.
func (d *driver) sleep(by time.Duration) {
	end := d.now.Add(by)
	d.acts = nil
	for range 10_000 {
		due := d.m.Deadline()
		if due.IsZero() || due.After(end) {
			d.now = end
			return
		}
		if due.After(d.now) {
			d.now = due
		}
		n := len(d.acts)
		d.acts = d.m.Tick(d.now, d.acts)
		for _, a := range d.acts[n:] {
			if a.Kind == SendPing && a.Addr == d.alive && a.Addr.IsValid() {
				d.now = d.now.Add(d.rtt)
				d.m.PongReceived(d.now, a.TxID, a.Addr, nil)
			}
		}
	}
	d.t.Fatal("the machine wants to tick without end")
}

// keepSending does as sleep while data is sent all the time.
func (d *driver) keepSending(by time.Duration) {
	var all []Action
	for end := d.now.Add(by); d.now.Before(end); {
		d.acts = d.m.Sent(d.now, d.now, nil)
		all = append(all, d.acts...)
		d.sleep(min(100*time.Millisecond, end.Sub(d.now)))
		all = append(all, d.acts...)
	}
	d.acts = all
}

func (d *driver) send()                              { d.acts = d.m.Sent(d.now, d.now, nil) }
func (d *driver) route() Route                       { return d.m.Route() }
func (d *driver) trusted() bool                      { r := d.m.Route(); return r.Trusted(d.now) }
func (d *driver) callMeMaybe(list ...netip.AddrPort) { d.acts = d.m.CallMeMaybe(d.now, list, nil) }

// pings returns the addresses pinged in the last step.
func (d *driver) pings() (list []netip.AddrPort) {
	for _, a := range d.acts {
		if a.Kind == SendPing {
			list = append(list, a.Addr)
		}
	}
	return list
}

// count returns how many actions of a kind the last step had.
func (d *driver) count(kind ActionKind) (n int) {
	for _, a := range d.acts {
		if a.Kind == kind {
			n++
		}
	}
	return n
}

// answer has the last ping of the last step to addr answered after rtt.
func (d *driver) answer(addr netip.AddrPort, rtt time.Duration) {
	d.t.Helper()
	for _, a := range slices.Backward(d.acts) {
		if a.Kind == SendPing && a.Addr == addr {
			d.now = d.now.Add(rtt)
			d.acts = d.m.PongReceived(d.now, a.TxID, addr, nil)
			return
		}
	}
	d.t.Fatalf("no ping to %v among %+v", addr, d.acts)
}

func (d *driver) wantPings(want ...netip.AddrPort) {
	d.t.Helper()
	if got := d.pings(); !slices.Equal(got, want) {
		d.t.Fatalf("pinged %v, want %v", got, want)
	}
}

// unasked checks that a pong nobody asked for changes nothing.
func (d *driver) unasked() {
	d.t.Helper()
	if acts := d.m.PongReceived(d.now, disco.TxID{0xff}, addrA, nil); len(acts) != 0 || d.trusted() {
		d.t.Fatalf("an unasked pong led to %+v", acts)
	}
}

func TestFirstSend(t *testing.T) {
	d := drive(t, 900, addrA, addrB)
	if !d.m.Deadline().IsZero() || d.route().Active {
		t.Fatal("a peer that nobody talks to has a timer")
	}
	d.send()
	d.wantPings(addrA, addrB)
	if last := d.acts[len(d.acts)-1]; last.Kind != SendCallMeMaybe || last.Region != 900 {
		t.Fatalf("the last action is %+v, want a call-me-maybe after the pings", last)
	}
	if r := d.route(); r.Addr.IsValid() || r.Region != 900 || !r.Active {
		t.Fatalf("route %+v, want the relay", r)
	}
	d.send()
	d.wantPings()
	d.unasked()
}

func TestPongMakesDirect(t *testing.T) {
	d := drive(t, 900, addrA, addrB)
	d.send()
	d.answer(addrA, 20*time.Millisecond)
	if !d.trusted() || d.route().Addr != addrA || d.count(BindSource) != 1 {
		t.Fatalf("route %+v, actions %+v", d.route(), d.acts)
	}
	if want := d.now.Add(TrustDuration); !d.route().TrustedUntil.Equal(want) {
		t.Errorf("trusted until %v, want %v", d.route().TrustedUntil, want)
	}
}

// TestTrust loses all pongs after the first while data flows: it goes both ways soon, and
// the path is forgotten when a ping times out; one pong restores it.
func TestTrust(t *testing.T) {
	for _, rtt := range []time.Duration{time.Millisecond, 40 * time.Millisecond, 300 * time.Millisecond} {
		d := drive(t, 900, addrA)
		d.send()
		d.answer(addrA, rtt)
		died := d.now
		for d.trusted() {
			d.keepSending(20 * time.Millisecond)
			if d.now.Sub(died) > 2*time.Second {
				t.Fatalf("a path of %v is trusted 2 s after it died", rtt)
			}
		}
		if took := d.now.Sub(died); took < silence+maxAsks*askWaitMin {
			t.Errorf("a path of %v was doubted after %v", rtt, took)
		}
		if d.route().Addr != addrA || !d.route().Flowing {
			t.Fatalf("route %+v, want %v beside the relay", d.route(), addrA)
		}
		if d.count(SendCallMeMaybe) == 0 {
			t.Error("the peer was not called when trust ended")
		}
		d.keepSending(PingTimeout + askWaitMax)
		if d.route().Addr.IsValid() {
			t.Fatalf("route %+v, want none after a ping of the untrusted path timed out", d.route())
		}
		d.keepSending(10 * time.Second)
		d.answer(addrA, rtt)
		if !d.trusted() {
			t.Fatal("a pong did not restore trust")
		}
	}
}

// TestDoubtWithoutData has the path die while only heartbeats use it.
func TestDoubtWithoutData(t *testing.T) {
	d := drive(t, 900, addrA)
	d.send()
	d.answer(addrA, time.Millisecond)
	d.alive = addrA
	d.sleep(10 * time.Second)
	if !d.trusted() {
		t.Fatal("a path whose heartbeats are answered is not trusted")
	}
	d.alive = netip.AddrPort{}
	d.sleep(HeartbeatInterval + maxAsks*askWaitMin)
	if d.trusted() {
		t.Fatal("trusted after two heartbeats went unanswered")
	}
}

// TestDataIsASignOfLife has data come over the path all the time: nobody need ask.
func TestDataIsASignOfLife(t *testing.T) {
	d := drive(t, 900, addrA)
	d.send()
	d.answer(addrA, 40*time.Millisecond)
	d.alive = addrA
	pings := 0
	for range 200 { // 20 s
		d.m.Heard(d.now)
		d.keepSending(100 * time.Millisecond)
		pings += len(d.pings())
	}
	if pings > 8 {
		t.Errorf("%d pings in 20 s of lively exchange, want only heartbeats", pings)
	}
	if !d.trusted() {
		t.Error("not trusted")
	}
}

// TestStandByTakesOver has another address answer while the best has gone silent.
func TestStandByTakesOver(t *testing.T) {
	d := drive(t, 900, addrA)
	d.send()
	d.answer(addrA, 40*time.Millisecond)
	d.keepSending(5 * silence / 4)
	_, d.acts = d.m.PingReceived(d.now, addrB, disco.TxID{77}, nil)
	d.answer(addrB, 40*time.Millisecond) // no better than A, as far as is known
	if d.route().Addr != addrA {
		t.Fatalf("route %+v, want %v still", d.route(), addrA)
	}
	d.keepSending(maxAsks * askWaitMin)
	if d.route().Addr != addrB || !d.trusted() {
		t.Fatalf("route %+v, want %v", d.route(), addrB)
	}
}

// TestPeerHasMoved has the peer call with a list that lacks the address in use.
func TestPeerHasMoved(t *testing.T) {
	d := drive(t, 900, addrA)
	d.send()
	d.answer(addrA, time.Millisecond)
	d.callMeMaybe(addrA, addrB)
	if !d.trusted() {
		t.Fatal("a call that lists the address in use made it doubtful")
	}
	d.answer(addrA, time.Millisecond)
	d.callMeMaybe(addrB)
	if d.trusted() || d.route().Addr != addrA {
		t.Fatalf("route %+v, want %v beside the relay", d.route(), addrA)
	}
	d.answer(addrB, time.Millisecond)
	if !d.trusted() || d.route().Addr != addrB {
		t.Fatalf("route %+v, want %v", d.route(), addrB)
	}
}

func TestHeartbeats(t *testing.T) {
	d := drive(t, 900, addrA)
	d.send()
	d.answer(addrA, time.Millisecond)
	d.alive = addrA
	d.sleep(FlowDuration) // in which it may also ask
	for range 14 {        // 42 s after the last send
		d.sleep(HeartbeatInterval)
		d.wantPings(addrA)
		if !d.trusted() {
			t.Fatal("heartbeats did not keep trust")
		}
	}
	d.sleep(2 * HeartbeatInterval)
	d.alive = netip.AddrPort{}
	if d.sleep(time.Minute); len(d.pings()) != 0 || !d.m.Deadline().IsZero() || d.route().Active {
		t.Fatalf("an idle session pings %v, deadline %v", d.pings(), d.m.Deadline())
	}
	d.send()
	if !d.route().Active || len(d.pings()) == 0 {
		t.Fatal("the next packet did not wake the session")
	}
}

// TestUpgrade looks for something better each minute unless what there is is good.
func TestUpgrade(t *testing.T) {
	for rtt, want := range map[time.Duration]bool{0: false, 40 * time.Millisecond: true} {
		d := drive(t, 900, addrA, addrB)
		d.send()
		d.answer(addrA, rtt)
		d.alive, d.rtt = addrA, rtt
		found := false
		for range 25 {
			d.send()
			d.sleep(HeartbeatInterval)
			found = found || slices.Contains(d.pings(), addrB)
		}
		if found != want {
			t.Errorf("with %v: looked for a better path %v, want %v", rtt, found, want)
		}
	}
}

func TestBetterPathReplaces(t *testing.T) {
	d := drive(t, 900, addrA, addrB)
	d.send()
	pings := slices.Clone(d.acts)
	d.answer(addrA, 100*time.Millisecond)
	d.acts = pings
	d.answer(addrB, 0) // 100 ms after its ping, like the other
	if d.route().Addr != addrA {
		t.Fatal("an equal path replaced the best")
	}
	d.sleep(time.Minute)
	d.m.Rebound(d.now, nil)
	d.send()
	pings = slices.Clone(d.acts)
	d.answer(addrB, 10*time.Millisecond)
	d.acts = pings
	d.answer(addrA, 30*time.Millisecond)
	if d.route().Addr != addrB {
		t.Fatal("a slower path replaced the best")
	}
}

func TestTriggeredCheck(t *testing.T) {
	d := drive(t, 900)
	reply, acts := d.m.PingReceived(d.now, addrC, disco.TxID{1}, nil)
	if d.acts = acts; !reply {
		t.Fatal("a ping was not answered")
	}
	d.wantPings(addrC)
	if reply, acts := d.m.PingReceived(d.now, addrC, disco.TxID{1}, nil); reply || len(acts) != 0 {
		t.Fatal("a copy of a ping was answered")
	}
	reply, acts = d.m.PingReceived(d.now, addrC, disco.TxID{2}, nil)
	if !reply || len(acts) != 0 {
		t.Fatalf("the second ping: reply %v, actions %+v; want a reply alone", reply, acts)
	}
	d.answer(addrC, time.Millisecond)
	if !d.trusted() {
		t.Fatal("the pong to the triggered check was not taken")
	}
}

func TestLearnedCandidateExpires(t *testing.T) {
	d := drive(t, 900)
	d.m.PingReceived(d.now, addrA, disco.TxID{1}, nil)
	d.sleep(SessionActive + time.Second)
	if d.send(); len(d.pings()) != 0 {
		t.Fatalf("pinged %v, learned longer than 45 s ago", d.pings())
	}
	if len(d.m.Candidates()) != 0 {
		t.Fatal("a stale candidate stayed")
	}
}

func TestLearnedCandidatesAreBounded(t *testing.T) {
	d := drive(t, 900, addrA)
	for i := range 5000 {
		src := netip.AddrPortFrom(netip.MustParseAddr("198.51.100.1"), uint16(i+1))
		d.m.PingReceived(d.now, src, disco.TxID{byte(i), byte(i >> 8)}, nil)
	}
	if n := len(d.m.Candidates()); n > maxLearned+1 {
		t.Fatalf("%d candidates", n)
	}
	if !d.m.Candidates()[0].Listed {
		t.Fatal("the listed endpoint was evicted by learned ones")
	}
}

func TestCallMeMaybe(t *testing.T) {
	d := drive(t, 900, addrA)
	d.send()
	d.callMeMaybe(addrB, addrC)
	d.wantPings(addrA, addrB, addrC) // also the one pinged just before
	if d.count(SendCallMeMaybe) != 0 {
		t.Fatal("a call-me-maybe was answered with another")
	}
	d.callMeMaybe(addrC)
	d.wantPings(addrA, addrC)
	d.callMeMaybe(addrA)
	d.callMeMaybe()
	if list := d.m.Candidates(); len(list) != 0 {
		t.Fatalf("candidates %+v after an empty list, want none: the last list had them all", list)
	}
	d.callMeMaybe(netip.MustParseAddrPort("[fe80::1]:41641"), netip.MustParseAddrPort("192.0.2.1:0"),
		netip.MustParseAddrPort("0.0.0.0:7"), netip.MustParseAddrPort("[ff02::1]:7"))
	d.wantPings()
	many := make([]netip.AddrPort, 3636)
	for i := range many {
		many[i] = netip.AddrPortFrom(addrA.Addr(), uint16(i+1))
	}
	d.callMeMaybe(many...)
	if n := len(d.pings()); n != maxCalled {
		t.Fatalf("%d pings for 3636 endpoints, want %d", n, maxCalled)
	}
}

// TestCallMeMaybeFlood has a peer call all the time: the pings are bounded in the long run.
func TestCallMeMaybeFlood(t *testing.T) {
	d := drive(t, 900)
	many := make([]netip.AddrPort, maxCalled)
	total := 0
	for i := range 100 { // 10 seconds
		for k := range many {
			many[k] = netip.AddrPortFrom(addrA.Addr(), uint16(1+(i*maxCalled+k)%60000))
		}
		d.callMeMaybe(many...)
		total += len(d.pings())
		d.sleep(100 * time.Millisecond)
		total += len(d.pings())
	}
	if limit := probeBurst + 11*probeRate; total > limit {
		t.Errorf("%d pings in 10 s, want at most %d", total, limit)
	}
	if n := len(d.m.Candidates()); n > maxCalled+maxLearned {
		t.Errorf("%d candidates", n)
	}
}

// TestOwnCallGoesOut has the peer call more often than this node would ping by itself:
// its own call must not be kept back by that.
func TestOwnCallGoesOut(t *testing.T) {
	d := drive(t, 900, addrA)
	calls := 0
	for range 20 {
		d.callMeMaybe(addrA)
		d.send()
		calls += d.count(SendCallMeMaybe)
		d.sleep(4500 * time.Millisecond)
		calls += d.count(SendCallMeMaybe)
	}
	if calls < 9 || calls > 19 {
		t.Errorf("%d call-me-maybes in 90 s beside the peer's, want one every 5 s at the most, and not much less", calls)
	}
}

// TestNewEndpointsComeWithACall has the map list a new endpoint of a peer that is not
// reached: its NAT may need a ping from inside first.
func TestNewEndpointsComeWithACall(t *testing.T) {
	d := drive(t, 900, addrA)
	d.send()
	d.sleep(CandidateGap - time.Second)
	d.acts = d.m.Configure(d.now, Config{Endpoints: []netip.AddrPort{addrA, addrB}, Region: 900, Disco: true}, nil)
	d.sleep(time.Second)
	if d.count(SendCallMeMaybe) == 0 {
		t.Fatal("no call-me-maybe within a second of the new endpoint")
	}
}

func TestConfigure(t *testing.T) {
	d := drive(t, 900, addrA)
	d.send()
	d.acts = d.m.Configure(d.now, Config{Endpoints: []netip.AddrPort{addrA, addrB}, Region: 901, Disco: true}, nil)
	d.wantPings(addrB)
	if d.count(SendCallMeMaybe) != 0 {
		t.Fatal("called again at once")
	}
	if d.route().Region != 901 {
		t.Fatalf("route %+v", d.route())
	}
	d.answer(addrB, time.Millisecond)
	d.acts = d.m.Configure(d.now, Config{Endpoints: []netip.AddrPort{addrA}, Region: 901, Disco: true}, nil)
	if !d.trusted() || d.route().Addr != addrB {
		t.Fatal("a working path was dropped since the map does not list it")
	}
	d.keepSending(20 * time.Second)
	if d.route().Addr.IsValid() || len(d.m.Candidates()) != 1 {
		t.Fatalf("route %+v after the unlisted path died", d.route())
	}
	d.acts = d.m.Configure(d.now, Config{Region: 901}, nil)
	if d.sleep(time.Minute); !d.m.Deadline().IsZero() || len(d.pings()) != 0 {
		t.Fatal("a peer without a disco key is pinged")
	}
}

func TestFixedPeer(t *testing.T) {
	m := New(Config{Endpoints: []netip.AddrPort{addrA}, Fixed: true}, counter())
	if r := m.Route(); !r.Trusted(start) || r.Addr != addrA || !r.Active {
		t.Fatalf("route %+v", r)
	}
	if acts := m.Sent(start, start, nil); len(acts) != 0 || !m.Deadline().IsZero() {
		t.Fatalf("actions %+v", acts)
	}
}

func TestReboundAndUnreachable(t *testing.T) {
	d := drive(t, 900, addrA)
	d.send()
	d.answer(addrA, time.Millisecond)
	d.m.Unreachable(addrB)
	if !d.trusted() {
		t.Fatal("another address's trouble ended the path")
	}
	d.acts = d.m.Rebound(d.now, nil)
	d.wantPings(addrA)
	if d.trusted() || d.count(SendCallMeMaybe) != 1 {
		t.Fatalf("after a rebind: trusted %v, actions %+v", d.trusted(), d.acts)
	}
	d.answer(addrA, time.Millisecond)
	if d.m.Unreachable(addrA); d.route().Addr.IsValid() {
		t.Fatal("an unreachable path stayed")
	}
}

func TestUserPing(t *testing.T) {
	d := drive(t, 900, addrA, addrB)
	d.send()
	d.acts = d.m.UserPing(d.now, 1000, nil)
	if d.wantPings(netip.AddrPort{}, addrA, addrB); d.acts[0].Region != 900 || d.acts[1].Size != 1000 {
		t.Fatalf("actions %+v", d.acts)
	}
	relayed := d.acts[0].TxID
	d.answer(addrA, 7*time.Millisecond)
	if a := d.acts[0]; a.Kind != ReportPong || a.Addr != addrA || a.Latency != 7*time.Millisecond {
		t.Fatalf("actions %+v", d.acts)
	}
	acts := d.m.RelayPongReceived(d.now, relayed, 901, nil)
	if len(acts) != 1 || acts[0].Kind != ReportPong || acts[0].Region != 901 || acts[0].Addr.IsValid() {
		t.Fatalf("actions %+v", acts)
	}
	d.sleep(PingTimeout)
	if d.count(ReportTimeout) != 1 {
		t.Fatalf("%d timeouts reported, want that of the third ping", d.count(ReportTimeout))
	}
}

// TestRelayPingSurvivesRebind has the sockets replaced while pings are in flight.
func TestRelayPingSurvivesRebind(t *testing.T) {
	d := drive(t, 900, addrA)
	d.send()
	d.acts = d.m.UserPing(d.now, 0, nil)
	d.wantPings(netip.AddrPort{}, addrA)
	relayed, direct := d.acts[0].TxID, d.acts[1].TxID
	d.acts = d.m.Rebound(d.now, nil)
	if d.count(ReportTimeout) != 1 || d.acts[0].TxID != direct {
		t.Fatalf("after a rebind: %+v, want only the direct ping given up", d.acts)
	}
	acts := d.m.RelayPongReceived(d.now, relayed, 900, nil)
	if len(acts) != 1 || acts[0].Kind != ReportPong || acts[0].Region != 900 {
		t.Fatalf("the pong led to %+v", acts)
	}
	if d.sleep(PingTimeout); d.count(ReportTimeout) != 0 {
		t.Fatalf("an answered ping timed out: %+v", d.acts)
	}
	// One that is not answered ends like all others.
	d.acts = d.m.UserPing(d.now, 0, nil)
	d.acts = d.m.Rebound(d.now, nil)
	if d.sleep(PingTimeout); d.count(ReportTimeout) != 1 || d.m.userPings != 0 {
		t.Fatalf("%d timeouts, %d pings of the user left", d.count(ReportTimeout), d.m.userPings)
	}
}

// TestRelayPongIsNoPath has pongs that come by another way than their ping.
func TestRelayPongIsNoPath(t *testing.T) {
	d := drive(t, 900, addrA)
	d.send()
	if acts := d.m.RelayPongReceived(d.now, d.acts[0].TxID, 900, nil); len(acts) != 0 || d.trusted() {
		t.Fatalf("a relayed pong to a direct ping led to %+v", acts)
	}
}

// TestNoCandidates has the peer called though nothing is known of it, but not all the
// time.
func TestNoCandidates(t *testing.T) {
	d := drive(t, 900)
	d.send()
	if d.count(SendCallMeMaybe) != 1 {
		t.Fatalf("actions %+v", d.acts)
	}
	if d.keepSending(20 * time.Second); d.count(SendCallMeMaybe) != 4 {
		t.Fatalf("%d calls in 20 s, want one each 5 s", d.count(SendCallMeMaybe))
	}
}
