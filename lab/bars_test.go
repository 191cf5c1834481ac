package lab

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ginnel/ginnel/lab/vnet"
)

// barsVar is an environment variable: over how many seeds TestBars measures.
const barsVar = "GINNEL_LAB_BARS"

// bar is a figure that the path engine has to reach, and what was measured.
type bar struct {
	what string
	unit string
	// p50 and p99 are the most that the median and the 99th percentile may be, +Inf for
	// no bar. A share has least instead: the mean may not be less.
	p50, p99, least float64
	// shown says that missing the bar does not fail the test: other tests assert it.
	shown   bool
	samples []float64
}

// at returns the sample below or at which the given share of all is.
func (b *bar) at(share float64) float64 {
	s := slices.Sorted(slices.Values(b.samples))
	return s[min(int(math.Ceil(share*float64(len(s)))), len(s))-1]
}

func (b *bar) mean() (m float64) {
	for _, x := range b.samples {
		m += x / float64(len(b.samples))
	}
	return m
}

// reached reports whether the bar was.
func (b *bar) reached() bool {
	if len(b.samples) == 0 {
		return false
	}
	return b.at(0.5) <= b.p50 && b.at(0.99) <= b.p99 && b.mean() >= b.least
}

// String is a row of the table.
func (b *bar) String() string {
	row := fmt.Sprintf("%-58s ", b.what)
	if len(b.samples) == 0 {
		return row + "not measured FAIL"
	}
	limit := func(x float64) string {
		if math.IsInf(x, 1) {
			return "-"
		}
		return strconv.FormatFloat(x, 'f', -1, 64)
	}
	if !math.IsInf(b.least, -1) {
		row += fmt.Sprintf("%26.1f %-4s  least %-14s", b.mean(), b.unit, limit(b.least))
	} else {
		row += fmt.Sprintf("p50 %8.1f  p99 %8.1f %-4s  most %6s / %-6s", b.at(0.5), b.at(0.99), b.unit, limit(b.p50), limit(b.p99))
	}
	verdict := "PASS"
	if !b.reached() {
		verdict = "FAIL"
	}
	return fmt.Sprintf("%s n %-4d %s", row, len(b.samples), verdict)
}

// bars is a table that is being filled.
type bars struct {
	mu   sync.Mutex
	list []*bar
}

var none = math.Inf(1)

func (t *bars) add(b bar) *bar {
	t.list = append(t.list, &b)
	return &b
}

// most adds a bar of what must not be exceeded.
func (t *bars) most(what, unit string, p50, p99 float64) *bar {
	return t.add(bar{what: what, unit: unit, p50: p50, p99: p99, least: math.Inf(-1)})
}

// share adds a bar for the share of seeds in which something is so, in percent.
func (t *bars) share(what string, least float64) *bar {
	return t.add(bar{what: what, unit: "%", p50: none, p99: none, least: least})
}

// note adds a sample.
func (t *bars) note(b *bar, x float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b.samples = append(b.samples, x)
}

func (t *bars) took(b *bar, d time.Duration) { t.note(b, float64(d)/float64(time.Millisecond)) }

func (t *bars) was(b *bar, yes bool) {
	x := 0.0
	if yes {
		x = 100
	}
	t.note(b, x)
}

// never is what took that did not come to pass.
const never = time.Hour

// relayRTT is there and back between two sites by way of the relay.
const relayRTT = 4 * accessLatency

// TestBars measures what the path engine has to reach, over some seeds, and prints it
// beside the bar. All times are of the virtual clock.
func TestBars(t *testing.T) {
	seeds := 4
	if n, err := strconv.Atoi(os.Getenv(barsVar)); err == nil {
		seeds = n
	}
	table := &bars{}
	t.Cleanup(func() {
		var b strings.Builder
		for _, x := range table.list {
			fmt.Fprintln(&b, x)
			if !x.reached() && !x.shown {
				t.Errorf("not reached: %s", x.what)
			}
		}
		t.Logf("RTT 40 ms between sites, 20 ms to the relay, %d seeds\n%s", seeds, &b)
	})
	easy := []Kind{O, F, C1, C2, C3}
	measures := []func(*bars) func(*testing.T, uint64){
		func(b *bars) func(*testing.T, uint64) { return measureStart(b, easy) },
		measureBetter, measureDeath, measureRoaming, measureRelayLost, measureHard,
	}
	for i, measure := range measures {
		one := measure(table)
		for seed := range uint64(seeds) {
			t.Run(fmt.Sprintf("%d/%d", i, seed), func(t *testing.T) {
				t.Parallel()
				one(t, seed)
			})
		}
	}
}

// measureStart has two nodes behind easy NATs begin to talk.
func measureStart(b *bars, easy []Kind) func(*testing.T, uint64) {
	lost := b.most("first second of packets, by relay: lost", "pkts", 0, 0)
	first := b.most("first packet by relay: handshake (1 RTT) and delivery", "ms", none, 2*float64(relayRTT/time.Millisecond))
	direct := b.most("first packet to direct, easy NATs", "ms", 150, 500)
	switching := b.most("packets lost in the switch relay to direct", "pkts", 0, 0)
	return func(t *testing.T, seed uint64) {
		left, right := easy[seed%5], easy[seed/5%5]
		Run(t, seed, func(w *World) {
			x, y := w.Site("left", left).Node("alice"), w.Site("right", right).Node("bob")
			w.Within(10*time.Second, "both are up", w.AllUp)
			w.Within(10*time.Second, "both are at the relay", func() bool {
				return x.Status(true).Self.Relay != "" && y.Status(true).Self.Relay != ""
			})
			time.Sleep(time.Second + time.Duration(seed)*17*time.Millisecond)
			s := x.Stream(y, 5*time.Millisecond)
			took, ok := w.Await(20*time.Second, func() bool { return x.Direct(y).IsValid() && y.Direct(x).IsValid() })
			if !ok {
				took = never
			}
			b.took(direct, took)
			time.Sleep(3 * time.Second)
			s.Stop()
			b.took(first, s.firstTook())
			b.note(lost, float64(s.lostBetween(0, time.Second)))
			b.note(switching, float64(s.Lost()))
		})
	}
}

// measureBetter has IPv6, which is preferred, begin to work while a direct path over IPv4
// carries data.
func measureBetter(b *bars) func(*testing.T, uint64) {
	lost := b.most("packets lost in the switch direct to better direct", "pkts", 0, 0)
	switched := b.share("switches to the better path within 2 min", 100)
	k := C3
	k.IPv6, k.Open6 = true, true
	is6 := func(p *vnet.Packet) bool { return p.Proto == vnet.UDP && p.Dst.Addr().Is6() }
	return func(t *testing.T, seed uint64) {
		Run(t, seed, func(w *World) {
			left, right := w.Site("left", k), w.Site("right", k)
			left.Block(false, is6)
			right.Block(false, is6)
			x, y := left.Node("alice"), right.Node("bob")
			w.Within(10*time.Second, "both are up", w.AllUp)
			there, back := x.Stream(y, 20*time.Millisecond), y.Stream(x, 20*time.Millisecond)
			w.Within(10*time.Second, "direct", x.DirectTo(y))
			time.Sleep(5*time.Second + time.Duration(seed)*731*time.Millisecond)
			left.Block(false, nil)
			right.Block(false, nil)
			_, ok := w.Await(2*time.Minute, func() bool {
				return x.Direct(y).Addr().Is6() && y.Direct(x).Addr().Is6()
			})
			b.was(switched, ok)
			time.Sleep(5 * time.Second)
			there.Stop()
			back.Stop()
			b.note(lost, float64(there.Lost()+back.Lost()))
		})
	}
}

// settled makes two nodes with packets flowing both ways for a while.
func settled(w *World, a, b Kind) (x, y *Node, streams []*Stream) {
	x, y = w.Site("left", a).Node("alice"), w.Site("right", b).Node("bob")
	w.Within(10*time.Second, "both are up", w.AllUp)
	streams = []*Stream{x.Stream(y, 20*time.Millisecond), y.Stream(x, 20*time.Millisecond)}
	time.Sleep(12*time.Second + time.Duration(w.seed)*731*time.Millisecond)
	return x, y, streams
}

// longest returns the longest silence of streams, which it ends.
func longest(since time.Time, streams []*Stream) (d time.Duration) {
	for _, s := range streams {
		s.Stop()
		d = max(d, s.Silence(since))
	}
	return d
}

// measureDeath has every direct path vanish.
func measureDeath(b *bars) func(*testing.T, uint64) {
	silence := b.most("silence when the direct path dies", "ms", none, 2000)
	return func(t *testing.T, seed uint64) {
		Run(t, seed, func(w *World) {
			x, y, streams := settled(w, C3, C3)
			died := time.Now()
			x.site.Block(false, notForPeers)
			y.site.Block(false, notForPeers)
			time.Sleep(10 * time.Second)
			b.took(silence, longest(died, streams))
		})
	}
}

// measureRoaming has a node change its network.
func measureRoaming(b *bars) func(*testing.T, uint64) {
	silence := b.most("silence when a node roams", "ms", none, 1000)
	return func(t *testing.T, seed uint64) {
		Run(t, seed, func(w *World) {
			x, _, streams := settled(w, C3, C3)
			left := time.Now()
			x.Roam(w.Site("cafe", C3))
			time.Sleep(5 * time.Second)
			b.took(silence, longest(left, streams))
		})
	}
}

// measureRelayLost has the home relay die, once under a stream by relay and once beside a
// direct one.
func measureRelayLost(b *bars) func(*testing.T, uint64) {
	home := b.most("home relay dies: silence of a stream by relay", "ms", none, 5000)
	direct := b.most("home relay dies: silence of a direct stream", "ms", none, 100)
	return func(t *testing.T, seed uint64) {
		for _, c := range []struct {
			k Kind
			b *bar
		}{{U, home}, {C3, direct}} {
			Run(t, seed, func(w *World) {
				_, _, streams := settled(w, c.k, c.k)
				died := time.Now()
				w.Relays()[0].Crash()
				time.Sleep(10 * time.Second)
				b.took(c.b, longest(died, streams))
			}, WithServerAt(15*time.Millisecond), WithRelay("near", 0), WithRelay("far", 30*time.Millisecond))
		}
	}
}

// measureHard has hard NATs meet.
func measureHard(b *bars) func(*testing.T, uint64) {
	random := b.share("C3 and symmetric with random ports: direct in 15 s", 99)
	step := b.share("symmetric twice, ports in sequence: direct in 20 s", 90)
	random.shown, step.shown = true, true
	sequential := vnet.Symmetric
	sequential.Ports = vnet.Sequential
	s := Kind{Code: "step", NAT: &sequential}
	return func(t *testing.T, seed uint64) {
		for _, c := range []struct {
			left, right Kind
			within      time.Duration
			b           *bar
		}{{C3, H, 15 * time.Second, random}, {s, s, 20 * time.Second, step}} {
			Run(t, seed, func(w *World) {
				x, y := w.Site("left", c.left).Node("alice"), w.Site("right", c.right).Node("bob")
				w.Within(10*time.Second, "both are up", w.AllUp)
				x.Stream(y, 20*time.Millisecond)
				y.Stream(x, 20*time.Millisecond)
				_, ok := w.Await(c.within, func() bool { return x.Direct(y).IsValid() && y.Direct(x).IsValid() })
				b.was(c.b, ok)
			})
		}
	}
}
