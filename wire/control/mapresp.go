package control

import (
	"net/netip"
	"slices"
	"time"

	"github.com/ginnel/ginnel/wire/key"
)

// MapResponse is one frame of the map stream (section 5.5). All state it changes
// lives for one stream; the first frame that is not a keepalive holds Node.
//
// For most fields nil means unchanged. Where an explicit empty value means
// something else the field is written when empty but not nil.
type MapResponse struct {
	// MapSessionHandle and Seq allow resuming; nodes do not use them.
	MapSessionHandle string `json:",omitempty"`
	Seq              int64  `json:",omitempty"`

	KeepAlive     bool         `json:",omitempty"`
	PingRequest   *PingRequest `json:",omitempty"`
	PopBrowserURL string       `json:",omitempty"`

	// Node replaces the self node entirely.
	Node    *Node    `json:",omitempty"`
	DERPMap *DERPMap `json:",omitempty"`

	// Peers, when not empty, is the complete list and the other peer fields are
	// ignored. Sorted by ID, as PeersChanged is. An empty list changes nothing.
	Peers []*Node `json:",omitempty"`
	// PeersChanged adds or replaces whole peers by ID.
	PeersChanged []*Node  `json:",omitempty"`
	PeersRemoved []NodeID `json:",omitempty"`
	// PeersChangedPatch changes single fields of peers already known.
	PeersChangedPatch []*PeerChange `json:",omitempty"`
	// PeerSeenChange sets LastSeen to the node's now, or clears it.
	PeerSeenChange map[NodeID]bool `json:",omitempty"`
	OnlineChange   map[NodeID]bool `json:",omitempty"`

	// DNSConfig replaces the DNS settings entirely; an empty one is all off.
	DNSConfig *DNSConfig `json:",omitempty"`
	// Domain is the tailnet's name for display, empty for unchanged.
	Domain          string  `json:",omitempty"`
	CollectServices OptBool `json:",omitzero"`

	// PacketFilter replaces the filter named "base". Empty but not nil blocks
	// everything.
	PacketFilter []FilterRule `json:",omitzero"`
	// PacketFilters replaces filters by name; a nil list deletes, "*" with nil
	// first deletes all. It is applied after PacketFilter, and the filter in
	// force is the concatenation in key order.
	PacketFilters map[string][]FilterRule `json:",omitzero"`

	// UserProfiles adds or replaces by ID.
	UserProfiles []UserProfile `json:",omitempty"`
	// Health replaces the server's health notes; empty but not nil is healthy.
	Health []string `json:",omitzero"`
	// DisplayMessages adds or replaces by ID; nil deletes, "*" with nil first
	// deletes all.
	DisplayMessages map[DisplayMessageID]*DisplayMessage `json:",omitempty"`

	SSHPolicy   *SSHPolicy `json:",omitempty"`
	ControlTime time.Time  `json:",omitzero"`
	// TKAInfo nil on the first frame means lock is off, later unchanged.
	TKAInfo                   *TKAInfo `json:",omitempty"`
	DomainDataPlaneAuditLogID string   `json:",omitempty"`

	Debug           *Debug           `json:",omitempty"`
	ControlDialPlan *ControlDialPlan `json:",omitempty"`
	ClientVersion   *ClientVersion   `json:",omitempty"`
	// DefaultAutoUpdate is deprecated for the default-auto-update attribute.
	DefaultAutoUpdate OptBool `json:",omitzero"`
}

// BaseFilter is the name PacketFilter has among PacketFilters, and ClearAll the
// key that, with a nil value, empties PacketFilters or DisplayMessages first.
const (
	BaseFilter = "base"
	ClearAll   = "*"
)

// DropNil removes the null entries a foreign server may have put in the lists of
// peers and patches, so that readers need not look for them.
func (r *MapResponse) DropNil() {
	isNilNode := func(n *Node) bool { return n == nil }
	r.Peers = slices.DeleteFunc(r.Peers, isNilNode)
	r.PeersChanged = slices.DeleteFunc(r.PeersChanged, isNilNode)
	r.PeersChangedPatch = slices.DeleteFunc(r.PeersChangedPatch, func(p *PeerChange) bool { return p == nil })
}

// PeerChange changes single fields of the peer NodeID (section 5.7). A nil or
// zero field leaves the peer's alone.
type PeerChange struct {
	NodeID     NodeID
	DERPRegion int               `json:",omitempty"`
	Cap        CapabilityVersion `json:",omitempty"`
	// CapMap and Endpoints clear when empty but not nil.
	CapMap       NodeCapMap       `json:",omitzero"`
	Endpoints    []netip.AddrPort `json:",omitzero"`
	Key          *key.NodePublic  `json:",omitempty"`
	KeySignature []byte           `json:",omitzero"`
	DiscoKey     *key.DiscoPublic `json:",omitempty"`
	Online       *bool            `json:",omitempty"`
	LastSeen     *time.Time       `json:",omitempty"`
	// KeyExpiry zero but not nil means never.
	KeyExpiry *time.Time `json:",omitempty"`
}

// Debug asks the node to act once.
type Debug struct {
	// SleepSeconds blocks the stream, at most 300 s.
	SleepSeconds float64 `json:",omitempty"`
	// DisableLogTail stops the upload of logs for the life of the process.
	DisableLogTail bool `json:",omitempty"`
	// Exit is the status to end the process with.
	Exit *int `json:",omitempty"`
}

// DisplayMessageID names a message of the server to the node's user.
type DisplayMessageID string

// DisplayMessage is a message of the server to the node's user (section 6.13),
// for VersionDisplayMessages and later.
type DisplayMessage struct {
	Title               string
	Text                string
	Severity            Severity
	ImpactsConnectivity bool                  `json:",omitempty"`
	PrimaryAction       *DisplayMessageAction `json:",omitempty"`
}

// DisplayMessageAction is a link offered with a message. The URL obeys the rule of
// RegisterResponse.AuthURL.
type DisplayMessageAction struct {
	URL   string
	Label string
}

// Severity is how bad the matter of a message is.
type Severity string

// The severities.
const (
	SeverityHigh   Severity = "high"
	SeverityMedium Severity = "medium"
	SeverityLow    Severity = "low"
)

// ControlDialPlan says how to reach the server without DNS (section 6.15). No
// candidates means DNS.
type ControlDialPlan struct {
	Candidates []ControlIPCandidate
}

// ControlIPCandidate is one way to reach the server: an address, or an ACEHost to
// connect through.
type ControlIPCandidate struct {
	IP                netip.Addr `json:",omitzero"`
	ACEHost           string     `json:",omitempty"`
	DialStartDelaySec float64    `json:",omitempty"` // seconds
	DialTimeoutSec    float64    `json:",omitempty"` // seconds; zero times out at once
	Priority          int        `json:",omitempty"`
}

// ClientVersion tells the node about newer releases (section 6.16). The members
// after RunningLatest are only meaningful while that is false.
type ClientVersion struct {
	RunningLatest        bool   `json:",omitempty"`
	LatestVersion        string `json:",omitempty"`
	UrgentSecurityUpdate bool   `json:",omitempty"`
	Notify               bool   `json:",omitempty"`
	NotifyURL            string `json:",omitempty"`
	NotifyText           string `json:",omitempty"`
}
