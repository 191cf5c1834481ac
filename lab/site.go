package lab

import (
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/ginnel/ginnel/lab/vnet"
)

// Kind says what stands between a site and the internet.
type Kind struct {
	// Code is how the kind is called in tables.
	Code string
	// NAT translates IPv4; nil gives hosts public addresses.
	NAT *vnet.NAT
	// Carrier is a second NAT in front of the first.
	Carrier *vnet.NAT
	// Filter lets in only what belongs to flows from inside.
	Filter bool
	// IPv6 gives the site public IPv6 addresses, behind a stateful firewall unless Open6
	// is set.
	IPv6, Open6 bool
	// NoIPv4 leaves only IPv6, with NAT64 and DNS64.
	NoIPv4 bool
	// Block drops what matches on its way out.
	Block func(*vnet.Packet) bool
	// Link is the access line; the zero value takes 10 ms one way.
	Link vnet.Link
}

// The kinds of wire document paths, section 23.
var (
	O  = Kind{Code: "O"}
	F  = Kind{Code: "F", Filter: true}
	C1 = Kind{Code: "C1", NAT: &vnet.FullCone}
	C2 = Kind{Code: "C2", NAT: &vnet.RestrictedCone}
	C3 = Kind{Code: "C3", NAT: &vnet.PortRestrictedCone}
	H  = Kind{Code: "H", NAT: &vnet.Symmetric}
	U  = Kind{Code: "U", NAT: &vnet.PortRestrictedCone, Block: vnet.IsUDP}
)

// accessLatency is one way between a site and the middle of the internet: 40 ms there and
// back between sites, 20 ms to a relay.
const accessLatency = 10 * time.Millisecond

// Site is a network with a router, and hosts behind it.
type Site struct {
	*vnet.Router
	// LAN is where its hosts are.
	LAN *vnet.Segment
	// Uplink is the router's outer side.
	Uplink *vnet.Port

	w      *World
	name   string
	kind   Kind
	prefix netip.Prefix // of the LAN, IPv4
	inner6 netip.Prefix // of the LAN, IPv6
	hosts  int
	index  int
}

// nat64 is the well-known prefix (RFC 6052, section 2.1).
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// Site makes a network of a kind.
func (w *World) Site(name string, k Kind) *Site {
	s := &Site{w: w, name: name, kind: k, index: len(w.sites) + 1}
	w.sites = append(w.sites, s)
	if k.Link == (vnet.Link{}) {
		s.kind.Link = vnet.Link{Latency: accessLatency}
	}
	s.Router, s.LAN = w.Router(name), w.LAN(name)
	outside := w.Core
	outer := w.public()
	if k.Carrier != nil {
		outside, outer = s.carrier()
	}
	outers := []netip.Prefix{outer}
	if k.IPv6 || k.NoIPv4 {
		outers = append(outers, netip.MustParsePrefix(fmt.Sprintf("2001:db8:1:%x::1/64", s.index)))
	}
	link := s.kind.Link
	if k.Carrier != nil {
		link = vnet.Link{Latency: time.Millisecond} // the line is in front of the carrier
	}
	s.Uplink = s.Outside(outside, link, outers...)
	if k.Carrier != nil {
		s.Uplink.Via(carrierGateway)
	}
	s.lan()
	s.doors()
	return s
}

// carrierGateway is the inner address of carriers.
var carrierGateway = netip.MustParseAddr("100.96.0.1")

// carrier puts the NAT of a carrier in front of the site.
func (s *Site) carrier() (*vnet.Segment, netip.Prefix) {
	isp := s.w.Router(s.name + " carrier")
	inner := s.w.LAN(s.name + " carrier")
	isp.Outside(s.w.Core, s.kind.Link, s.w.public())
	isp.Inside(inner, netip.PrefixFrom(carrierGateway, 24))
	isp.Translate(*s.kind.Carrier)
	return inner, netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 96, 0, 2}), 24)
}

// lan gives the LAN its addresses.
func (s *Site) lan() {
	var inner []netip.Prefix
	switch {
	case s.kind.NoIPv4:
	case s.kind.NAT == nil:
		s.prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, byte(s.index), 0}), 24)
	default:
		s.prefix = netip.MustParsePrefix("192.168.1.0/24")
	}
	if s.prefix.IsValid() {
		inner = append(inner, netip.PrefixFrom(s.prefix.Addr().Next(), s.prefix.Bits()))
	}
	if s.kind.IPv6 || s.kind.NoIPv4 {
		s.inner6 = netip.MustParsePrefix(fmt.Sprintf("2001:db8:2:%x::/64", s.index))
		inner = append(inner, netip.PrefixFrom(s.inner6.Addr().Next(), 64))
	}
	s.Inside(s.LAN, inner...)
	if s.kind.NAT == nil && s.prefix.IsValid() {
		s.w.Core.Route(s.prefix, s.Uplink)
	}
	if s.inner6.IsValid() {
		s.w.Core.Route(s.inner6, s.Uplink)
	}
}

// doors sets what the router does with what passes.
func (s *Site) doors() {
	if s.kind.NAT != nil {
		s.Translate(*s.kind.NAT)
	}
	if s.kind.Filter {
		s.Firewall(vnet.AddressAndPortDependent, 0)
	} else if s.inner6.IsValid() && !s.kind.Open6 {
		s.Firewall6(vnet.AddressAndPortDependent, 0)
	}
	if s.kind.NoIPv4 {
		s.NAT64(nat64, vnet.PortRestrictedCone)
		if err := s.ServeNames(nat64); err != nil {
			s.w.Fatal(err)
		}
	}
	if s.kind.Block != nil {
		s.Block(false, s.kind.Block)
	}
}

// Gateway returns the inner IPv4 address of the site's router.
func (s *Site) Gateway() netip.Addr { return s.prefix.Addr().Next() }

// portalPort is where the router of a site has the web server of its captive portal.
const portalPort = 8080

// ServePortal starts the web server to which Portal leads requests while the site holds
// everything back until somebody logs in.
func (s *Site) ServePortal() {
	l, err := s.ListenTCP("tcp4", netip.Addr{}, portalPort)
	if err != nil {
		s.w.Fatal(err)
	}
	login := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, "http://portal.test/login", http.StatusFound)
	})
	web := &http.Server{Handler: login}
	s.w.ended.Go(func() { _ = web.Serve(l) })
}

// Renumber gives the site another public IPv4 address, as providers do when the line was
// down; hosts behind a NAT notice nothing.
func (s *Site) Renumber() {
	if s.kind.NAT == nil || s.kind.Carrier != nil {
		s.Reboot()
		return
	}
	s.Router.Renumber(s.w.public().Addr())
}

// Kind returns what the site was made as.
func (s *Site) Kind() Kind { return s.kind }

// addrs returns the addresses and gateways of the site's next host.
func (s *Site) addrs() (addrs []netip.Prefix, gateways []netip.Addr) {
	s.hosts++
	for _, p := range []netip.Prefix{s.prefix, s.inner6} {
		if !p.IsValid() {
			continue
		}
		gateway := p.Addr().Next()
		a := gateway
		for range s.hosts + 8 {
			a = a.Next()
		}
		addrs, gateways = append(addrs, netip.PrefixFrom(a, p.Bits())), append(gateways, gateway)
	}
	return addrs, gateways
}

// host plugs a new host into the LAN.
func (s *Site) host(name string) (*vnet.Host, *vnet.Port) {
	h := s.w.Host(name)
	addrs, gateways := s.addrs()
	p := h.Plug(s.LAN, vnet.Link{}, addrs...).Via(gateways...)
	s.resolve(h)
	return h, p
}

// resolve tells a host its name server.
func (s *Site) resolve(h *vnet.Host) {
	if s.kind.NoIPv4 {
		h.Resolver(s.inner6.Addr().Next())
		return
	}
	h.Resolver(s.w.resolver)
}
