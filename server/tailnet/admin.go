package tailnet

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/ginnel/ginnel/wire/control"
)

// changeNode runs a command that changes one node.
func (s *Service) changeNode(ctx context.Context, by Actor, id control.NodeID, action string, edit func(*tx, *Node) (detail map[string]any, err error)) (*Node, error) {
	return run(ctx, s, func(t *tx) (*Node, error) {
		old, err := t.node(id)
		if err != nil {
			return nil, err
		}
		n := *old
		detail, err := edit(t, &n)
		if err != nil {
			return nil, err
		}
		if !t.setNode(old, &n) {
			return old, nil
		}
		t.record(by, n.TailnetID, action, string(n.StableID), detail)
		return &n, nil
	})
}

// RenameNode gives a node a name chosen by an administrator; with an empty name
// it follows its host name again.
func (s *Service) RenameNode(ctx context.Context, by Actor, id control.NodeID, name string) (*Node, error) {
	return s.changeNode(ctx, by, id, "node.rename", func(t *tx, n *Node) (map[string]any, error) {
		detail := map[string]any{"from": n.GivenName}
		if name == "" {
			n.NameFixed = false
			n.GivenName = t.uniqueLabel(n.TailnetID, n.ID, labelOf(n.Hostinfo.Hostname))
		} else {
			if err := checkLabel(name); err != nil {
				return nil, err
			}
			if other := t.NodeByName(n.TailnetID, name); other != nil && other.ID != id {
				return nil, fmt.Errorf("%w: %q is node %d", ErrNameTaken, name, other.ID)
			}
			n.GivenName, n.NameFixed = name, true
		}
		detail["to"] = n.GivenName
		return detail, nil
	})
}

// SetTags replaces the tags of a node. A node that becomes tagged no longer
// expires; one that has expired must log in again.
func (s *Service) SetTags(ctx context.Context, by Actor, id control.NodeID, tags []string) (*Node, error) {
	tags, err := cleanTags(tags)
	if err != nil {
		return nil, err
	}
	return s.changeNode(ctx, by, id, "node.tag", func(t *tx, n *Node) (map[string]any, error) {
		detail := map[string]any{"from": n.Tags, "to": tags}
		if len(tags) > 0 && !n.Tagged() && !n.Expired(t.now) {
			n.KeyExpiry = time.Time{}
		}
		n.Tags = tags
		return detail, nil
	})
}

// ExpireNode sets when the key of a node stops being valid: a time not in the
// future logs it out, the zero time means never.
func (s *Service) ExpireNode(ctx context.Context, by Actor, id control.NodeID, at time.Time) (*Node, error) {
	return s.changeNode(ctx, by, id, "node.expire", func(t *tx, n *Node) (map[string]any, error) {
		at := normalTime(at)
		if !at.IsZero() && at.Before(t.now) {
			at = t.now
		}
		n.KeyExpiry = at
		return map[string]any{"at": at}, nil
	})
}

// AuthorizeNode approves a device that waits for approval.
func (s *Service) AuthorizeNode(ctx context.Context, by Actor, id control.NodeID) (*Node, error) {
	return s.changeNode(ctx, by, id, "node.approve", func(_ *tx, n *Node) (map[string]any, error) {
		n.Authorized = true
		return nil, nil
	})
}

// DeleteNode removes a node and frees its addresses and name.
func (s *Service) DeleteNode(ctx context.Context, by Actor, id control.NodeID) error {
	return s.do(ctx, func(t *tx) error {
		n, err := t.node(id)
		if err != nil {
			return err
		}
		t.removeNode(n)
		t.record(by, n.TailnetID, "node.delete", string(n.StableID), map[string]any{"name": n.GivenName})
		return nil
	})
}

// UserParams describe a user.
type UserParams struct {
	LoginName   string
	DisplayName string
}

// CreateUser adds a user. Without a display name it is the login name.
func (s *Service) CreateUser(ctx context.Context, by Actor, tn TailnetID, p UserParams) (*User, error) {
	if p.DisplayName == "" {
		p.DisplayName = p.LoginName
	}
	if err := checkUser(p); err != nil {
		return nil, err
	}
	return run(ctx, s, func(t *tx) (*User, error) {
		if t.UserByLogin(tn, p.LoginName) != nil {
			return nil, fmt.Errorf("%w: %q", ErrUserExists, p.LoginName)
		}
		t.counters.User++
		u := &User{ID: t.counters.User, TailnetID: tn, LoginName: p.LoginName, DisplayName: p.DisplayName, Created: t.now}
		t.users = append(t.users, userWrite{user: u})
		t.record(by, tn, "user.create", u.LoginName, nil)
		return u, nil
	})
}

// RenameUser changes a user's names; an empty one stays.
func (s *Service) RenameUser(ctx context.Context, by Actor, id control.UserID, p UserParams) (*User, error) {
	return run(ctx, s, func(t *tx) (*User, error) {
		old := t.User(id)
		if old == nil {
			return nil, ErrUserUnknown
		}
		u := *old
		if p.LoginName != "" {
			u.LoginName = p.LoginName
		}
		if p.DisplayName != "" {
			u.DisplayName = p.DisplayName
		}
		if err := checkUser(UserParams{u.LoginName, u.DisplayName}); err != nil {
			return nil, err
		}
		if other := t.UserByLogin(u.TailnetID, u.LoginName); other != nil && other.ID != id {
			return nil, fmt.Errorf("%w: %q", ErrUserExists, u.LoginName)
		}
		if u == *old {
			return old, nil
		}
		t.users = append(t.users, userWrite{user: &u})
		t.record(by, u.TailnetID, "user.rename", u.LoginName, map[string]any{"from": old.LoginName})
		return &u, nil
	})
}

// DeleteUser removes a user without nodes, and the user's auth keys.
func (s *Service) DeleteUser(ctx context.Context, by Actor, id control.UserID) error {
	return s.do(ctx, func(t *tx) error {
		u := t.User(id)
		if u == nil {
			return ErrUserUnknown
		}
		for n := range t.Nodes(u.TailnetID) {
			if n.UserID == id {
				return fmt.Errorf("%w, such as %q: delete them first", ErrUserHasNodes, n.GivenName)
			}
		}
		for k := range t.AuthKeys(u.TailnetID) {
			if k.UserID == id {
				t.dropKeys = append(t.dropKeys, k.ID)
			}
		}
		t.users = append(t.users, userWrite{user: u, gone: true})
		t.record(by, u.TailnetID, "user.delete", u.LoginName, nil)
		return nil
	})
}

// maxUserName bounds login and display names, in bytes.
const maxUserName = 254

func checkUser(p UserParams) error {
	bad := func(s string) bool {
		return s == "" || len(s) > maxUserName || !utf8.ValidString(s) || strings.TrimSpace(s) != s ||
			strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
	}
	if bad(p.LoginName) || strings.Contains(p.LoginName, " ") {
		return fmt.Errorf("%w: login name %.80q must be printable text without spaces, up to %d bytes", ErrNameInvalid, p.LoginName, maxUserName)
	}
	if bad(p.DisplayName) {
		return fmt.Errorf("%w: display name %.80q must be printable text, up to %d bytes", ErrNameInvalid, p.DisplayName, maxUserName)
	}
	return nil
}
