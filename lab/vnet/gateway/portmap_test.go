package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginnel/ginnel/lab/vnet"
	"github.com/ginnel/ginnel/node/netmon"
	"github.com/ginnel/ginnel/node/portmap"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/upnp"
)

const localPort = 41641

var (
	routerIn  = netip.MustParseAddr("192.168.1.1")
	routerIn6 = netip.MustParseAddr("2001:db8:2:1::1")
	routerOut = netip.MustParseAddr("203.0.113.1")
	self      = netip.MustParseAddr("192.168.1.10")
	self6     = netip.MustParseAddr("2001:db8:2:1::10")
	server4   = netip.MustParseAddr("198.51.100.1")
)

// world is a home with a symmetric NAT and an IPv6 firewall, a machine in it, and a server
// outside.
type world struct {
	*testing.T
	net    *vnet.Network
	router *vnet.Router
	pc     *vnet.Host
	port   *vnet.Port
	lan    *vnet.Segment
	server *vnet.UDPConn // IPv4
	other  *vnet.UDPConn // IPv6
	sock   *vnet.UDPConn // on the machine
	sock6  *vnet.UDPConn
	gw     *Gateway
	m      *portmap.Mapper

	mu     sync.Mutex
	states []portmap.State
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) udp(h *vnet.Host, network string, port uint16) *vnet.UDPConn {
	w.Helper()
	c, err := h.ListenUDP(network, netip.Addr{}, port)
	w.must(err)
	return c
}

// in runs a test in a world whose router is a gateway as o says.
func in(t *testing.T, o Options, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, net: vnet.New(1)}
		defer w.net.Close()
		core := w.net.Internet("internet")
		line := vnet.Link{Latency: 10 * time.Millisecond}
		s := w.net.Host("server")
		s.Plug(core, line, netip.PrefixFrom(server4, 24), netip.MustParsePrefix("2001:db8:1::1/64"))
		w.router = w.net.Router("home")
		w.lan = w.net.LAN("lan")
		up := w.router.Outside(core, line, netip.PrefixFrom(routerOut, 24), netip.MustParsePrefix("2001:db8:1:1::1/64"))
		w.router.Inside(w.lan, netip.PrefixFrom(routerIn, 24), netip.PrefixFrom(routerIn6, 64))
		core.Route(netip.PrefixFrom(routerIn6, 64).Masked(), up)
		w.router.Translate(vnet.Symmetric)
		w.router.Firewall6(vnet.AddressAndPortDependent, 0)
		w.pc = w.net.Host("pc")
		w.port = w.pc.Plug(w.lan, vnet.Link{Latency: time.Millisecond}, netip.PrefixFrom(self, 24), netip.PrefixFrom(self6, 64)).Via(routerIn, routerIn6)
		w.server, w.other = w.udp(s, "udp4", 1000), w.udp(s, "udp6", 1000)
		w.sock, w.sock6 = w.udp(w.pc, "udp4", localPort), w.udp(w.pc, "udp6", localPort)
		gw, err := New(w.router, routerIn, o)
		w.must(err)
		w.gw = gw
		defer gw.Close()
		w.start(nil)
		defer func() { w.m.Close() }()
		f(w)
		if t.Failed() {
			t.Log(w.net.Last(30))
		}
	})
}

// start makes the Mapper.
func (w *world) start(secret []byte) {
	var log *slog.Logger
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(w.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	w.m = portmap.New(portmap.Options{
		Logger: log, Secret: secret, Dial: w.pc.Dial, Gateways: w.gateways,
		ListenPacket: func(network string, local netip.Addr) (net.PacketConn, error) {
			return w.pc.ListenUDP(network, local, 0)
		},
		ListenAnnouncements: func(string) (net.PacketConn, error) { return w.pc.ListenUDP("udp4", netip.Addr{}, 5350) },
		OnChange: func(s portmap.State) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.states = append(w.states, s)
		},
	})
}

// gateways reads them from the machine's interface.
func (w *world) gateways() (g netmon.Gateways, err error) {
	for _, i := range w.pc.Interfaces() {
		for _, gw := range i.Gateways {
			for _, a := range i.Addrs {
				switch {
				case !i.Up || gw.Is4() != a.Addr().Is4():
				case gw.Is4():
					g.V4 = netmon.Gateway{Addr: gw, Self: a.Addr(), Interface: i.Name}
				default:
					g.V6 = netmon.Gateway{Addr: gw, Self: a.Addr(), Interface: i.Name}
				}
			}
		}
	}
	return g, nil
}

// within waits until a condition holds, and returns how long that took.
func (w *world) within(d time.Duration, what string, ok func() bool) time.Duration {
	w.Helper()
	start := time.Now()
	for !ok() {
		if time.Since(start) > d {
			w.Fatalf("not within %v: %s; state %+v\n%s", d, what, w.m.State(), w.net.Last(40))
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(start)
}

func (w *world) mapped() bool { return w.m.State().External.IsValid() }

func (w *world) holed() bool { return w.m.State().Pinhole.IsValid() }

// reaches reports whether a datagram from outside gets from one socket to another, and the
// answer back from where it was sent to.
func (w *world) reaches(from *vnet.UDPConn, to netip.AddrPort, at *vnet.UDPConn) bool {
	w.Helper()
	buf := make([]byte, 100)
	for _, c := range []*vnet.UDPConn{from, at} {
		_ = c.SetReadDeadline(time.Now()) // empty it
		for {
			if _, _, err := c.ReadFromUDPAddrPort(buf); errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
		}
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
	}
	_, err := from.WriteToUDPAddrPort([]byte("hello"), to)
	w.must(err)
	n, src, err := at.ReadFromUDPAddrPort(buf)
	if err != nil || string(buf[:n]) != "hello" {
		return false
	}
	_, err = at.WriteToUDPAddrPort([]byte("answer"), src)
	w.must(err)
	n, src, err = from.ReadFromUDPAddrPort(buf)
	return err == nil && string(buf[:n]) == "answer" && src == to
}

// reachable is reaches for the IPv4 mapping.
func (w *world) reachable() bool {
	w.Helper()
	return w.reaches(w.server, w.m.State().External, w.sock)
}

// releases is how often a mapping was taken back.
func (w *world) releases() int {
	return w.gw.Requests("pmp delete") + w.gw.Requests("pcp delete") + w.gw.Requests(upnp.ActionDelete)
}

var good = []struct {
	name string
	o    Options
	via  portmap.Protocol
}{
	{"PMP", Options{PMP: true}, portmap.PMP},
	{"PCP", Options{PCP: true}, portmap.PCP},
	{"UPnP1", Options{UPnP: 1}, portmap.UPnP},
	{"UPnP2", Options{UPnP: 2}, portmap.UPnP},
	{"all", Options{PMP: true, PCP: true, UPnP: 2}, ""},
}

// services returns what is to be found out about a gateway.
func services(o Options) portmap.Services {
	return portmap.Services{PMP: control.OptBoolOf(o.PMP), PCP: control.OptBoolOf(o.PCP), UPnP: control.OptBoolOf(o.UPnP > 0)}
}

// TestMapped maps a port by each protocol: a machine behind a symmetric NAT becomes
// reachable from anywhere, until it closes the door.
func TestMapped(t *testing.T) {
	for _, c := range good {
		t.Run(c.name, func(t *testing.T) {
			in(t, c.o, func(w *world) {
				w.m.Set(portmap.Want{Port4: localPort})
				took := w.within(2*time.Second, "mapped", w.mapped)
				s := w.m.State()
				if s.External.Addr() != routerOut || s.DoubleNAT || c.via != "" && s.Via != c.via {
					w.Errorf("state %+v", s)
				}
				if c.o.UPnP == 0 && took > 20*time.Millisecond {
					w.Errorf("took %v on a network of 2 ms", took)
				}
				if !w.reachable() {
					w.Error("it is not reachable from outside")
				}
				time.Sleep(5 * time.Second) // all answers are in
				want := services(c.o)
				if got := w.m.State().Services; got != want {
					w.Errorf("services %+v, want %+v", got, want)
				}
				if n, _ := w.router.Mappings(); n > 2 { // the mapping, and the way back
					w.Errorf("%d mappings are left", n)
				}
				if w.releases() != 0 {
					w.Error("something was released")
				}
				if text, lease, ok := w.gw.Description(s.External.Port()); s.Via == portmap.UPnP && (!ok || text != "ginnel" || lease != 7200) {
					w.Errorf("mapping is called %q, lease %d, %v", text, lease, ok)
				}
				start := time.Now()
				w.m.Close()
				if d := time.Since(start); d > 2*time.Second {
					w.Errorf("closing took %v", d)
				}
				if w.releases() != 1 {
					w.Errorf("%d releases", w.releases())
				}
				if w.reaches(w.server, s.External, w.sock) {
					w.Error("it is reachable after Close")
				}
				w.mu.Lock()
				defer w.mu.Unlock()
				if len(w.states) == 0 || w.states[len(w.states)-1].External != s.External {
					w.Errorf("OnChange told %+v", w.states)
				}
			})
		})
	}
}

// TestRenewed keeps mappings for half a day, without changing and without waste.
func TestRenewed(t *testing.T) {
	for _, c := range good {
		t.Run(c.name, func(t *testing.T) {
			in(t, c.o, func(w *world) {
				w.m.Set(portmap.Want{Port4: localPort})
				w.within(2*time.Second, "mapped", w.mapped)
				s := w.m.State()
				for range 12 * 6 {
					time.Sleep(10 * time.Minute)
					if !w.reachable() {
						w.Fatal("it is not reachable any more")
					}
				}
				if w.m.State().External != s.External {
					w.Errorf("state %+v became %+v", s, w.m.State())
				}
				maps := w.gw.Requests("pmp map") + w.gw.Requests("pcp map") + w.gw.Requests(upnp.ActionAdd) + w.gw.Requests(upnp.ActionAddAny)
				if maps < 12 || maps > 14 {
					w.Errorf("%d requests for mappings in 12 hours", maps)
				}
				if n := w.gw.Total(); n > 500 {
					w.Errorf("%d requests in 12 hours", n)
				}
				if w.releases() != 0 {
					w.Error("something was released")
				}
			})
		})
	}
}

// TestReboot restarts the router: the mapping is made again, at once if the router tells,
// else at the next check.
func TestReboot(t *testing.T) {
	for _, c := range good {
		for _, mute := range []bool{false, true} {
			name := c.name + map[bool]string{false: "", true: " mute"}[mute]
			t.Run(name, func(t *testing.T) {
				c.o.Mute = mute
				in(t, c.o, func(w *world) {
					w.m.Set(portmap.Want{Port4: localPort})
					w.within(2*time.Second, "mapped", w.mapped)
					for range 3 {
						time.Sleep(17 * time.Minute)
						w.gw.Reboot()
						limit := 100 * time.Millisecond
						if mute || c.o.UPnP > 0 && !c.o.PCP {
							limit = 5*time.Minute + 3*time.Second
						}
						time.Sleep(limit)
						if !w.mapped() || !w.reachable() {
							w.Fatalf("not reachable %v after the restart; %+v", limit, w.m.State())
						}
					}
				})
			})
		}
	}
}

// TestLies has gateways that are not to be believed.
func TestLies(t *testing.T) {
	protocols := map[string]Options{"PMP": {PMP: true}, "PCP": {PCP: true}, "UPnP": {UPnP: 1}}
	for name, c := range map[string]struct {
		lie       func(*Options)
		doubleNAT bool
		except    string
		good      string
	}{
		"zero address":         {lie: func(o *Options) { o.External = netip.IPv4Unspecified() }},
		"loopback address":     {lie: func(o *Options) { o.External = netip.MustParseAddr("127.0.0.1") }},
		"multicast address":    {lie: func(o *Options) { o.External = netip.MustParseAddr("224.0.0.1") }},
		"link-local address":   {lie: func(o *Options) { o.External = netip.MustParseAddr("169.254.7.7") }},
		"broadcast":            {lie: func(o *Options) { o.External = netip.MustParseAddr("255.255.255.255") }},
		"our own address":      {lie: func(o *Options) { o.External = self }},
		"its inner address":    {lie: func(o *Options) { o.External = routerIn }},
		"private address":      {lie: func(o *Options) { o.External = netip.MustParseAddr("10.1.2.3") }, doubleNAT: true},
		"carrier's address":    {lie: func(o *Options) { o.External = netip.MustParseAddr("100.77.1.2") }, doubleNAT: true},
		"no lifetime":          {lie: func(o *Options) { o.Zero = true }, except: "UPnP"},
		"absurdly short":       {lie: func(o *Options) { o.Lifetime = 2 * time.Second }, except: "UPnP"},
		"another port":         {lie: func(o *Options) { o.WrongInternal = true }},
		"another nonce":        {lie: func(o *Options) { o.WrongNonce = true }, except: "PMP UPnP"},
		"from another port":    {lie: func(o *Options) { o.WrongSource = true }, good: "UPnP"},
		"garbage":              {lie: func(o *Options) { o.Garbage = true }},
		"refusal":              {lie: func(o *Options) { o.Refuse = true }},
		"huge document":        {lie: func(o *Options) { o.Web = Huge }, except: "PMP PCP"},
		"endless document":     {lie: func(o *Options) { o.Web = Endless }, except: "PMP PCP"},
		"slow document":        {lie: func(o *Options) { o.Web = Slow }, except: "PMP PCP"},
		"redirects":            {lie: func(o *Options) { o.Web = Redirect }, except: "PMP PCP"},
		"web page":             {lie: func(o *Options) { o.Web = NotXML }, except: "PMP PCP"},
		"stuck web server":     {lie: func(o *Options) { o.Web = Stuck }, except: "PMP PCP"},
		"no http":              {lie: func(o *Options) { o.Location = "file:///etc/passwd" }, except: "PMP PCP"},
		"control is a file":    {lie: func(o *Options) { o.Control = "file:///etc/passwd" }, except: "PMP PCP"},
		"every port is taken":  {lie: func(o *Options) { o.Taken = 1000 }, except: "PMP PCP"},
		"every port, silently": {lie: func(o *Options) { o.Taken, o.Quiet = 1000, true }, except: "PMP PCP"},
	} {
		for protocol, o := range protocols {
			if contains(c.except, protocol) {
				continue
			}
			t.Run(name+" "+protocol, func(t *testing.T) {
				o.Answers = 1
				c.lie(&o)
				in(t, o, func(w *world) {
					w.m.Set(portmap.Want{Port4: localPort})
					time.Sleep(25 * time.Second) // one race
					s := w.m.State()
					switch {
					case contains(c.good, protocol):
						if !s.External.IsValid() || s.DoubleNAT {
							w.Errorf("state %+v", s)
						}
					case c.doubleNAT:
						if s.External.Addr() != o.External || !s.DoubleNAT {
							w.Errorf("state %+v", s)
						}
					case s.External.IsValid():
						w.Errorf("believed: %+v", s)
					}
					if n := w.gw.Served(); n > 2<<20 { // what is under way included
						w.Errorf("%d bytes were read", n)
					}
					if n := w.gw.Total(); n > 60 {
						w.Errorf("%d requests", n)
					}
					start := time.Now()
					w.m.Close()
					if d := time.Since(start); d > 2*time.Second {
						w.Errorf("closing took %v", d)
					}
				})
			})
		}
	}
}

func contains(list, word string) bool {
	for len(list) >= len(word) {
		if word != "" && list[:len(word)] == word {
			return true
		}
		list = list[1:]
	}
	return false
}

// TestLongLease does not believe in leases of years.
func TestLongLease(t *testing.T) {
	in(t, Options{PMP: true, Lifetime: 10 * 365 * 24 * time.Hour}, func(w *world) {
		w.m.Set(portmap.Want{Port4: localPort})
		w.within(time.Second, "mapped", w.mapped)
		before := w.gw.Requests("pmp map")
		time.Sleep(12*time.Hour + time.Minute)
		if n := w.gw.Requests("pmp map") - before; n != 1 {
			w.Errorf("renewed %d times within 12 hours", n)
		}
	})
}

// TestUPnPQuirks has devices that want to be treated with care.
func TestUPnPQuirks(t *testing.T) {
	for name, c := range map[string]struct {
		o     Options
		lease uint32
	}{
		"only permanent leases, 725":   {Options{UPnP: 1, Permanent: upnp.OnlyPermanent}, 0},
		"only permanent leases, 402":   {Options{UPnP: 1, Permanent: upnp.InvalidArgs}, 0},
		"only permanent leases, 501":   {Options{UPnP: 1, Permanent: upnp.ActionFailed}, 0},
		"three ports are taken":        {Options{UPnP: 1, Taken: 3}, 7200},
		"two are taken, it says yes":   {Options{UPnP: 1, Taken: 2, Quiet: true}, 7200},
		"no lookups":                   {Options{UPnP: 1, NoLookup: true}, 7200},
		"one service is dead":          {Options{UPnP: 1, Dead: true}, 7200},
		"thousands of answers":         {Options{UPnP: 2, Answers: 3000}, 7200},
		"location is another machine":  {Options{UPnP: 1, Location: "http://198.51.100.1:5000/rootDesc.xml"}, 7200},
		"control is another machine":   {Options{UPnP: 1, Control: "http://198.51.100.1:5000/ctl/IPConn"}, 7200},
		"the first searches are lost":  {Options{UPnP: 1, Drop: 2}, 7200},
		"location has a name and user": {Options{UPnP: 1, Location: "http://admin:secret@router.lan:5000/rootDesc.xml"}, 7200},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, c.o, func(w *world) {
				w.m.Set(portmap.Want{Port4: localPort})
				w.within(6*time.Second, "mapped", w.mapped)
				s := w.m.State()
				if _, lease, ok := w.gw.Description(s.External.Port()); !ok || lease != c.lease {
					w.Errorf("lease %d, %v", lease, ok)
				}
				time.Sleep(3 * time.Hour)
				if w.m.State().External != s.External || !w.reachable() {
					w.Errorf("state %+v became %+v", s, w.m.State())
				}
				w.m.Close()
				if w.reaches(w.server, s.External, w.sock) {
					w.Error("it is reachable after Close")
				}
			})
		})
	}
}

// TestLate waits for a gateway that takes its time.
func TestLate(t *testing.T) {
	for _, c := range good[:2] {
		t.Run(c.name, func(t *testing.T) {
			c.o.Delay = 4 * time.Second
			in(t, c.o, func(w *world) {
				w.m.Set(portmap.Want{Port4: localPort})
				w.within(6*time.Second, "mapped", w.mapped)
				time.Sleep(time.Minute)
				if !w.reachable() {
					w.Error("it is not reachable")
				}
			})
		})
	}
}

// TestLoss maps over a line that loses the first packets.
func TestLoss(t *testing.T) {
	for _, c := range good[:2] {
		t.Run(c.name, func(t *testing.T) {
			c.o.Drop = 2
			in(t, c.o, func(w *world) {
				w.m.Set(portmap.Want{Port4: localPort})
				w.within(3*time.Second, "mapped", w.mapped)
			})
		})
	}
}

// TestFallback has gateways that speak several protocols, of which only one is of use.
func TestFallback(t *testing.T) {
	all := Options{PMP: true, PCP: true, UPnP: 1}
	in(t, all, func(w *world) {
		w.gw.Change(func(o *Options) { o.Zero = true }) // of PMP and PCP only
		w.m.Set(portmap.Want{Port4: localPort})
		w.within(3*time.Second, "mapped by UPnP", func() bool { return w.m.State().Via == portmap.UPnP })
		time.Sleep(5 * time.Second)
		if !w.reachable() {
			w.Errorf("it is not reachable")
		}
	})
}

// TestRefused asks in another protocol at once when one is refused.
func TestRefused(t *testing.T) {
	in(t, Options{PMP: true, PCP: true, RefusePMP: true}, func(w *world) {
		w.m.Set(portmap.Want{Port4: localPort})
		if took := w.within(time.Second, "mapped", w.mapped); took > 20*time.Millisecond || w.m.State().Via != portmap.PCP {
			w.Errorf("after %v: %+v", took, w.m.State())
		}
	})
}

// TestServiceGone has a gateway that stops to speak while it holds a mapping.
func TestServiceGone(t *testing.T) {
	in(t, Options{PMP: true, UPnP: 1}, func(w *world) {
		w.m.Set(portmap.Want{Port4: localPort})
		w.within(time.Second, "mapped", func() bool { return w.m.State().Via == portmap.PMP })
		w.gw.Change(func(o *Options) { o.PMP = false })
		time.Sleep(time.Hour + 20*time.Second)
		if s := w.m.State(); s.Via != portmap.UPnP || !w.reachable() {
			w.Errorf("after the renewal failed: %+v", s)
		}
		w.gw.Close()
		time.Sleep(3 * time.Hour)
		if s := w.m.State(); s.External.IsValid() {
			w.Errorf("it is still claimed: %+v", s)
		}
	})
}

// TestQuiet costs nearly nothing on a network whose gateway does not answer.
func TestQuiet(t *testing.T) {
	in(t, Options{}, func(w *world) {
		count := func(d time.Duration) (n uint64) {
			before, _ := w.net.Packets()
			time.Sleep(d)
			after, _ := w.net.Packets()
			return after - before
		}
		w.m.Set(portmap.Want{Port4: localPort, Port6: localPort})
		first := count(time.Minute)
		day := count(24 * time.Hour)
		// 4 tries by 3 protocols, IPv6, and what the router says of closed ports.
		if first == 0 || first > 120 || day > 30*first {
			w.Errorf("%d packets in the first minute, %d in a day", first, day)
		}
		for range 1000 {
			w.m.LinkChanged()
			w.m.Probe(context.Background())
		}
		if flaps := count(time.Minute); flaps > 3*first {
			w.Errorf("%d packets after 1000 changes of the network", flaps)
		}
		if s := w.m.State().Services; s != (services(Options{})) {
			w.Errorf("services %+v", s)
		}
	})
}

// TestChanges follows what is wanted, and the network.
func TestChanges(t *testing.T) {
	in(t, Options{PMP: true}, func(w *world) {
		w.m.Set(portmap.Want{Port4: localPort})
		w.within(time.Second, "mapped", w.mapped)
		first := w.m.State().External

		w.m.Set(portmap.Want{Port4: localPort + 1})
		w.within(time.Second, "mapped anew", func() bool { return w.mapped() && w.m.State().External != first })
		w.within(time.Second, "the old one is released", func() bool { return w.releases() == 1 })
		if w.reaches(w.server, first, w.sock) {
			w.Error("the old port is still open")
		}

		w.m.Set(portmap.Want{})
		w.within(time.Second, "nothing wanted, nothing mapped", func() bool { return !w.mapped() && w.releases() == 2 })

		w.m.Set(portmap.Want{Port4: localPort})
		w.within(time.Second, "mapped again", w.mapped)
		released := w.releases()
		w.m.Set(portmap.Want{Port4: localPort, Down: true})
		w.within(time.Second, "forgotten", func() bool { return !w.mapped() })
		time.Sleep(5 * time.Second)
		if w.releases() != released {
			w.Error("it was released although the network was down")
		}
		w.m.Set(portmap.Want{Port4: localPort})
		w.within(time.Second, "mapped after all", w.mapped)

		// Another address.
		w.port.SetAddrs(netip.MustParsePrefix("192.168.1.77/24"))
		w.m.LinkChanged()
		w.within(3*time.Second, "mapped from another address", func() bool { return w.mapped() && w.reachable() })

		// Another network with the same addresses, whose gateway knows nothing of us.
		w.gw.Change(func(o *Options) { o.Mute = true })
		w.gw.Reboot()
		time.Sleep(10 * time.Second)
		w.m.LinkChanged()
		time.Sleep(100 * time.Millisecond)
		if !w.reachable() {
			w.Error("not reachable after the move")
		}
		w.port.SetUp(false)
		w.m.LinkChanged()
		w.within(time.Second, "no network, no mapping", func() bool { return !w.mapped() })
	})
}

// TestSwitchUPnPOff takes back what UPnP made when UPnP is not allowed any more.
func TestSwitchUPnPOff(t *testing.T) {
	in(t, Options{UPnP: 1}, func(w *world) {
		w.m.Set(portmap.Want{Port4: localPort, NoUPnP: true})
		time.Sleep(time.Minute)
		if n := w.gw.Total(); n != 0 || w.mapped() {
			w.Errorf("%d requests, %+v", n, w.m.State())
		}
		w.m.Set(portmap.Want{Port4: localPort})
		w.m.LinkChanged()
		w.within(10*time.Second, "mapped", w.mapped)
		w.m.Set(portmap.Want{Port4: localPort, NoUPnP: true})
		w.within(3*time.Second, "released", func() bool { return !w.mapped() && w.releases() == 1 })
	})
}

// TestPinhole opens an IPv6 firewall.
func TestPinhole(t *testing.T) {
	in(t, Options{PMP: true, PCP: true, Inner6: routerIn6}, func(w *world) {
		to := netip.AddrPortFrom(self6, localPort)
		if w.reaches(w.other, to, w.sock6) {
			w.Fatal("the firewall is open by itself")
		}
		w.m.Set(portmap.Want{Port4: localPort, Port6: localPort})
		w.within(time.Second, "hole", w.holed)
		if got := w.m.State().Pinhole; got != to || !w.reaches(w.other, got, w.sock6) {
			w.Errorf("pinhole %v", got)
		}
		w.within(time.Second, "mapped as well", w.mapped)
		time.Sleep(7 * time.Hour)
		if !w.reaches(w.other, to, w.sock6) {
			w.Error("closed after hours")
		}
		w.gw.Reboot()
		time.Sleep(2 * time.Second)
		if !w.reaches(w.other, to, w.sock6) || !w.reachable() {
			w.Error("closed after a restart of the router")
		}
		w.m.Close()
		if w.reaches(w.other, to, w.sock6) {
			w.Error("open after Close")
		}
	})
}

// TestProbe asks what there is without wanting a port.
func TestProbe(t *testing.T) {
	for _, c := range good {
		t.Run(c.name, func(t *testing.T) {
			in(t, c.o, func(w *world) {
				want := services(c.o)
				start := time.Now()
				if got := w.m.Probe(context.Background()); got != want {
					w.Errorf("services %+v, want %+v", got, want)
				}
				if d := time.Since(start); d > 1200*time.Millisecond {
					w.Errorf("took %v", d)
				}
				if w.mapped() {
					w.Error("a probe mapped a port")
				}
				if w.gw.Requests("pmp map")+w.gw.Requests("pcp map")+w.gw.Requests("description") != 0 {
					w.Error("a probe asked for more than it needs")
				}
			})
		})
	}
	t.Run("no gateway", func(t *testing.T) {
		in(t, Options{PMP: true}, func(w *world) {
			w.port.Via()
			if got := w.m.Probe(context.Background()); got != (portmap.Services{}) {
				w.Errorf("services %+v", got)
			}
		})
	})
	t.Run("cancelled", func(t *testing.T) {
		in(t, Options{}, func(w *world) {
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			defer cancel()
			if got := w.m.Probe(ctx); got != (portmap.Services{}) {
				w.Errorf("services %+v", got)
			}
		})
	})
}

// TestCrash takes over what a run before left behind, if it knows the secret.
func TestCrash(t *testing.T) {
	for _, same := range []bool{true, false} {
		in(t, Options{PCP: true}, func(w *world) {
			w.m.Close()
			w.start([]byte("secret"))
			w.m.Set(portmap.Want{Port4: localPort})
			w.within(time.Second, "mapped", w.mapped)
			w.port.SetLink(func(l *vnet.Link) { l.Down = true }) // so nobody hears the release
			w.m.Close()
			w.port.SetLink(func(l *vnet.Link) { l.Down = false })
			secret := "secret"
			if !same {
				secret = "another"
			}
			w.start([]byte(secret))
			w.m.Set(portmap.Want{Port4: localPort})
			time.Sleep(10 * time.Second)
			if w.mapped() != same {
				w.Errorf("with the same secret %v: %+v", same, w.m.State())
			}
		})
	}
}

// TestCloseStuck closes in time although nobody answers.
func TestCloseStuck(t *testing.T) {
	for _, c := range good[:4] {
		in(t, c.o, func(w *world) {
			w.m.Set(portmap.Want{Port4: localPort})
			w.within(2*time.Second, "mapped", w.mapped)
			w.gw.Change(func(o *Options) { o.Web, o.Drop = Stuck, 1000 })
			start := time.Now()
			w.m.Close()
			if d := time.Since(start); d > 2*time.Second {
				w.Errorf("%s: closing took %v", c.name, d)
			}
		})
	}
}

// TestPublicGateway leaves a gateway alone that is not of a home.
func TestPublicGateway(t *testing.T) {
	in(t, Options{PMP: true}, func(w *world) {
		w.port.SetAddrs(netip.MustParsePrefix("203.0.113.99/24"))
		w.port.Via(netip.MustParseAddr("203.0.113.98"))
		before, _ := w.net.Packets()
		w.m.Set(portmap.Want{Port4: localPort})
		time.Sleep(time.Minute)
		if after, _ := w.net.Packets(); after != before || w.mapped() {
			w.Errorf("%d packets, %+v", after-before, w.m.State())
		}
	})
}
