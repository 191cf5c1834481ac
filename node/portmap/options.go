package portmap

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/ginnel/ginnel/node/netmon"
	"github.com/ginnel/ginnel/wire/natpmp"
)

// Timing (wire document paths, section 17.1, and the RFCs).
const (
	lease         = 2 * time.Hour   // asked for
	minLease      = time.Minute     // a shorter one is not worth having
	maxLease      = 24 * time.Hour  // a longer one is not believed (RFC 6887, section 15)
	checkEvery    = 5 * time.Minute // whether the gateway still has the mapping
	checkRetry    = 15 * time.Second
	renewRetry    = 10 * time.Second // between renewals, at least
	firstResend   = 250 * time.Millisecond
	maxSends      = 4 // of a request to a gateway, each after twice the time
	searchTime    = 3500 * time.Millisecond
	gatherTime    = 50 * time.Millisecond // for more answers to a search
	probeTime     = 1100 * time.Millisecond
	present       = 10 * time.Minute // a service is held to be there since it was last seen
	raceSpacing   = 5 * time.Second
	renewSpacing  = 2 * time.Second
	jobTime       = 6 * time.Second
	releaseTime   = 2 * time.Second
	probeSpacing  = 5 * time.Second
	maxSearchMsgs = 256 // answers to a search that are looked at
	maxCandidates = 11  // devices that are remembered
	maxReleases   = 8   // at the same time
)

// backoff is the time between races that nobody answered.
var backoff = []time.Duration{30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour}

// description is what gateways show as the purpose of a mapping.
const description = "ginnel"

// Options are the surroundings of a Mapper. All fields may be zero.
type Options struct {
	Logger *slog.Logger
	// Secret makes the nonces by which a gateway knows who may change a mapping. With the
	// secret of the last run, mappings that a crash left behind can be taken over. Without
	// one, a random secret is used.
	Secret []byte
	// Gateways returns the ways out of the machine; nil asks the system.
	Gateways func() (netmon.Gateways, error)
	// ListenPacket opens a UDP socket for network "udp4" or "udp6", bound to a local
	// address and any port. What it sends must not enter the tunnel. nil asks the system.
	ListenPacket func(network string, local netip.Addr) (net.PacketConn, error)
	// ListenAnnouncements opens a socket that hears what gateways announce to 224.0.0.1,
	// UDP port 5350, on an interface; nil asks the system.
	ListenAnnouncements func(ifname string) (net.PacketConn, error)
	// Dial opens TCP connections to the gateway, given as address and port; nil asks the
	// system. As with ListenPacket, they must not enter the tunnel.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// OnChange gets the state whenever it has changed. It is called by one goroutine at a
	// time and sees the latest state, not each. It must not call Close.
	OnChange func(State)
}

func (o *Options) fill() {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if len(o.Secret) == 0 {
		o.Secret = make([]byte, 32)
		_, _ = rand.Read(o.Secret) // does not fail
	}
	if o.Gateways == nil {
		o.Gateways = func() (netmon.Gateways, error) { return netmon.SystemGateways("") }
	}
	if o.ListenPacket == nil {
		o.ListenPacket = systemListen
	}
	if o.ListenAnnouncements == nil {
		o.ListenAnnouncements = systemListenAnnouncements
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	if o.OnChange == nil {
		o.OnChange = func(State) {}
	}
}

func systemListen(network string, local netip.Addr) (net.PacketConn, error) {
	return net.ListenPacket(network, netip.AddrPortFrom(local, 0).String())
}

func systemListenAnnouncements(ifname string) (net.PacketConn, error) {
	ifi, err := net.InterfaceByName(ifname)
	if err != nil {
		return nil, err
	}
	return net.ListenMulticastUDP("udp4", ifi, &net.UDPAddr{IP: net.IPv4(224, 0, 0, 1), Port: natpmp.AnnouncePort})
}
