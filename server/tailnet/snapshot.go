package tailnet

import (
	"cmp"
	"iter"
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// Snapshot is one version of the whole model. It never changes; any number of
// goroutines read it without locks. Versions share what they have in common, so
// publishing one costs the same however many nodes there are.
type Snapshot struct {
	seq      uint64
	counters Counters

	nodes    index[control.NodeID, *Node]
	users    index[control.UserID, *User]
	authKeys index[int64, *AuthKey]

	// These lead to IDs, so that they only change when what they order by does.
	byKey       index[key.NodePublic, control.NodeID]
	byMachine   index[machineNode, control.NodeID]
	byName      index[tailnetName, control.NodeID]
	byAddr      index[netip.Addr, control.NodeID]
	byExpiry    index[expiryNode, control.NodeID] // only nodes that expire
	usersByName index[tailnetName, control.UserID]
}

// machineNode orders the nodes of one machine by ID.
type machineNode struct {
	machine key.MachinePublic
	id      control.NodeID
}

func (a machineNode) compare(b machineNode) int {
	return cmp.Or(a.machine.Compare(b.machine), cmp.Compare(a.id, b.id))
}

// tailnetName is a name that is unique in its tailnet.
type tailnetName struct {
	tailnet TailnetID
	name    string
}

func (a tailnetName) compare(b tailnetName) int {
	return cmp.Or(cmp.Compare(a.tailnet, b.tailnet), strings.Compare(a.name, b.name))
}

// expiryNode orders nodes by the time at which their keys expire.
type expiryNode struct {
	at time.Time
	id control.NodeID
}

func (a expiryNode) compare(b expiryNode) int {
	return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.id, b.id))
}

// Counters are the numbers last given out; IDs are never reused.
type Counters struct {
	Node    control.NodeID
	User    control.UserID
	AuthKey int64
}

func newSnapshot() *Snapshot {
	return &Snapshot{
		nodes:       newIndex[control.NodeID, *Node](cmp.Compare[control.NodeID]),
		byKey:       newIndex[key.NodePublic, control.NodeID](key.NodePublic.Compare),
		byMachine:   newIndex[machineNode, control.NodeID](machineNode.compare),
		byName:      newIndex[tailnetName, control.NodeID](tailnetName.compare),
		byAddr:      newIndex[netip.Addr, control.NodeID](netip.Addr.Compare),
		byExpiry:    newIndex[expiryNode, control.NodeID](expiryNode.compare),
		users:       newIndex[control.UserID, *User](cmp.Compare[control.UserID]),
		usersByName: newIndex[tailnetName, control.UserID](tailnetName.compare),
		authKeys:    newIndex[int64, *AuthKey](cmp.Compare[int64]),
	}
}

// clone returns a version that shares everything with s; changing either copies
// only the path to what changes. The caller must own s: a published snapshot is
// never cloned.
func (s *Snapshot) clone() *Snapshot {
	c := *s
	c.nodes = s.nodes.clone()
	c.byKey = s.byKey.clone()
	c.byMachine = s.byMachine.clone()
	c.byName = s.byName.clone()
	c.byAddr = s.byAddr.clone()
	c.byExpiry = s.byExpiry.clone()
	c.users = s.users.clone()
	c.usersByName = s.usersByName.clone()
	c.authKeys = s.authKeys.clone()
	return &c
}

// Seq is the number of the last change on disk that the snapshot holds.
func (s *Snapshot) Seq() uint64 { return s.seq }

// NodeCount returns how many nodes there are, over all tailnets.
func (s *Snapshot) NodeCount() int { return s.nodes.len() }

// Node returns the node with that ID, or nil.
func (s *Snapshot) Node(id control.NodeID) *Node { return s.nodes.get(id) }

// NodeByKey returns the node that has that node key, or nil.
func (s *Snapshot) NodeByKey(k key.NodePublic) *Node { return s.Node(s.byKey.get(k)) }

// NodeByName returns the node with that DNS label, or nil.
func (s *Snapshot) NodeByName(t TailnetID, label string) *Node {
	return s.Node(s.byName.get(tailnetName{t, label}))
}

// NodeByAddr returns the node that owns the address, or nil.
func (s *Snapshot) NodeByAddr(a netip.Addr) *Node { return s.Node(s.byAddr.get(a)) }

// NodesOfMachine returns the nodes of a machine in order of ID.
func (s *Snapshot) NodesOfMachine(m key.MachinePublic) []*Node {
	var out []*Node
	s.byMachine.from(machineNode{machine: m, id: math.MinInt64}, func(id control.NodeID) bool {
		n := s.Node(id)
		if n.Machine != m {
			return false
		}
		out = append(out, n)
		return true
	})
	return out
}

// Nodes iterates over the nodes of a tailnet in order of ID.
func (s *Snapshot) Nodes(t TailnetID) iter.Seq[*Node] {
	return func(yield func(*Node) bool) {
		s.nodes.all(func(n *Node) bool { return n.TailnetID != t || yield(n) })
	}
}

// User returns the user with that ID, or nil.
func (s *Snapshot) User(id control.UserID) *User { return s.users.get(id) }

// UserByLogin returns the user with that login name, or nil.
func (s *Snapshot) UserByLogin(t TailnetID, login string) *User {
	return s.User(s.usersByName.get(tailnetName{t, login}))
}

// Users iterates over the users of a tailnet in order of ID.
func (s *Snapshot) Users(t TailnetID) iter.Seq[*User] {
	return func(yield func(*User) bool) {
		s.users.all(func(u *User) bool { return u.TailnetID != t || yield(u) })
	}
}

// AuthKey returns the auth key with that ID, or nil.
func (s *Snapshot) AuthKey(id int64) *AuthKey { return s.authKeys.get(id) }

// AuthKeys iterates over the auth keys of a tailnet in order of ID.
func (s *Snapshot) AuthKeys(t TailnetID) iter.Seq[*AuthKey] {
	return func(yield func(*AuthKey) bool) {
		s.authKeys.all(func(k *AuthKey) bool { return k.TailnetID != t || yield(k) })
	}
}

// putNode stores n in place of the node with its ID, if any.
func (s *Snapshot) putNode(n *Node) {
	old := s.nodes.get(n.ID)
	s.nodes.put(n.ID, n)
	if old == nil {
		old = &Node{}
	}
	s.reindex(n.ID, old, n)
}

func (s *Snapshot) dropNode(id control.NodeID) {
	if old := s.nodes.remove(id); old != nil {
		s.reindex(id, old, &Node{})
	}
}

// reindex moves a node in the indexes from where old stands to where n does. A
// zero Node stands nowhere.
func (s *Snapshot) reindex(id control.NodeID, old, n *Node) {
	move(s.byKey, id, old.Key, n.Key)
	move(s.byMachine, id, machineNode{old.Machine, old.ID}, machineNode{n.Machine, n.ID})
	move(s.byName, id, tailnetName{old.TailnetID, old.GivenName}, tailnetName{n.TailnetID, n.GivenName})
	move(s.byAddr, id, old.IPv4, n.IPv4)
	move(s.byAddr, id, old.IPv6, n.IPv6)
	from, to := expiryNode{old.KeyExpiry, id}, expiryNode{n.KeyExpiry, id}
	if old.KeyExpiry.IsZero() {
		from = expiryNode{}
	}
	if n.KeyExpiry.IsZero() {
		to = expiryNode{}
	}
	move(s.byExpiry, id, from, to)
}

// move changes the key of an ID in an index. The zero key is no place. Moving to a
// key that another ID still holds is the caller's mistake.
func move[K comparable](x index[K, control.NodeID], id control.NodeID, from, to K) {
	var nowhere K
	if from == to {
		return
	}
	if from != nowhere {
		x.remove(from)
	}
	if to != nowhere {
		x.put(to, id)
	}
}

func (s *Snapshot) putUser(u *User) {
	s.dropUser(u.ID)
	s.users.put(u.ID, u)
	s.usersByName.put(tailnetName{u.TailnetID, u.LoginName}, u.ID)
}

func (s *Snapshot) dropUser(id control.UserID) {
	if old := s.users.remove(id); old != nil {
		s.usersByName.remove(tailnetName{old.TailnetID, old.LoginName})
	}
}

func (s *Snapshot) putAuthKey(k *AuthKey) { s.authKeys.put(k.ID, k) }
func (s *Snapshot) dropAuthKey(id int64)  { s.authKeys.remove(id) }

// addrTaken reports whether a node owns the address.
func (s *Snapshot) addrTaken(a netip.Addr) bool { return s.byAddr.get(a) != 0 }
