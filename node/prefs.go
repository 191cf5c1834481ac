package node

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ginnel/ginnel/node/ctl"
	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/node/state"
	"github.com/ginnel/ginnel/wire/control"
)

// PrefsError is an edit of preferences that is refused. Its text is for the user.
type PrefsError struct{ Text string }

// Error returns the text.
func (e *PrefsError) Error() string { return e.Text }

// Prefs returns the preferences without secrets.
func (n *Node) Prefs() *api.Prefs { return n.view.Load().Prefs.Clone() }

// EditPrefs changes the flagged preferences and returns the new ones. It fails
// with a *PrefsError, changing nothing, when they cannot be.
func (n *Node) EditPrefs(ctx context.Context, edit *api.MaskedPrefs) (*api.Prefs, error) {
	err := n.call(ctx, func() error {
		if edit.TouchesInternal() {
			return &PrefsError{"the edit touches settings that are the daemon's own"}
		}
		next := n.profile.Prefs.Clone()
		edit.ApplyTo(next)
		if err := n.checkPrefs(next); err != nil {
			return err
		}
		return n.changePrefs(next)
	})
	if err != nil {
		return nil, err
	}
	return n.Prefs(), nil
}

// CheckPrefs reports whether the preferences would be accepted.
func (n *Node) CheckPrefs(ctx context.Context, p *api.Prefs) error {
	return n.call(ctx, func() error { return n.checkPrefs(p) })
}

// checkPrefs validates preferences. It runs on the loop.
func (n *Node) checkPrefs(p *api.Prefs) error {
	if p.ControlURL != "" {
		if err := ctl.CheckServerURL(p.ControlURL); err != nil {
			return &PrefsError{err.Error()}
		}
	}
	for _, r := range p.AdvertiseRoutes {
		if !r.IsValid() || r != r.Masked() {
			return &PrefsError{fmt.Sprintf("route %s has host bits set; expected %s", r, r.Masked())}
		}
	}
	for _, tag := range p.AdvertiseTags {
		if !control.ValidTag(tag) {
			return &PrefsError{fmt.Sprintf("tag %q is not of the form tag:name, with letters, digits and dashes after a letter", tag)}
		}
	}
	if p.AdvertisesExitNode() && (p.ExitNodeID != "" || p.ExitNodeIP.IsValid() || p.AutoExitNode != "") {
		return &PrefsError{"Cannot advertise an exit node and use an exit node at the same time."}
	}
	if err := n.checkProfileName(p.ProfileName); err != nil {
		return err
	}
	return n.checkSupported(p)
}

// checkProfileName refuses a new name for the profile by which another is known.
func (n *Node) checkProfileName(name string) error {
	if name == "" || name == n.profile.Prefs.ProfileName {
		return nil
	}
	list, err := n.store.Profiles()
	if err != nil {
		return err
	}
	for id, p := range list {
		if id != n.profile.ID && p.Name == name {
			return &PrefsError{fmt.Sprintf("profile %s has the name %q already", id, name)}
		}
	}
	return nil
}

// checkSupported refuses to newly turn on what this node cannot do, since a
// setting that does nothing is worse than an error.
func (n *Node) checkSupported(p *api.Prefs) error {
	old := n.profile.Prefs
	for _, c := range []struct {
		on   bool
		name string
	}{
		{p.RunSSH && !old.RunSSH, "an SSH server"},
		{p.RunWebClient && !old.RunWebClient, "the web interface of a node"},
		{len(p.AdvertiseRoutes) > 0 && !slices.Equal(p.AdvertiseRoutes, old.AdvertiseRoutes), "advertising routes"},
		{p.ExitNodeID != "" && p.ExitNodeID != old.ExitNodeID, "using an exit node"},
		{p.ExitNodeIP.IsValid() && p.ExitNodeIP != old.ExitNodeIP, "using an exit node"},
		{p.AutoExitNode != "" && p.AutoExitNode != old.AutoExitNode, "using an exit node"},
		{len(p.AdvertiseServices) > 0 && !slices.Equal(p.AdvertiseServices, old.AdvertiseServices), "hosting services"},
		{p.AppConnector.Advertise && !old.AppConnector.Advertise, "an app connector"},
		{p.RelayServerPort != nil && old.RelayServerPort == nil, "relaying for peers"},
	} {
		if c.on {
			return &PrefsError{"this version does not support " + c.name + " yet"}
		}
	}
	return nil
}

// changePrefs makes next, which has been checked, the preferences, and does what
// follows. It runs on the loop.
func (n *Node) changePrefs(next *api.Prefs) error {
	old := n.profile.Prefs
	if next.Equal(old) {
		return nil
	}
	if next.ControlURL != old.ControlURL {
		n.changeServer(next)
	}
	n.setPrefs(next, false)
	if next.WantRunning && n.client == nil && !n.identity.NodeKey.IsZero() && !next.LoggedOut {
		return n.connect(ctl.LoginOptions{Patient: true}, false)
	}
	if n.client != nil {
		n.client.SetPaused(!next.WantRunning || !next.SyncEnabled())
		n.tellServer()
	}
	if !next.WantRunning {
		n.controlUp, n.controlErr = false, nil
	}
	return nil
}

// changeServer forgets the login at the old server: its keys mean nothing to
// another.
func (n *Node) changeServer(next *api.Prefs) {
	n.disconnect()
	n.cache.drop()
	if n.profile.ID != "" {
		if err := errors.Join(n.store.Delete(n.profile.ID), n.store.DeleteMap(n.profile.ID)); err != nil {
			n.log.Error("forgetting the login at the old server failed", "err", err)
		}
		n.profile.ID = ""
	}
	next.Config, next.LoggedOut = nil, true
	n.forgetKeys()
	n.identity = storedIdentity(&state.Profile{Prefs: next})
	n.netmap, n.loginURL, n.loginErr, n.rejected, n.stuck = nil, "", nil, false, true
	n.state = api.NoState
}
