package path

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/ginnel/ginnel/relay/client"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// Mark is the firewall mark of the node's own packets on Linux, which keeps them out of
// the tunnel (wire document paths, section 18).
const Mark = 0x80000

// Config is the wanted state. The engine keeps it; it must not be changed after Apply, but
// for what Changed allows.
type Config struct {
	// PrivateKey is the node key, zero while logged out: then only STUN works.
	PrivateKey key.NodePrivate
	// DiscoKey is the key for path finding; zero keeps the one in use. Peers that know
	// one of an earlier run recognise this node at once if it is kept.
	DiscoKey key.DiscoPrivate
	Peers    []Peer
	// Changed has the indexes of the peers that differ from those of the Apply before, in
	// which all peers had the same keys and places; nil when that is not known. The list
	// may then be the same memory, edited between the two.
	Changed []int
	// DERPMap has the relay regions; nil until known.
	DERPMap *control.DERPMap
	// ControlConnected says that the coordination server hears of changes now. Without,
	// the home relay stays, since peers could not learn of another.
	ControlConnected bool
}

// Peer is what the network map says of a peer's whereabouts.
type Peer struct {
	ID         control.NodeID
	Key        key.NodePublic
	Disco      key.DiscoPublic // zero if it has none
	Endpoints  []netip.AddrPort
	HomeRegion int // 0 if unknown
	Cap        control.CapabilityVersion
	Name       string
	// WireGuardOnly marks a peer that speaks neither disco nor relay.
	WireGuardOnly bool
}

// same reports whether two peers are equal. It may miss that equal endpoints are.
func (p *Peer) same(q *Peer) bool {
	return p.ID == q.ID && p.Key == q.Key && p.Disco == q.Disco && p.HomeRegion == q.HomeRegion && p.Cap == q.Cap &&
		p.Name == q.Name && p.WireGuardOnly == q.WireGuardOnly && len(p.Endpoints) == len(q.Endpoints) &&
		(len(p.Endpoints) == 0 || &p.Endpoints[0] == &q.Endpoints[0])
}

// Endpoint is an address of this node and how it is known.
type Endpoint struct {
	Addr netip.AddrPort
	Type control.EndpointType
}

// Interface is a network interface of this machine.
type Interface struct {
	Name         string
	Up, Loopback bool
	Addrs        []netip.Prefix
}

// LinkChange says what changed about the machine's network.
type LinkChange struct {
	// Up says that some interface but loopback is usable.
	Up bool
	// Rebind says that old paths probably do not work any more: another default
	// interface, other addresses, or the machine slept.
	Rebind bool
	// LocalAddrs are the addresses of the default interface. Relay connections from
	// others are closed; nil keeps all that still answer.
	LocalAddrs []netip.Addr
}

// PeerPath tells how a peer is reached.
type PeerPath struct {
	Peer key.NodePublic
	// Addr is the direct address, zero if the relay is used.
	Addr   netip.AddrPort
	Region int // of the relay
}

// RelayConn is a connection to a relay; *client.Conn is one.
type RelayConn interface {
	SendPackets([]client.Packet) error
	Recv() (client.Message, error)
	Buffered() bool
	NotePreferred(bool) error
	Ping(context.Context) (time.Duration, error)
	LocalAddr() netip.AddrPort
	Close() error
}

// Options are what an Engine is made with. All fields may be zero.
type Options struct {
	Logger *slog.Logger
	// Port is the UDP port, 0 for any. If it is taken, another is used.
	Port uint16
	// PreferPort is tried first if Port is 0, such as the one of the last run: mappings
	// of NATs and what peers know stay good.
	PreferPort uint16
	// DiscoKey is the key for path finding until an Apply has another; zero makes one.
	DiscoKey key.DiscoPrivate
	// Mark sets firewall mark Mark on everything sent, which needs root.
	Mark bool
	// NoUDP leaves out UDP altogether: everything goes through relays.
	NoUDP bool
	// StaticEndpoints are advertised besides those found.
	StaticEndpoints []netip.AddrPort

	// BatchSize is how many packets to receive at once at best; 0 is the right number for
	// sockets of the system. Each costs up to 64 KiB per receiver.
	BatchSize int
	// ListenPacket opens the UDP socket for network "udp4" or "udp6"; nil asks the system.
	ListenPacket func(network string, port uint16) (net.PacketConn, error)
	// DialRelay connects to a relay; nil uses client.Dial.
	DialRelay func(context.Context, client.Options) (RelayConn, error)
	// Dial opens TCP connections to relays; nil asks the system.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Lookup resolves names of relays for STUN; nil asks the system.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	// Interfaces lists the machine's interfaces; nil asks the system.
	Interfaces func() ([]Interface, error)

	// The callbacks run one at a time, in order, on a goroutine of their own, and may
	// call the engine. OnEndpoints gets the node's endpoints whenever they change,
	// OnNetInfo what is known of its network, OnPeerPath a peer's new path, OnConnected
	// what Connected returns whenever that changes.
	OnEndpoints func([]Endpoint)
	OnNetInfo   func(*control.NetInfo)
	OnPeerPath  func(PeerPath)
	OnConnected func(bool)
	// OnLastResort says that a handshake went to where a peer was last known to be, for
	// want of a path or a relay, or that one came from an unknown address. If the peer has an old disco key of this node then it can
	// only be told the new one through the tunnel.
	OnLastResort func(key.NodePublic)
}

// fill sets what was left out.
func (o *Options) fill() {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.BatchSize == 0 {
		o.BatchSize = BatchSize
	}
	if o.ListenPacket == nil {
		o.ListenPacket = systemListen(o.Mark)
	}
	if o.Dial == nil {
		o.Dial = systemDial(o.Mark)
	}
	if o.DialRelay == nil {
		o.DialRelay = func(ctx context.Context, co client.Options) (RelayConn, error) {
			c, err := client.Dial(ctx, co)
			if err != nil {
				return nil, err
			}
			return c, nil
		}
	}
	if o.Interfaces == nil {
		o.Interfaces = systemInterfaces
	}
}
