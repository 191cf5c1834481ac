package node

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/node/state"
	"github.com/ginnel/ginnel/wire/key"
)

// Profiles returns the current profile, whose ID is empty while nobody has logged in
// with it, and all stored ones by age.
func (n *Node) Profiles(ctx context.Context) (current api.LoginProfile, all []api.LoginProfile, err error) {
	err = n.call(ctx, func() error {
		current = n.profile.Entry()
		list, err := n.store.Profiles()
		all = slices.SortedFunc(maps.Values(list), func(a, b api.LoginProfile) int {
			return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Name, b.Name),
				cmp.Compare(a.NetworkProfile.DomainName, b.NetworkProfile.DomainName), cmp.Compare(a.ID, b.ID))
		})
		return err
	})
	return current, all, err
}

// SwitchProfile leaves the current profile as it is and goes on with another, which
// starts as its own preferences say. It fails with state.ErrNoProfile, changing nothing,
// when there is no profile with the ID.
func (n *Node) SwitchProfile(ctx context.Context, id string) error {
	return n.call(ctx, func() error {
		if id == n.profile.ID && id != "" {
			return nil
		}
		p, err := n.store.Profile(id)
		if err != nil {
			return err
		}
		next, err := n.store.NextKey(storedIdentity(p).NodeKey.Public())
		if err != nil {
			return err
		}
		if err := n.store.Select(id); err != nil {
			return err
		}
		n.adopt(p, next)
		return nil
	})
}

// NewProfile leaves the current profile as it is and goes on with a blank one, which is
// stored once somebody has logged in with it.
func (n *Node) NewProfile(ctx context.Context) error {
	return n.call(ctx, func() error {
		if n.profile.ID == "" && n.identity.NodeKey.IsZero() && n.client == nil {
			return nil
		}
		if err := n.store.Select(""); err != nil {
			return err
		}
		n.adoptBlank("")
		return nil
	})
}

// DeleteProfile forgets a profile without telling its server. If it is the current one
// the node goes on with a blank one. It fails with state.ErrNoProfile when there is no
// profile with the ID.
func (n *Node) DeleteProfile(ctx context.Context, id string) error {
	return n.call(ctx, func() error {
		list, err := n.store.Profiles()
		if err != nil {
			return err
		}
		if _, ok := list[id]; !ok {
			return state.ErrNoProfile
		}
		if id == n.profile.ID {
			n.cache.drop()
			n.adoptBlank("")
		}
		return errors.Join(n.store.Delete(id), n.store.DeleteMap(id))
	})
}

// adoptBlank goes on with a profile that has never logged in. The user who may change
// things stays the same, since that one is about to log in.
func (n *Node) adoptBlank(server string) {
	blank := &state.Profile{Prefs: api.NewPrefs(), DiscoKey: key.NewDisco()}
	blank.Prefs.ControlURL = server
	blank.Prefs.OperatorUser = n.profile.Prefs.OperatorUser
	n.adopt(blank, state.NextKey{})
}

// adopt ends what goes on for the current profile and takes up another where its last
// run ended. It runs on the loop.
func (n *Node) adopt(p *state.Profile, next state.NextKey) {
	n.disconnect()
	n.cache.turn()
	n.profile, n.identity, n.next = p, storedIdentity(p), next
	n.netmap, n.fromCache, n.netInfo, n.version = nil, false, nil, nil
	n.loginURL, n.loginErr, n.byUser = "", nil, false
	n.rejected, n.stuck = false, false
	n.storeErr, n.storeCreate = nil, false
	n.troubles.reset()
	n.state, n.told.state = api.NoState, api.NoState // watchers hear of the new profile's state, if equal too
	n.ensureDisco()
	n.begin()
}

// ensureDisco gives the profile a disco key, and stores it, so that the next run has it
// too.
func (n *Node) ensureDisco() {
	if n.profile.DiscoKey.IsZero() {
		n.profile.DiscoKey = key.NewDisco()
		n.setPrefs(n.profile.Prefs, false)
	}
}

// dropNextKeyOf forgets the next key of a stored profile that is about to be replaced.
func (n *Node) dropNextKeyOf(id string) {
	p, err := n.store.Profile(id)
	if err == nil {
		err = n.store.DropNextKey(storedIdentity(p).NodeKey.Public())
	}
	if err != nil {
		n.log.Error("forgetting the next node key failed", "profile", id, "err", err)
	}
}

// mergeProfiles forgets the other profiles of the account or node that the current one
// has just become (wire document node, section 1.6). A profile that is not stored yet
// takes the place of the oldest of them.
func (n *Node) mergeProfiles() {
	list, err := n.store.Profiles()
	if err != nil {
		n.log.Error("reading the list of profiles failed", "err", err)
		return
	}
	self := n.profile.Entry()
	var same []api.LoginProfile
	for _, p := range list {
		if p.ID != self.ID && p.ControlURL == self.ControlURL &&
			(p.UserProfile.ID != 0 && p.UserProfile.ID == self.UserProfile.ID || p.NodeID != "" && p.NodeID == self.NodeID) {
			same = append(same, p)
		}
	}
	slices.SortFunc(same, func(a, b api.LoginProfile) int { return a.Created.Compare(b.Created) })
	if n.profile.ID == "" && len(same) > 0 {
		n.profile.ID, n.profile.Created = same[0].ID, same[0].Created
		same = same[1:]
		n.dropNextKeyOf(n.profile.ID)
	}
	for _, p := range same {
		if err := errors.Join(n.store.Delete(p.ID), n.store.DeleteMap(p.ID)); err != nil {
			n.log.Error("forgetting an older profile of the same account failed", "profile", p.ID, "err", err)
		}
	}
}
