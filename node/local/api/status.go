package api

import (
	"net/netip"
	"slices"
	"time"

	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// Status is the state of the daemon and its peers (wire document cli, section 3.2).
type Status struct {
	Version string
	// TUN says that a kernel TUN device is in use.
	TUN          bool
	BackendState string // a State's name
	HaveNodeKey  bool   `json:",omitempty"`
	// AuthURL is where to log in, or empty.
	AuthURL        string
	TailscaleIPs   []netip.Addr
	Self           *PeerStatus
	ExitNodeStatus *ExitNodeStatus `json:",omitempty"`
	// Health is the text of every warning.
	Health []string
	// MagicDNSSuffix repeats that of CurrentTailnet, for old readers.
	MagicDNSSuffix string
	CurrentTailnet *TailnetStatus
	CertDomains    []string
	ExtraRecords   []control.DNSRecord `json:",omitempty"`
	// Peer is nil when asked for without peers.
	Peer          map[key.NodePublic]*PeerStatus
	User          map[control.UserID]control.UserProfile
	ClientVersion *control.ClientVersion
}

// Peers returns the keys of all peers in order.
func (s *Status) Peers() []key.NodePublic {
	keys := make([]key.NodePublic, 0, len(s.Peer))
	for k := range s.Peer {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, key.NodePublic.Compare)
	return keys
}

// TailnetStatus is the tailnet the node is in.
type TailnetStatus struct {
	Name string
	// MagicDNSSuffix has no leading or final dot.
	MagicDNSSuffix  string
	MagicDNSEnabled bool
}

// ExitNodeStatus is the exit node in use.
type ExitNodeStatus struct {
	ID           control.StableNodeID
	Online       bool
	TailscaleIPs []netip.Prefix
}

// PeerStatus is the state of a peer, or of the node itself.
type PeerStatus struct {
	ID        control.StableNodeID
	NodeID    control.NodeID
	PublicKey key.NodePublic
	HostName  string
	// DNSName has a final dot.
	DNSName         string
	OS              string
	UserID          control.UserID
	AltSharerUserID control.UserID `json:",omitempty"`

	TailscaleIPs  []netip.Addr
	AllowedIPs    []netip.Prefix `json:",omitempty"`
	Tags          []string       `json:",omitempty"`
	PrimaryRoutes []netip.Prefix `json:",omitempty"`

	// Addrs are the endpoints known, CurAddr the one in use, both as address and
	// port; Relay is the home relay's region code and PeerRelay the peer relay in
	// use.
	Addrs     []string
	CurAddr   string
	Relay     string
	PeerRelay string

	RxBytes       int64
	TxBytes       int64
	Created       time.Time
	LastWrite     time.Time
	LastSeen      time.Time
	LastHandshake time.Time

	Online bool
	// ExitNode says that it is in use, ExitNodeOption that it could be.
	ExitNode       bool
	ExitNodeOption bool
	Active         bool

	PeerAPIURL          []string
	TaildropTarget      TaildropTarget
	NoFileSharingReason string

	Capabilities []control.NodeCapability `json:",omitempty"`
	CapMap       control.NodeCapMap       `json:",omitempty"`
	SSHHostKeys  []string                 `json:"sshHostKeys,omitempty"`
	ShareeNode   bool                     `json:",omitempty"`

	// InNetworkMap, InMagicSock and InEngine say which layers know the peer.
	InNetworkMap bool
	InMagicSock  bool
	InEngine     bool

	Expired   bool              `json:",omitempty"`
	KeyExpiry *time.Time        `json:",omitempty"`
	Location  *control.Location `json:",omitempty"`
}

// TaildropTarget is whether files can be sent to a peer, and why not.
type TaildropTarget int

// The Taildrop target values.
const (
	TaildropUnknown           TaildropTarget = 0
	TaildropAvailable         TaildropTarget = 1
	TaildropNoNetmap          TaildropTarget = 2
	TaildropNotRunning        TaildropTarget = 3
	TaildropMissingCapability TaildropTarget = 4
	TaildropOffline           TaildropTarget = 5
	TaildropNoPeerInfo        TaildropTarget = 6
	TaildropUnsupportedOS     TaildropTarget = 7
	TaildropNoPeerAPI         TaildropTarget = 8
	TaildropOtherOwner        TaildropTarget = 9
)

// WhoIsResponse says who is behind an address (wire document cli, section 6.5).
type WhoIsResponse struct {
	Node        *control.Node
	UserProfile *control.UserProfile
	// CapMap is what the peer may do to this node, or nil.
	CapMap control.PeerCapMap
}
