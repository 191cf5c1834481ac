package lab

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ginnel/ginnel/lab/vnet"
)

// scenario is a world and what happens in it, all drawn from one seed.
type scenario struct {
	seed    uint64
	server  time.Duration // latency of the server's line
	relays  []time.Duration
	sites   []Kind
	nodes   []int // the site of each node
	streams [][2]int
	events  []happening
}

// happening is something that befalls a world at a time since all were up.
type happening struct {
	at   time.Duration
	what string
	do   func(*play)
}

// play is a scenario that runs.
type play struct {
	*World
	sites []*Site
	nodes []*Node
}

// uproar is the time in which things happen; the world is quiet afterwards.
const uproar = 60 * time.Second

// newScenario draws a scenario.
func newScenario(seed uint64) *scenario {
	rng := rand.New(rand.NewPCG(seed, 0x6c6162))
	s := &scenario{seed: seed, server: upTo(rng, 5*time.Millisecond, 60*time.Millisecond)}
	for range rng.IntN(3) {
		s.relays = append(s.relays, upTo(rng, time.Millisecond, 60*time.Millisecond))
	}
	for i := range 3 + rng.IntN(6) {
		s.sites = append(s.sites, randomKind(rng))
		for range 1 + rng.IntN(4)/3 {
			s.nodes = append(s.nodes, i)
		}
	}
	for range 3 {
		if a, b := rng.IntN(len(s.nodes)), rng.IntN(len(s.nodes)); a != b {
			s.streams = append(s.streams, [2]int{a, b})
		}
	}
	for range 4 + rng.IntN(7) {
		s.befall(rng)
	}
	slices.SortStableFunc(s.events, func(a, b happening) int { return cmp.Compare(a.at, b.at) })
	return s
}

// upTo draws a duration between two.
func upTo(rng *rand.Rand, from, to time.Duration) time.Duration {
	return (from + time.Duration(rng.Int64N(int64(to-from)))).Round(10 * time.Microsecond)
}

// randomKind draws a place and its line.
func randomKind(rng *rand.Rand) Kind {
	predictable := vnet.Symmetric
	predictable.Ports, predictable.Step = vnet.Sequential, 1+rng.IntN(2)
	block := vnet.Symmetric
	block.Block = 512
	forgetful := vnet.PortRestrictedCone
	forgetful.Timeout, forgetful.OutboundOnly = 30*time.Second, true
	hairpin := vnet.FullCone
	hairpin.Hairpin = true
	kinds := []Kind{
		O, F, C1, C2, C3, C3, H, H, U,
		{Code: "Linux", NAT: &vnet.Linux},
		{Code: "step", NAT: &predictable},
		{Code: "block", NAT: &block},
		{Code: "forgetful", NAT: &forgetful},
		{Code: "hairpin", NAT: &hairpin},
		{Code: "C3/C3", NAT: &vnet.PortRestrictedCone, Carrier: &vnet.PortRestrictedCone},
		{Code: "C3/H", NAT: &vnet.PortRestrictedCone, Carrier: &vnet.Symmetric},
		{Code: "H/block", NAT: &vnet.Symmetric, Carrier: &block},
		{Code: "only 6", NoIPv4: true},
	}
	k := kinds[rng.IntN(len(kinds))]
	if !k.NoIPv4 && rng.IntN(3) == 0 {
		k.IPv6, k.Open6 = true, rng.IntN(4) == 0
		k.Code += "+6"
	}
	k.Link = vnet.Link{Latency: upTo(rng, time.Millisecond, 80*time.Millisecond)}
	if rng.IntN(2) == 0 {
		k.Link.Jitter = upTo(rng, 0, 30*time.Millisecond)
	}
	if rng.IntN(2) == 0 {
		k.Link.Loss = float64(rng.IntN(40)) / 1000
	}
	if rng.IntN(4) == 0 {
		k.Link.Duplicate = float64(rng.IntN(20)) / 1000
	}
	if rng.IntN(4) == 0 {
		k.Link.Reorder = float64(rng.IntN(50)) / 1000
	}
	if rng.IntN(4) == 0 {
		k.Link.Bandwidth = 1_000_000 * (1 + rng.IntN(100))
	}
	if rng.IntN(4) == 0 {
		k.Link.MTU = 1400 + rng.IntN(100)
	}
	return k
}

// befall draws something that happens, with what ends it.
func (s *scenario) befall(rng *rand.Rand) {
	at := upTo(rng, 0, uproar*2/3)
	end := min(at+upTo(rng, 50*time.Millisecond, 20*time.Second), uproar)
	site, node, to := rng.IntN(len(s.sites)), rng.IntN(len(s.nodes)), rng.IntN(len(s.sites))
	relay := rng.IntN(len(s.relays) + 1)
	add := func(at time.Duration, do func(*play), what string, args ...any) {
		s.events = append(s.events, happening{at, fmt.Sprintf(what, args...), do})
	}
	switch rng.IntN(14) {
	case 0: // nobody is told
		add(at, func(p *play) { p.sites[site].Uplink.SetLink(func(l *vnet.Link) { l.Down = true }) }, "the line of site%d breaks", site)
		add(end, func(p *play) { p.sites[site].Uplink.SetLink(func(l *vnet.Link) { l.Down = false }) }, "the line of site%d is back", site)
	case 1: // the machine knows
		add(at, func(p *play) { p.nodes[node].Port.SetUp(false) }, "node%d is unplugged", node)
		add(end, func(p *play) { p.nodes[node].Port.SetUp(true) }, "node%d is plugged in", node)
	case 2, 3:
		add(at, func(p *play) { p.nodes[node].Roam(p.sites[to]) }, "node%d roams to site%d", node, to)
	case 4:
		add(at, func(p *play) { p.sites[site].Reboot() }, "the router of site%d forgets everything", site)
	case 5:
		add(at, func(p *play) { p.sites[site].Renumber() }, "site%d gets another address", site)
	case 6:
		add(at, func(p *play) { p.nodes[node].Stop() }, "node%d is stopped", node)
		add(end, func(p *play) { p.nodes[node].Resume() }, "node%d is started", node)
	case 7:
		add(at, func(p *play) { p.nodes[node].Crash() }, "node%d crashes", node)
		add(end, func(p *play) { p.nodes[node].Resume() }, "node%d is started", node)
	case 8:
		add(at, func(p *play) { p.Server.Crash() }, "the server crashes")
		add(end, func(p *play) { p.Server.Resume() }, "the server is started")
	case 9:
		add(at, func(p *play) { p.Server.Stop() }, "the server is stopped")
		add(end, func(p *play) { p.Server.Resume() }, "the server is started")
	case 10:
		if relay == len(s.relays) { // the one of the server goes with it
			return
		}
		add(at, func(p *play) { p.relays[relay].Crash() }, "relay%d crashes", relay)
		add(end, func(p *play) { p.relays[relay].Resume() }, "relay%d is started", relay)
	case 11:
		reject := rng.IntN(2) == 0
		add(at, func(p *play) { p.sites[site].Block(reject, vnet.IsUDP) }, "site%d blocks UDP", site)
		add(end, func(p *play) { p.sites[site].Block(false, p.sites[site].kind.Block) }, "site%d blocks no more", site)
	case 12:
		add(at, func(p *play) { p.sites[site].Portal(portalPort) }, "site%d holds everything for a login", site)
		add(end, func(p *play) { p.sites[site].Release() }, "site%d lets all go", site)
	case 13:
		add(at, func(p *play) { p.sites[site].Uplink.SetLink(func(l *vnet.Link) { l.Loss += 0.3 }) }, "the line of site%d gets bad", site)
		add(end, func(p *play) { p.sites[site].Uplink.SetLink(func(l *vnet.Link) { l.Loss -= 0.3 }) }, "the line of site%d is good again", site)
	}
}

// String describes the scenario, a thing a line.
func (s *scenario) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "server %v away, relays %v\n", s.server, s.relays)
	for i, k := range s.sites {
		fmt.Fprintf(&b, "site%d: %s, line %+v\n", i, k.Code, k.Link)
	}
	for i, site := range s.nodes {
		fmt.Fprintf(&b, "node%d in site%d\n", i, site)
	}
	fmt.Fprintf(&b, "streams %v\n", s.streams)
	for _, e := range s.events {
		fmt.Fprintf(&b, "%v: %s\n", e.at, e.what)
	}
	return b.String()
}

// run plays the scenario: afterwards every pair must talk. It returns how long that took
// after the last event, and the sum of its packets.
func (s *scenario) run(t *testing.T) (took time.Duration, sum uint64) {
	options := []Option{WithServerAt(s.server)}
	for i, latency := range s.relays {
		options = append(options, WithRelay(fmt.Sprint("relay", i), latency))
	}
	Run(t, s.seed, func(w *World) {
		p := &play{World: w}
		var now string
		defer func() {
			if w.Failed() {
				w.Logf("seed %d, failed %s:\n%v", s.seed, now, s)
			}
		}()
		for i, k := range s.sites {
			p.sites = append(p.sites, w.Site(fmt.Sprint("site", i), k))
			p.sites[i].ServePortal()
		}
		for i, site := range s.nodes {
			p.nodes = append(p.nodes, p.sites[site].Node(fmt.Sprint("node", i)))
		}
		now = "at the start"
		w.Within(60*time.Second, "all are up", w.AllUp)
		var streams []*Stream
		for _, x := range s.streams {
			streams = append(streams, p.nodes[x[0]].Stream(p.nodes[x[1]], time.Second))
		}
		begin := time.Now()
		for _, e := range s.events {
			time.Sleep(e.at - time.Since(begin))
			now = "after " + e.what
			e.do(p)
		}
		time.Sleep(uproar - time.Since(begin))
		now = "at the end"
		took = p.allTalk(calm)
		for _, x := range streams {
			x.Stop()
		}
		_, sum = w.Packets()
	}, options...)
	return took, sum
}

// calm is the time within which all pairs talk again after the last event.
const calm = 60 * time.Second

// allTalk waits until every pair has exchanged an echo. It returns how long that took.
func (p *play) allTalk(atMost time.Duration) time.Duration {
	begin := time.Now()
	type result struct {
		pair string
		took time.Duration
		ok   bool
	}
	n := len(p.nodes) * (len(p.nodes) - 1)
	results := make(chan result, n)
	for _, x := range p.nodes {
		for _, y := range p.nodes {
			if x == y {
				continue
			}
			go func() {
				for {
					if x.Map() != nil && y.Map() != nil && x.Reaches(y)() {
						results <- result{took: time.Since(begin), ok: true}
						return
					}
					if time.Since(begin) > atMost {
						results <- result{pair: x.name + " to " + y.name}
						return
					}
					time.Sleep(100 * time.Millisecond)
				}
			}()
		}
	}
	var longest time.Duration
	var silent []string
	for range n {
		r := <-results
		if !r.ok {
			silent = append(silent, r.pair)
		}
		longest = max(longest, r.took)
	}
	if len(silent) > 0 {
		slices.Sort(silent)
		p.Errorf("%d of %d pairs do not talk within %v:\n%s\n%s", len(silent), n, atMost, strings.Join(silent, "\n"), p.states())
	}
	return longest
}

// states describes the nodes.
func (p *play) states() string {
	var b strings.Builder
	for _, n := range p.nodes {
		st := n.Status(true)
		fmt.Fprintf(&b, "%s at %s: %v, relay %q, addresses %v, health %q\n", n.name, n.site.name, st.BackendState, st.Self.Relay, n.Port.Addr(!n.site.kind.NoIPv4), st.Health)
	}
	return b.String()
}
