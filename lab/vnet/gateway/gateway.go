package gateway

import (
	"net/netip"
	"sync"
	"time"

	"github.com/ginnel/ginnel/lab/vnet"
	"github.com/ginnel/ginnel/wire/natpmp"
	"github.com/ginnel/ginnel/wire/pcp"
)

// Options say what a gateway speaks and how badly. The zero value speaks nothing; with
// one of PMP, PCP and UPnP set it is a good one.
type Options struct {
	PMP, PCP bool
	// UPnP is the version of the Internet gateway device, 1 or 2, 0 for none.
	UPnP int
	// Inner6 is the router's inner IPv6 address, at which it speaks PCP. Optional.
	Inner6 netip.Addr
	// Mute has it announce nothing when it restarts.
	Mute bool

	// What follows is what bad gateways do.

	// Drop loses so many requests of each protocol, then answers. Delay comes before each
	// answer to a datagram.
	Drop  int
	Delay time.Duration
	// External is told instead of the true external address.
	External netip.Addr
	// Lifetime is granted instead of what was asked, if not 0; Zero grants none at all.
	Lifetime time.Duration
	Zero     bool
	// WrongInternal confirms another internal port than the one that was asked for.
	WrongInternal bool
	// WrongNonce answers PCP with another nonce.
	WrongNonce bool
	// WrongSource answers from another port.
	WrongSource bool
	// Garbage answers with bytes that are no message.
	Garbage bool
	// Refuse refuses all mappings, RefusePMP those by NAT-PMP.
	Refuse, RefusePMP bool

	// Location is told in answers to searches instead of the true one, and Answers is how
	// many there are to each search, 0 meaning 1.
	Location string
	Answers  int
	// Web is served instead of everything that HTTP is asked for.
	Web Web
	// Permanent refuses leases with this code, such as upnp.OnlyPermanent.
	Permanent int
	// Taken is how many external ports are found to be taken, with a conflict. If Quiet is
	// set then it says yes and keeps the mapping of the other host.
	Taken int
	Quiet bool
	// NoLookup refuses to look mappings up.
	NoLookup bool
	// Dead lists another service first, which is not connected.
	Dead bool
	// Control is the control URL in the description instead of a relative one.
	Control string
}

// Gateway is the port mapping part of a router.
type Gateway struct {
	router *vnet.Router
	inner  netip.Addr
	opts   Options
	socks  []*vnet.UDPConn

	mu       sync.Mutex
	started  time.Time
	requests map[string]int
	served   int // bytes by bad web servers
	nonces   map[netip.AddrPort]pcp.Nonce
	entries  map[uint16]entry // of UPnP, by external port
	taken    map[uint16]bool
	web      *web
}

// New makes the router, whose inner address is given, a gateway.
func New(r *vnet.Router, inner netip.Addr, o Options) (*Gateway, error) {
	g := &Gateway{router: r, inner: inner, opts: o, started: time.Now()}
	g.forget()
	g.requests = map[string]int{}
	if o.PMP || o.PCP {
		if err := g.serve(inner, natpmp.Port, g.mapping); err != nil {
			return nil, err
		}
	}
	if o.Inner6.IsValid() {
		if err := g.serve(o.Inner6, pcp.Port, g.mapping); err != nil {
			return nil, err
		}
	}
	if o.UPnP > 0 {
		return g, g.startUPnP()
	}
	return g, nil
}

func (g *Gateway) forget() {
	g.nonces, g.entries, g.taken = map[netip.AddrPort]pcp.Nonce{}, map[uint16]entry{}, map[uint16]bool{}
}

// Reboot has the router lose all mappings and its age, and announce that.
func (g *Gateway) Reboot() {
	g.mu.Lock()
	g.started = time.Now()
	g.forget()
	g.mu.Unlock()
	g.router.Reboot()
	if g.opts.Mute {
		return
	}
	from, group := netip.AddrPortFrom(g.inner, natpmp.Port), netip.MustParseAddrPort("224.0.0.1:5350")
	if g.opts.PMP {
		g.router.Announce(from, group, natpmp.Response{Op: natpmp.OpExternal, Address: g.external(), Epoch: g.epoch()}.Append(nil))
	}
	if g.opts.PCP {
		g.router.Announce(from, group, pcp.Response{Op: pcp.OpAnnounce, Epoch: g.epoch()}.Append(nil))
	}
}

// Change changes what the gateway does from now on. The protocols stay as they are.
func (g *Gateway) Change(f func(*Options)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f(&g.opts)
}

func (g *Gateway) options() Options {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.opts
}

// Requests returns how many requests there were: "pmp address", "pmp map", "pmp delete",
// "pcp announce", "pcp map", "pcp delete", "ssdp", "description", or the name of an action
// of UPnP.
func (g *Gateway) Requests(what string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.requests[what]
}

// Total returns how many requests there were at all.
func (g *Gateway) Total() (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, k := range g.requests {
		n += k
	}
	return n
}

// Served returns how many bytes bad web servers got rid of.
func (g *Gateway) Served() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.served
}

// note counts a request. It reports false if the request is to be lost.
func (g *Gateway) note(what string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.requests[what]++
	return g.requests[what] > g.opts.Drop
}

func (g *Gateway) epoch() uint32 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return uint32(time.Since(g.started) / time.Second)
}

// external returns the external address that is told.
func (g *Gateway) external() netip.Addr {
	if o := g.options(); o.External.IsValid() {
		return o.External
	}
	return g.router.External()
}

// lifetime returns what is granted instead of what was asked, in seconds.
func (o *Options) lifetime(asked uint32) uint32 {
	switch {
	case asked == 0 || o.Zero:
		return 0
	case o.Lifetime != 0:
		return uint32(o.Lifetime / time.Second)
	}
	return asked
}

// serve answers datagrams.
func (g *Gateway) serve(addr netip.Addr, port uint16, answer func(from netip.AddrPort, b []byte) [][]byte) error {
	c, err := g.router.ListenUDP("udp", addr, port)
	if err != nil {
		return err
	}
	other, err := g.router.ListenUDP("udp", addr, 0)
	if err != nil {
		return err
	}
	g.socks = append(g.socks, c, other)
	go func() {
		buf := make([]byte, 2000)
		for {
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			answers := answer(from, buf[:n])
			o := g.options()
			out := c
			if o.WrongSource {
				out = other
			}
			if o.Garbage && len(answers) > 0 {
				answers = [][]byte{[]byte("\x00\x81\x00garbage"), []byte("\x02\x81garbage"), []byte("garbage"), {}}
			}
			send := func() {
				for _, b := range answers {
					_, _ = out.WriteToUDPAddrPort(b, from) // nobody may be there any more
				}
			}
			if o.Delay > 0 {
				time.AfterFunc(o.Delay, send)
			} else {
				send()
			}
		}
	}()
	return nil
}

// Close ends the gateway's service; the router goes on.
func (g *Gateway) Close() {
	for _, c := range g.socks {
		_ = c.Close()
	}
	if g.web != nil {
		g.web.close()
	}
}
