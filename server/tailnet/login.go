package tailnet

import (
	"container/list"
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

const (
	// maxLogins and maxLoginBytes bound the pending logins. When there are too
	// many, the one looked at longest ago goes, of those from where the most of
	// them came: nobody can push out the logins of others by making many. A node
	// that waits on one that is gone gets a new one.
	maxLogins     = 4096
	maxLoginBytes = 16 << 20 // what the nodes said of themselves
	// maxMachineLogins is how many of them one machine may have, each with a node
	// key of its own.
	maxMachineLogins = 4
	// maxLoginAge is how long a pending login stays: nodes offer its URL to
	// their user for a week.
	maxLoginAge = 7 * 24 * time.Hour
)

// loginTable holds the pending logins.
type loginTable struct {
	mu        sync.Mutex
	byID      map[string]*login
	byNode    map[loginNode]*login
	byMachine map[key.MachinePublic][]*login // oldest first
	bySource  map[netip.Prefix]*loginSource
	bytes     int
	uses      uint64 // counts looks at logins
	dropped   uint64 // counts those that went for others
}

type loginNode struct {
	machine key.MachinePublic
	node    key.NodePublic
}

// loginSource is where logins came from: an IPv4 address or an IPv6 /48 network.
type loginSource struct {
	recent *list.List // of *login, the most recently used in front
	bytes  int
}

type login struct {
	PendingLogin
	params RegisterParams
	bytes  int
	used   uint64 // see loginTable.uses
	source *loginSource
	elem   *list.Element
	// done is closed when the login is decided or dropped; node and err are
	// set before. ErrLoginUnknown says that it was dropped.
	done chan struct{}
	node *Node
	err  error
}

func (t *loginTable) init() {
	t.byID = map[string]*login{}
	t.byNode = map[loginNode]*login{}
	t.byMachine = map[key.MachinePublic][]*login{}
	t.bySource = map[netip.Prefix]*loginSource{}
}

// loginOverhead is what a login costs in bytes besides the node's host information.
const loginOverhead = 1 << 10

// begin starts a login and returns its ID. A node that has one keeps it. size is
// that of the node's host information in bytes.
func (t *loginTable) begin(p RegisterParams, tags []string, size int, now time.Time) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	node := loginNode{p.Machine, p.NodeKey}
	if l := t.byNode[node]; l != nil && now.Sub(l.Created) < maxLoginAge {
		t.use(l)
		return l.ID
	} else if l != nil {
		t.drop(l, nil, ErrLoginUnknown)
	}
	var raw [16]byte
	rand.Read(raw[:])
	p.AuthKey, p.FollowupID = "", ""
	l := &login{
		PendingLogin: PendingLogin{
			ID:        hex.EncodeToString(raw[:]),
			Machine:   p.Machine,
			NodeKey:   p.NodeKey,
			Hostinfo:  p.Hostinfo,
			Tags:      tags,
			Ephemeral: p.Ephemeral,
			Created:   now,
			From:      p.From,
		},
		params: p,
		bytes:  loginOverhead + size,
		done:   make(chan struct{}),
	}
	if of := t.byMachine[p.Machine]; len(of) >= maxMachineLogins {
		t.evict(of[0])
	}
	t.add(l, node)
	for len(t.byID) > maxLogins || t.bytes > maxLoginBytes {
		t.evict(t.leastDue())
	}
	return l.ID
}

// add puts a login in. The caller holds mu.
func (t *loginTable) add(l *login, node loginNode) {
	from := sourceOf(l.From)
	if l.source = t.bySource[from]; l.source == nil {
		l.source = &loginSource{recent: list.New()}
		t.bySource[from] = l.source
	}
	l.elem = l.source.recent.PushFront(l)
	l.source.bytes += l.bytes
	t.bytes += l.bytes
	t.byID[l.ID], t.byNode[node] = l, l
	t.byMachine[l.Machine] = append(t.byMachine[l.Machine], l)
	t.use(l)
}

// sourceOf is what counts as one source of logins.
func sourceOf(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 48
	}
	p, _ := a.Prefix(bits) // zero for no address
	return p
}

// use notes that somebody looked at a login. The caller holds mu.
func (t *loginTable) use(l *login) {
	t.uses++
	l.used = t.uses
	l.source.recent.MoveToFront(l.elem)
}

// leastDue returns the login that goes when there are too many: of the source that
// holds the most, the one used longest ago. The caller holds mu.
func (t *loginTable) leastDue() *login {
	var worst *loginSource
	var oldest *login
	for _, s := range t.bySource {
		l := s.recent.Back().Value.(*login)
		if worst == nil || s.bytes > worst.bytes || s.bytes == worst.bytes && l.used < oldest.used {
			worst, oldest = s, l
		}
	}
	return oldest
}

// evict drops a login for another. The caller holds mu.
func (t *loginTable) evict(l *login) {
	t.dropped++
	t.drop(l, nil, ErrLoginUnknown)
}

// evicted counts the logins that went for others.
func (t *loginTable) evicted() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.dropped
}

// drop takes a login out and tells those who wait on it. The caller holds mu.
func (t *loginTable) drop(l *login, n *Node, err error) {
	if t.byID[l.ID] != l {
		return
	}
	delete(t.byID, l.ID)
	delete(t.byNode, loginNode{l.Machine, l.NodeKey})
	rest := slices.DeleteFunc(t.byMachine[l.Machine], func(o *login) bool { return o == l })
	if t.byMachine[l.Machine] = rest; len(rest) == 0 {
		delete(t.byMachine, l.Machine)
	}
	l.source.recent.Remove(l.elem)
	l.source.bytes -= l.bytes
	t.bytes -= l.bytes
	if l.source.recent.Len() == 0 {
		delete(t.bySource, sourceOf(l.From))
	}
	l.node, l.err = n, err
	close(l.done)
}

// decide ends a login.
func (t *loginTable) decide(l *login, n *Node, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(l, n, err)
}

// find returns the login with that ID, or nil.
func (t *loginTable) find(id string) *login {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.byID[id]
	if l == nil {
		return nil
	}
	if timestamp().Sub(l.Created) >= maxLoginAge {
		t.drop(l, nil, ErrLoginUnknown)
		return nil
	}
	t.use(l)
	return l
}

// followLogin waits until a login is decided. It returns ErrLoginUnknown when
// there is none of that ID for the node that asks.
func (s *Service) followLogin(ctx context.Context, p RegisterParams) (RegisterResult, error) {
	l := s.logins.find(p.FollowupID)
	if l == nil || l.Machine != p.Machine || l.NodeKey != p.NodeKey {
		return RegisterResult{}, ErrLoginUnknown
	}
	select {
	case <-l.done:
	case <-ctx.Done():
		return RegisterResult{}, ctx.Err()
	case <-s.stop:
		return RegisterResult{}, ErrClosed
	}
	if l.err != nil {
		return RegisterResult{}, l.err
	}
	return s.registered(l.node)
}

// PendingLogins returns the logins that wait for approval, oldest first.
func (s *Service) PendingLogins() []PendingLogin {
	s.logins.mu.Lock()
	defer s.logins.mu.Unlock()
	out := make([]PendingLogin, 0, len(s.logins.byID))
	for _, l := range s.logins.byID {
		out = append(out, l.PendingLogin)
	}
	slices.SortFunc(out, func(a, b PendingLogin) int { return a.Created.Compare(b.Created) })
	return out
}

// PendingLogin returns one login that waits for approval.
func (s *Service) PendingLogin(id string) (PendingLogin, bool) {
	if l := s.logins.find(id); l != nil {
		return l.PendingLogin, true
	}
	return PendingLogin{}, false
}

// ApproveLogin lets the node of a pending login join as a node of the user. With
// tags nil it gets those that it asked for.
func (s *Service) ApproveLogin(ctx context.Context, by Actor, id string, user control.UserID, tags []string) (*Node, error) {
	l := s.logins.find(id)
	if l == nil {
		return nil, ErrLoginUnknown
	}
	if tags == nil {
		tags = l.Tags
	}
	tags, err := cleanTags(tags)
	if err != nil {
		return nil, err
	}
	return run(ctx, s, func(t *tx) (*Node, error) {
		// Decided while this command waited, perhaps not yet published.
		if n := t.NodeByKey(l.NodeKey); s.logins.find(id) != l || n != nil && !n.Expired(t.now) {
			return nil, ErrLoginUnknown
		}
		u := t.User(user)
		if u == nil {
			return nil, ErrUserUnknown
		}
		n, err := t.join(joinParams{RegisterParams: l.params, user: u, tags: tags, ephemeral: l.Ephemeral, authorized: true})
		if err != nil {
			return nil, err
		}
		t.record(by, n.TailnetID, "node.register", string(n.StableID),
			map[string]any{"name": n.GivenName, "user": u.LoginName, "login": l.ID, "nodeKey": n.Key})
		t.after = func() { s.logins.decide(l, n, nil) }
		return n, nil
	})
}

// DenyLogin refuses a pending login.
func (s *Service) DenyLogin(ctx context.Context, by Actor, id string) error {
	l := s.logins.find(id)
	if l == nil {
		return ErrLoginUnknown
	}
	return s.do(ctx, func(t *tx) error {
		t.record(by, DefaultTailnet, "login.deny", l.ID, map[string]any{"machine": l.Machine, "hostname": l.Hostinfo.Hostname})
		t.after = func() { s.logins.decide(l, nil, ErrLoginDenied) }
		return nil
	})
}
