package tailnet

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// RegisterParams is what a node says when it registers. Machine is proven by the
// transport, everything else is claimed.
type RegisterParams struct {
	Machine    key.MachinePublic
	NodeKey    key.NodePublic
	OldNodeKey key.NodePublic
	LockKey    key.LockPublic
	// KeySignature is the tailnet-lock signature of NodeKey, or nil.
	KeySignature []byte
	// AuthKey is the text that the user gave, or empty.
	AuthKey string
	// FollowupID is the ID at the end of the URL that the node waits on, or
	// empty.
	FollowupID string
	// Expiry is zero for no wish, past for a logout, future for an earlier
	// expiry.
	Expiry    time.Time
	Ephemeral bool
	Hostinfo  *control.Hostinfo // nil counts as empty
	Cap       control.CapabilityVersion
	// From is where the request came from, for logs and the approval page.
	From netip.Addr
}

// RegisterStatus is how a registration ended.
type RegisterStatus int

// The ends of a registration.
const (
	// Registered: Node and User are set.
	Registered RegisterStatus = iota + 1
	// LoginPending: somebody must approve the login named LoginID.
	LoginPending
	// KeyExpired: the node must make a new node key and register again.
	KeyExpired
	// LoggedOut: the node's key is no longer valid, as it asked.
	LoggedOut
)

// RegisterResult is the answer to a registration that was not refused.
type RegisterResult struct {
	Status RegisterStatus
	Node   *Node
	User   *User
	// LoginID goes into the URL <server>/register/<LoginID>.
	LoginID string
}

// Register does everything of a register request, by section 4.4 of the wire
// document control: restart of a known node, join by auth key, interactive
// login (with FollowupID set it waits until the login is decided or ctx ends),
// key rotation, earlier expiry, logout. A refusal is one of the package's
// errors, whose text is for the user.
func (s *Service) Register(ctx context.Context, p RegisterParams) (RegisterResult, error) {
	if p.Machine.IsZero() || p.NodeKey.IsZero() {
		return RegisterResult{}, ErrKeyMissing
	}
	if p.Hostinfo == nil {
		p.Hostinfo = &control.Hostinfo{}
	}
	size, tooLarge := checkHostinfo(p.Hostinfo)
	if err := errors.Join(tooLarge, checkSize("node-key signature", len(p.KeySignature), maxKeySignature)); err != nil {
		return RegisterResult{}, err
	}
	now := timestamp()
	known := s.Snapshot().NodeByKey(p.NodeKey)
	if known != nil && known.Machine != p.Machine {
		return RegisterResult{}, ErrWrongMachine
	}
	// A client that has an auth key sends it with everything, so logout and
	// followup come first.
	if !p.Expiry.IsZero() && !now.Before(p.Expiry) {
		return s.logout(ctx, p)
	}
	if p.FollowupID != "" {
		if r, err := s.followLogin(ctx, p); !errors.Is(err, ErrLoginUnknown) {
			return r, err
		}
		known = s.Snapshot().NodeByKey(p.NodeKey)
	}
	switch {
	case known != nil && !known.Expired(now):
		return s.registerKnown(ctx, p, known)
	case p.AuthKey != "":
		return s.registerWithKey(ctx, p)
	case known != nil && p.FollowupID == "":
		return RegisterResult{Status: KeyExpired, Node: known, User: s.Snapshot().User(known.UserID)}, nil
	}
	tags, err := cleanTags(p.Hostinfo.RequestTags)
	if err != nil {
		return RegisterResult{}, err
	}
	return RegisterResult{Status: LoginPending, LoginID: s.logins.begin(p, tags, size, now)}, nil
}

// registerKnown answers a node that is known and valid: nothing changes, but for
// an earlier expiry that it asks for.
func (s *Service) registerKnown(ctx context.Context, p RegisterParams, n *Node) (RegisterResult, error) {
	sooner := !p.Expiry.IsZero() && !n.KeyExpiry.Equal(normalTime(p.Expiry))
	if !sooner && (!n.Ephemeral || n.Online) {
		return s.registered(n)
	}
	n, err := run(ctx, s, func(t *tx) (*Node, error) {
		old := t.NodeByKey(p.NodeKey)
		if old == nil || old.Machine != p.Machine {
			return nil, ErrNodeUnknown
		}
		if sooner && !old.KeyExpiry.IsZero() && p.Expiry.After(old.KeyExpiry) {
			return nil, ErrExtendExpiry
		}
		if old.Ephemeral {
			// It is about to poll: give it the whole time once more.
			t.after = func() {
				if n := s.work.Node(old.ID); n != nil {
					s.watchEphemeral(n)
				}
			}
		}
		if !sooner {
			return old, nil
		}
		n := *old
		n.KeyExpiry = normalTime(p.Expiry)
		if t.setNode(old, &n) {
			t.record(nodeActor(old), old.TailnetID, "node.expire", string(old.StableID), map[string]any{"at": n.KeyExpiry})
		}
		return &n, nil
	})
	if err != nil {
		return RegisterResult{}, err
	}
	return s.registered(n)
}

// registerWithKey joins a node by auth key. Checking the key, using it up and
// storing the node are one transaction.
func (s *Service) registerWithKey(ctx context.Context, p RegisterParams) (RegisterResult, error) {
	n, err := run(ctx, s, func(t *tx) (*Node, error) {
		// The same request may have been sent twice and the other come first.
		if n := t.NodeByKey(p.NodeKey); n != nil && n.Machine == p.Machine && !n.Expired(t.now) {
			return n, nil
		}
		k, err := t.checkAuthKey(p.AuthKey)
		if err != nil {
			return nil, err
		}
		u := t.User(k.UserID)
		if u == nil {
			return nil, ErrAuthKeyInvalid
		}
		if err := permitTags(p.Hostinfo.RequestTags, k.Tags); err != nil {
			return nil, err
		}
		n, err := t.join(joinParams{
			RegisterParams: p,
			user:           u,
			tags:           k.Tags,
			ephemeral:      p.Ephemeral || k.Ephemeral,
			authorized:     k.Preauthorized || !s.o.RequireApproval,
			authKey:        k.ID,
		})
		if err != nil {
			return nil, err
		}
		t.useAuthKey(k)
		t.record(nodeActor(n), n.TailnetID, "node.register", string(n.StableID),
			map[string]any{"name": n.GivenName, "user": u.LoginName, "authKey": k.ID, "nodeKey": n.Key})
		return n, nil
	})
	if err != nil {
		return RegisterResult{}, err
	}
	return s.registered(n)
}

// permitTags refuses tags asked for that an auth key does not give.
func permitTags(asked, given []string) error {
	var refused []string
	for _, tag := range asked {
		if !slices.Contains(given, tag) {
			refused = append(refused, tag)
		}
	}
	if len(refused) > 0 {
		return &tagsError{tags: refused}
	}
	return nil
}

// logout ends the validity of a node's key; an ephemeral node goes for good. A
// node that is gone already is logged out.
func (s *Service) logout(ctx context.Context, p RegisterParams) (RegisterResult, error) {
	n, err := run(ctx, s, func(t *tx) (*Node, error) {
		old := t.NodeByKey(p.NodeKey)
		switch {
		case old == nil:
			return nil, nil
		case old.Machine != p.Machine:
			return nil, ErrWrongMachine
		case old.Ephemeral:
			t.removeNode(old)
			t.record(nodeActor(old), old.TailnetID, "node.delete", string(old.StableID), map[string]any{"name": old.GivenName, "why": "ephemeral node logged out"})
			return old, nil
		case old.Expired(t.now):
			return old, nil
		}
		n := *old
		n.KeyExpiry = t.now
		t.setNode(old, &n)
		t.record(nodeActor(old), old.TailnetID, "node.logout", string(old.StableID), nil)
		return &n, nil
	})
	return RegisterResult{Status: LoggedOut, Node: n}, err
}

// registered is the answer of success.
func (s *Service) registered(n *Node) (RegisterResult, error) {
	u := s.Snapshot().User(n.UserID)
	if u == nil {
		return RegisterResult{}, ErrUserUnknown
	}
	return RegisterResult{Status: Registered, Node: n, User: u}, nil
}

func nodeActor(n *Node) Actor { return Actor{Kind: ActorNode, Name: string(n.StableID)} }
