package admin

import (
	"net/netip"
	"time"

	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/control"
)

// User is a user as the interface shows it.
type User struct {
	ID          control.UserID `json:"id"`
	LoginName   string         `json:"loginName"`
	DisplayName string         `json:"displayName"`
	Created     time.Time      `json:"created"`
	Nodes       int            `json:"nodes"`
}

// Node is a node as the interface shows it. Empty lists are written [].
type Node struct {
	ID         control.NodeID            `json:"id"`
	StableID   control.StableNodeID      `json:"stableID"`
	Name       string                    `json:"name"`
	NameFixed  bool                      `json:"nameFixed"`
	Hostname   string                    `json:"hostname"`
	OS         string                    `json:"os"`
	Version    string                    `json:"version"`
	UserID     control.UserID            `json:"userID"`
	User       string                    `json:"user"`
	Tags       []string                  `json:"tags"`
	Addresses  []netip.Addr              `json:"addresses"`
	Endpoints  []string                  `json:"endpoints"`
	HomeDERP   int                       `json:"homeDERP"`
	Online     bool                      `json:"online"`
	Expired    bool                      `json:"expired"`
	Authorized bool                      `json:"authorized"`
	Ephemeral  bool                      `json:"ephemeral"`
	Created    time.Time                 `json:"created"`
	LastSeen   time.Time                 `json:"lastSeen,omitzero"`
	KeyExpiry  time.Time                 `json:"keyExpiry,omitzero"`
	MachineKey string                    `json:"machineKey"`
	NodeKey    string                    `json:"nodeKey"`
	DiscoKey   string                    `json:"discoKey"`
	Cap        control.CapabilityVersion `json:"capabilityVersion"`
	AuthKeyID  int64                     `json:"authKeyID,omitempty"`
}

// AuthKey is an auth key as the interface shows it: without its secret.
type AuthKey struct {
	ID            int64          `json:"id"`
	UserID        control.UserID `json:"userID"`
	User          string         `json:"user"`
	Reusable      bool           `json:"reusable"`
	Ephemeral     bool           `json:"ephemeral"`
	Preauthorized bool           `json:"preauthorized"`
	Tags          []string       `json:"tags"`
	Description   string         `json:"description"`
	Created       time.Time      `json:"created"`
	Expiry        time.Time      `json:"expiry,omitzero"`
	Revoked       time.Time      `json:"revoked,omitzero"`
	LastUsed      time.Time      `json:"lastUsed,omitzero"`
	Uses          int64          `json:"uses"`
	// State is "valid", "used", "expired" or "revoked".
	State string `json:"state"`
}

// NewAuthKey is an auth key just made, with the text to give to a node.
type NewAuthKey struct {
	AuthKey
	Key string `json:"key"`
	// Join is a command that joins a node with the key.
	Join string `json:"join"`
}

// Login is a pending login.
type Login struct {
	ID       string     `json:"id"`
	Hostname string     `json:"hostname"`
	OS       string     `json:"os"`
	Tags     []string   `json:"tags"`
	From     netip.Addr `json:"from,omitzero"`
	Created  time.Time  `json:"created"`
	NodeKey  string     `json:"nodeKey"`
}

// AuditRecord is a line of the audit log.
type AuditRecord struct {
	Seq    uint64    `json:"seq"`
	At     time.Time `json:"at"`
	Actor  string    `json:"actor"`
	Action string    `json:"action"`
	Target string    `json:"target"`
	Detail string    `json:"detail,omitempty"`
}

// Status is how the server is.
type Status struct {
	Version   string    `json:"version"`
	URL       string    `json:"url"`
	DataDir   string    `json:"dataDir"`
	Listen    []string  `json:"listen"`
	STUN      string    `json:"stun,omitempty"`
	Relay     string    `json:"relay,omitempty"`
	Started   time.Time `json:"started"`
	Nodes     int       `json:"nodes"`
	Online    int       `json:"online"`
	Users     int       `json:"users"`
	Pending   int       `json:"pendingLogins"`
	ChangeSeq uint64    `json:"changeSeq"`
}

// The bodies of requests.
type (
	// UserRequest makes or renames a user. An empty name of a rename stays.
	UserRequest struct {
		LoginName   string `json:"loginName,omitempty"`
		DisplayName string `json:"displayName,omitempty"`
	}
	// AuthKeyRequest makes an auth key. User is a login name or ID; empty picks
	// the only user. Lifetime 0 is for ever.
	AuthKeyRequest struct {
		User        string        `json:"user,omitempty"`
		Reusable    bool          `json:"reusable,omitempty"`
		Ephemeral   bool          `json:"ephemeral,omitempty"`
		NeedsReview bool          `json:"needsReview,omitempty"`
		Tags        []string      `json:"tags,omitempty"`
		Description string        `json:"description,omitempty"`
		Lifetime    time.Duration `json:"lifetime,omitempty"`
	}
	// RenameRequest names a node; empty lets it follow its host name.
	RenameRequest struct {
		Name string `json:"name"`
	}
	// TagsRequest replaces the tags of a node.
	TagsRequest struct {
		Tags []string `json:"tags"`
	}
	// ExpireRequest sets the end of a node key: at once, at a time, or never.
	ExpireRequest struct {
		At    time.Time `json:"at,omitzero"`
		Never bool      `json:"never,omitempty"`
	}
	// ApproveRequest approves a login. User as in AuthKeyRequest. Tags nil
	// grants those asked for.
	ApproveRequest struct {
		User string   `json:"user,omitempty"`
		Tags []string `json:"tags,omitempty"`
	}
)

func list[T any](in []T) []T {
	if in == nil {
		return []T{}
	}
	return in
}

func nodeView(s *tailnet.Snapshot, n *tailnet.Node, now time.Time) Node {
	v := Node{
		ID: n.ID, StableID: n.StableID, Name: n.GivenName, NameFixed: n.NameFixed,
		Hostname: n.Hostinfo.Hostname, OS: n.Hostinfo.OS, Version: n.Hostinfo.IPNVersion,
		UserID: n.UserID, Tags: list(n.Tags), Addresses: []netip.Addr{}, Endpoints: []string{},
		HomeDERP: n.HomeDERP, Online: n.Online, Expired: n.Expired(now), Authorized: n.Authorized, Ephemeral: n.Ephemeral,
		Created: n.Created, LastSeen: n.LastSeen, KeyExpiry: n.KeyExpiry,
		MachineKey: n.Machine.String(), NodeKey: n.Key.String(), DiscoKey: n.Disco.String(),
		Cap: n.Cap, AuthKeyID: n.AuthKeyID,
	}
	if u := s.User(n.UserID); u != nil {
		v.User = u.LoginName
	}
	for _, p := range n.Addresses() {
		v.Addresses = append(v.Addresses, p.Addr())
	}
	for _, e := range n.Endpoints {
		v.Endpoints = append(v.Endpoints, e.Addr.String())
	}
	return v
}

func authKeyView(s *tailnet.Snapshot, k *tailnet.AuthKey, now time.Time) AuthKey {
	v := AuthKey{
		ID: k.ID, UserID: k.UserID, Reusable: k.Reusable, Ephemeral: k.Ephemeral, Preauthorized: k.Preauthorized,
		Tags: list(k.Tags), Description: k.Description, Created: k.Created, Expiry: k.Expiry, Revoked: k.Revoked,
		LastUsed: k.LastUsed, Uses: k.Uses,
	}
	if u := s.User(k.UserID); u != nil {
		v.User = u.LoginName
	}
	switch {
	case !k.Revoked.IsZero():
		v.State = "revoked"
	case k.Expired(now):
		v.State = "expired"
	case !k.Usable(now):
		v.State = "used"
	default:
		v.State = "valid"
	}
	return v
}

func loginView(l tailnet.PendingLogin) Login {
	return Login{ID: l.ID, Hostname: l.Hostinfo.Hostname, OS: l.Hostinfo.OS, Tags: list(l.Tags), From: l.From,
		Created: l.Created, NodeKey: l.NodeKey.String()}
}
