package node

import (
	"context"
	"net"
	"net/netip"
	"time"

	"log/slog"

	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/node/netmap"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// plane is everything that moves packets. The loop is its only caller for Apply,
// Rebind and Close; the other methods may be called from anywhere.
type plane interface {
	// Apply brings the plane to the wanted state. It may be repeated, and does
	// as much as it can when something fails.
	Apply(planeConfig) error
	// Live reports whether a relay connection or a peer is alive.
	Live() bool
	Status() planeStatus
	// Problems returns what does not work at present. It is cheaper than Status.
	Problems() []problem
	// LocalPort returns the UDP port, 0 if there is none.
	LocalPort() uint16
	// Ping sends one ping to a peer, at ip.
	Ping(ctx context.Context, peer *control.Node, ip netip.Addr, kind api.PingType, size int) (api.PingResult, error)
	// CapsFor returns what the peer at an address may do to this node.
	CapsFor(src netip.Addr) control.PeerCapMap
	// Dial opens a connection into the mesh.
	Dial(ctx context.Context, network string, addr netip.AddrPort) (net.Conn, error)
	// PeerOf returns the peer behind a connection that the plane forwarded to a
	// service on this host, by the address that the service sees.
	PeerOf(local netip.AddrPort) (peer netip.AddrPort, ok bool)
	Netcheck(ctx context.Context) (*api.NetcheckReport, error)
	// LinkChanged says that interfaces or routes have changed.
	LinkChanged()
	// Rebind opens the sockets anew; Restun asks for the public addresses anew.
	Rebind()
	Restun()
	// Debug returns the candidates of paths per peer, for people to read.
	Debug() any
	Close() error
}

// planeConfig is the wanted state of the plane. The zero value wants nothing: no
// addresses, no peers, nothing let in.
type planeConfig struct {
	Key              key.NodePrivate
	DiscoKey         key.DiscoPrivate // zero for any
	Map              *netmap.Map      // nil for nothing
	Prefs            *api.Prefs
	ControlConnected bool
	Now              time.Time // for the expiry of keys
	Expired          string    // whose keys have expired, as text to compare
}

// planeOptions is what a plane is made of.
type planeOptions struct {
	Options
	Logger *slog.Logger
	hooks  planeHooks
	// preferPort is the UDP port to try first if Options has none.
	preferPort uint16
	machine    key.MachinePrivate
}

// planeHooks are called by the plane from its goroutines; they do not block.
type planeHooks struct {
	// endpoints reports the node's UDP endpoints and where each comes from.
	endpoints func([]netip.AddrPort, []control.EndpointType)
	netInfo   func(*control.NetInfo)
	// changed says that liveness or a path has changed.
	changed func()
	// linkChanged says that interfaces or routes have changed, and whether
	// connections are likely to be broken by it.
	linkChanged func(broken bool)
	// resolve finds a node by name, for the proxies.
	resolve func(name string) (netip.Addr, bool)
	// badConnection counts a connection to a proxy that spoke something else.
	badConnection func(protocol string)
}

// planeStatus is the state of the plane at one moment.
type planeStatus struct {
	TUN        bool // a kernel interface is in use
	HomeRegion int
	HomeCode   string
	Relays     []int // regions connected
	Endpoints  []netip.AddrPort
	Peers      map[key.NodePublic]peerState
	Metrics    []metric
}

// peerState is the state of one peer in the plane.
type peerState struct {
	CurAddr       string // of a direct path in use, "" when relayed or idle
	RelayCode     string // of the peer's home region
	RxBytes       int64
	TxBytes       int64
	LastHandshake time.Time
	LastWrite     time.Time
	LastRecv      time.Time
	Active        bool
}
