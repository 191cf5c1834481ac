package tailnet

import (
	"container/list"
	"context"
	"crypto/rand"
	"encoding/hex"
	"slices"
	"sync"
	"time"

	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

const (
	// maxLogins bounds the pending logins. The one looked at longest ago goes
	// first; a node that waits on it gets a new one.
	maxLogins = 1024
	// maxLoginAge is how long a pending login stays: nodes offer its URL to
	// their user for a week.
	maxLoginAge = 7 * 24 * time.Hour
)

// loginTable holds the pending logins.
type loginTable struct {
	mu     sync.Mutex
	byID   map[string]*login
	byNode map[loginNode]*login
	recent *list.List // of *login, the most recently used in front
}

type loginNode struct {
	machine key.MachinePublic
	node    key.NodePublic
}

type login struct {
	PendingLogin
	params RegisterParams
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
	t.recent = list.New()
}

// begin starts a login and returns its ID. A node that has one keeps it.
func (t *loginTable) begin(p RegisterParams, tags []string, now time.Time) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	node := loginNode{p.Machine, p.NodeKey}
	if l := t.byNode[node]; l != nil && now.Sub(l.Created) < maxLoginAge {
		t.recent.MoveToFront(l.elem)
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
		done:   make(chan struct{}),
	}
	l.elem = t.recent.PushFront(l)
	t.byID[l.ID], t.byNode[node] = l, l
	for len(t.byID) > maxLogins {
		t.drop(t.recent.Back().Value.(*login), nil, ErrLoginUnknown)
	}
	return l.ID
}

// drop takes a login out and tells those who wait on it. The caller holds mu.
func (t *loginTable) drop(l *login, n *Node, err error) {
	if t.byID[l.ID] != l {
		return
	}
	delete(t.byID, l.ID)
	delete(t.byNode, loginNode{l.Machine, l.NodeKey})
	t.recent.Remove(l.elem)
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
	t.recent.MoveToFront(l.elem)
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
