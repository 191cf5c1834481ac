package tailnet

import (
	"crypto/rand"
	"time"

	"github.com/ginnel/ginnel/wire/control"
)

// joinParams is a registration that has been allowed.
type joinParams struct {
	RegisterParams
	user       *User
	tags       []string
	ephemeral  bool
	authorized bool
	authKey    int64
}

// join collects a new node, or the next key of a node that the machine already
// has for that user.
func (t *tx) join(j joinParams) (*Node, error) {
	old, err := t.rejoining(j)
	if err != nil {
		return nil, err
	}
	if old == nil {
		return t.joinNew(j)
	}
	n := *old
	n.Key, n.KeySignature = j.NodeKey, j.KeySignature
	n.UserID = j.user.ID
	n.Ephemeral = j.ephemeral
	n.Authorized = old.Authorized || j.authorized
	n.AuthKeyID = j.authKey
	if len(j.tags) > 0 {
		n.Tags = j.tags
	}
	t.takeClaims(&n, j)
	n.KeyExpiry = t.keyExpiry(&n, j.Expiry)
	t.setNode(old, &n)
	return &n, nil
}

// rejoining returns the node that the registration is a new login of, or nil.
func (t *tx) rejoining(j joinParams) (*Node, error) {
	// The same key again, after it expired: whoever the user is now, it is the
	// same node, since a key belongs to one node.
	if n := t.NodeByKey(j.NodeKey); n != nil {
		if n.Machine != j.Machine {
			return nil, ErrWrongMachine
		}
		return n, nil
	}
	// OldNodeKey stays set on a client that has ever rotated, so it only picks
	// among the nodes that the machine and user select.
	var found *Node
	for _, n := range t.NodesOfMachine(j.Machine) {
		if n.UserID != j.user.ID || n.TailnetID != j.user.TailnetID {
			continue
		}
		if n.Key == j.OldNodeKey {
			return n, nil
		}
		found = n
	}
	return found, nil
}

func (t *tx) joinNew(j joinParams) (*Node, error) {
	v4, v6, err := t.s.addrs.next(t.addrTaken)
	if err != nil {
		return nil, err
	}
	t.counters.Node++
	n := &Node{
		ID:         t.counters.Node,
		StableID:   newStableID(),
		TailnetID:  j.user.TailnetID,
		UserID:     j.user.ID,
		Machine:    j.Machine,
		Key:        j.NodeKey,
		IPv4:       v4,
		IPv6:       v6,
		Hostinfo:   &control.Hostinfo{},
		Tags:       j.tags,
		Ephemeral:  j.ephemeral,
		Authorized: j.authorized,
		Created:    t.now,
		AuthKeyID:  j.authKey,
	}
	n.KeySignature = j.KeySignature
	t.takeClaims(n, j)
	n.KeyExpiry = t.keyExpiry(n, j.Expiry)
	t.addNode(n)
	return n, nil
}

// takeClaims fills in what a node says of itself.
func (t *tx) takeClaims(n *Node, j joinParams) {
	n.LockKey = j.LockKey
	n.Cap = j.Cap
	n.LastSeen = t.laterSeen(n, t.now)
	t.takeHostinfo(n, j.Hostinfo)
	if n.GivenName == "" {
		n.GivenName = t.uniqueLabel(n.TailnetID, n.ID, labelOf(n.Hostinfo.Hostname))
	}
}

// takeHostinfo stores host information in n, keeps the network information
// before when there is none, and lets home relay and name follow.
func (t *tx) takeHostinfo(n *Node, h *control.Hostinfo) {
	if h.NetInfo == nil && n.Hostinfo.NetInfo != nil {
		c := *h
		c.NetInfo = n.Hostinfo.NetInfo
		h = &c
	}
	n.Hostinfo = h
	if h.NetInfo != nil && h.NetInfo.PreferredDERP > 0 {
		n.HomeDERP = h.NetInfo.PreferredDERP
	}
	if label := labelOf(h.Hostname); n.GivenName != "" && !n.NameFixed && h.Hostname != "" && !derivedFrom(n.GivenName, label) {
		n.GivenName = t.uniqueLabel(n.TailnetID, n.ID, label)
	}
}

// keyExpiry returns until when a key is valid that was logged in with now.
func (t *tx) keyExpiry(n *Node, wish time.Time) time.Time {
	var at time.Time
	if !n.Tagged() && t.s.o.NodeKeyExpiry > 0 {
		at = t.now.Add(t.s.o.NodeKeyExpiry)
	}
	if wish = normalTime(wish); !wish.IsZero() && (at.IsZero() || wish.Before(at)) {
		at = wish
	}
	return at
}

// newStableID returns a fresh stable ID: opaque, and different on every server.
func newStableID() control.StableNodeID {
	var raw [10]byte
	rand.Read(raw[:])
	return control.StableNodeID("n" + secretEncoding.EncodeToString(raw[:]))
}
