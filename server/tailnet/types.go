package tailnet

import (
	"net/netip"
	"time"

	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// TailnetID is the number of a tailnet. Every row names its tailnet; today there
// is one, DefaultTailnet.
type TailnetID int64

// DefaultTailnet is the tailnet that every server has.
const DefaultTailnet TailnetID = 1

// Node is a device of a tailnet. A published Node never changes: a command that
// changes it publishes a new one under the same ID. Callers must treat it and
// everything it points to as read-only.
type Node struct {
	ID        control.NodeID
	StableID  control.StableNodeID
	TailnetID TailnetID
	// UserID is the owner; of a tagged node, the user whose key or approval
	// brought it in.
	UserID control.UserID

	Machine key.MachinePublic
	Key     key.NodePublic
	// Disco is zero until the node's first update.
	Disco   key.DiscoPublic
	LockKey key.LockPublic
	// KeySignature is the tailnet-lock signature of Key, or nil.
	KeySignature []byte

	// GivenName is the DNS label, unique in the tailnet. NameFixed says that
	// an administrator chose it, so that it no longer follows the host name.
	GivenName string
	NameFixed bool

	// Hostinfo is what the node last said of itself, never nil.
	Hostinfo  *control.Hostinfo
	Endpoints []Endpoint
	// HomeDERP is the home relay region, 0 while unknown.
	HomeDERP int
	// IPv4 and IPv6 are stable for the life of the node; either may be the zero
	// Addr when the server hands out the other family only.
	IPv4, IPv6 netip.Addr
	// Tags are sorted, each with its "tag:" prefix. A node with tags acts as
	// them and not as its user.
	Tags []string

	Ephemeral bool
	// Authorized is false while the device waits for approval.
	Authorized bool
	// KeyExpiry is when Key stops being valid; zero is never.
	KeyExpiry time.Time
	Created   time.Time
	// LastSeen is when the node was last connected. It is set when the node goes
	// offline or the server ends, and with every change that the node itself
	// makes. After a crash it may be a minute too early.
	LastSeen time.Time
	// Online is whether the node has a map session now. It lives in memory
	// only: after a restart every node is offline until it polls.
	Online bool
	Cap    control.CapabilityVersion
	// LockHead is the tailnet-lock head that the node last reported.
	LockHead string
	// AuthKeyID is the auth key that the node last joined with, 0 for none.
	AuthKeyID int64
}

// Endpoint is a UDP address where a node says it can be reached.
type Endpoint struct {
	Addr netip.AddrPort
	Type control.EndpointType
}

// Expired reports whether the node's key is no longer valid at now.
func (n *Node) Expired(now time.Time) bool {
	return !n.KeyExpiry.IsZero() && !now.Before(n.KeyExpiry)
}

// Tagged reports whether the node acts as tags and not as its user.
func (n *Node) Tagged() bool { return len(n.Tags) > 0 }

// Addresses returns the node's own addresses as single-address prefixes, IPv4
// first.
func (n *Node) Addresses() []netip.Prefix {
	out := make([]netip.Prefix, 0, 2)
	for _, a := range [...]netip.Addr{n.IPv4, n.IPv6} {
		if a.IsValid() {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return out
}

// User is a person who owns nodes.
type User struct {
	ID        control.UserID
	TailnetID TailnetID
	// LoginName is unique in the tailnet and never empty.
	LoginName     string
	DisplayName   string
	ProfilePicURL string
	Created       time.Time
}

// AuthKey lets nodes join without a person at hand. The secret itself is not
// kept, only its hash.
type AuthKey struct {
	ID        int64
	TailnetID TailnetID
	UserID    control.UserID
	// Hash is SHA-256 of the secret part.
	Hash     [32]byte
	Reusable bool
	// Ephemeral makes the nodes that join with it ephemeral.
	Ephemeral bool
	// Preauthorized spares the nodes that join with it the approval.
	Preauthorized bool
	Tags          []string
	Description   string
	Created       time.Time
	// Expiry is when the key stops being accepted; zero is never.
	Expiry time.Time
	// Revoked is when it was revoked; zero is not.
	Revoked time.Time
	// Uses counts joins; LastUsed is the time of the last.
	Uses     int64
	LastUsed time.Time
}

// PendingLogin is a node that asked to join and waits for somebody to approve
// it. Pending logins live in memory only.
type PendingLogin struct {
	// ID is random and unguessable; it ends the URL shown to the user.
	ID       string
	Machine  key.MachinePublic
	NodeKey  key.NodePublic
	Hostinfo *control.Hostinfo
	// Tags are those the node asks for.
	Tags      []string
	Ephemeral bool
	Created   time.Time
	// From is the address that the request came from, for display.
	From netip.Addr
}

// Actor says who does a command, for the audit record.
type Actor struct {
	// Kind is one of the Actor* constants.
	Kind string
	// Name says which one: a node's stable ID, an operating system user, ...
	Name string
}

// Kinds of Actor.
const (
	// ActorNode is a device speaking the control protocol.
	ActorNode = "node"
	// ActorAdmin is an administrator on the server's own socket.
	ActorAdmin = "admin"
	// ActorServer is the server itself: expiry, ephemeral removal, first start.
	ActorServer = "server"
)

// AuditRecord is one command in the audit log.
type AuditRecord struct {
	Seq       uint64
	TailnetID TailnetID
	At        time.Time
	Actor     Actor
	// Action is what was done, such as "node.register"; Target is to what.
	Action, Target string
	// Detail is a JSON object with what else is worth knowing, or empty.
	Detail string
}
