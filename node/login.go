package node

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/ginnel/ginnel/node/ctl"
	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/node/state"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// ErrNoServer says that nobody has said which server to use.
var ErrNoServer = errors.New("no coordination server is set; give one with --login-server=URL")

// local is what the server is told of the node.
func (n *Node) local() ctl.Local {
	return ctl.Local{
		Hostinfo: n.host.hostinfo(n.options.Version, n.profile.Prefs, n.netInfo, n.userspace),
		DiscoKey: n.profile.DiscoKey.Public(), Endpoints: n.endpoints, EndpointTypes: n.epTypes,
	}
}

// tellServer passes on what has changed about the node.
func (n *Node) tellServer() {
	if n.client != nil {
		n.client.SetLocal(n.local())
	}
}

// connect makes sure that there is a control client and logs in. It runs on the
// loop.
func (n *Node) connect(o ctl.LoginOptions, byUser bool) error {
	if n.profile.Prefs.ControlURL == "" {
		n.stuck = true
		return ErrNoServer
	}
	if n.client == nil {
		if err := n.newClient(); err != nil {
			n.stuck = true
			n.loginErr = err
			return err
		}
	}
	o.Ephemeral = n.store.Ephemeral()
	n.stuck, n.loginErr, n.loginURL, n.byUser = false, nil, "", byUser
	n.client.Login(o)
	n.client.SetPaused(!n.profile.Prefs.WantRunning || !n.profile.Prefs.SyncEnabled())
	return nil
}

func (n *Node) newClient() error {
	identity := n.identity
	server := n.profile.Prefs.ControlURL
	if n.next.Server == server && n.next.Old == identity.NodeKey.Public() {
		identity.NextNodeKey = n.next.Key
	}
	var c *ctl.Client
	ready := make(chan struct{})
	c, err := ctl.New(ctl.Options{
		ServerURL: server, Machine: n.machine, Identity: identity, Local: n.local(),
		KeepKey: func(old key.NodePublic, next key.NodePrivate) {
			if err := n.store.SaveNextKey(state.NextKey{Server: server, Old: old, Key: next}); err != nil {
				n.log.Error("storing the next node key failed", "err", err)
			}
		},
		OnEvent: func(e ctl.Event) {
			<-ready
			n.box.post(func() { n.event(c, e) })
		},
		Relays: func() *control.DERPMap {
			if m := n.view.Load().Map; m != nil {
				return m.DERPMap
			}
			return nil
		},
		DialContext: n.dialer(), Proxy: n.options.Proxy, TLS: n.options.TLS,
		Ping: n.pingForServer, Logger: n.log.With("part", "control"),
	})
	if err != nil {
		return err
	}
	close(ready)
	n.client = c
	return nil
}

// dialer returns what makes the connections to the server.
func (n *Node) dialer() func(ctx context.Context, network, addr string) (net.Conn, error) {
	if n.options.DialContext != nil {
		return n.options.DialContext
	}
	d := &net.Dialer{}
	if !n.userspace {
		d.Control = markBypass
	}
	return d.DialContext
}

// disconnect ends the control client. It runs on the loop.
func (n *Node) disconnect() {
	if n.client != nil {
		n.client.Close()
		n.client = nil
	}
	n.controlUp, n.controlErr, n.downSince = false, nil, time.Time{}
}

// event takes one event of the control client c. It runs on the loop.
func (n *Node) event(c *ctl.Client, e ctl.Event) {
	if c != n.client {
		return // of a client that is gone
	}
	switch e := e.(type) {
	case ctl.LoginURL:
		n.loginURL, n.loginErr = e.URL, nil
		n.rejected = n.rejected || !n.byUser
		n.log.Info("login needed", "url", e.URL)
		n.tellURL(e.URL)
	case ctl.LoginWaiting:
		n.loginErr = nil
	case ctl.LoggedIn:
		n.loggedIn(e)
	case ctl.LoginFailed:
		n.loginFailed(e)
	case ctl.Online:
		n.online(e.Err)
	case ctl.MapUpdate:
		n.mapUpdate(e)
	case ctl.BrowseURL:
		n.tellURL(e.URL)
	case ctl.VersionNotice:
		n.version = e.Version
	}
}

// loggedIn stores the identity before anything is done with it.
func (n *Node) loggedIn(e ctl.LoggedIn) {
	prefs := n.profile.Prefs.Clone()
	var nodeID control.StableNodeID
	if prefs.Config != nil {
		nodeID = prefs.Config.NodeID
		if prefs.Config.UserProfile.ID != e.User.ID {
			n.profile.DiscoKey = key.NewDisco() // nobody is to recognise the one before
		}
	}
	n.profile.OldNodeKey, n.next = e.Identity.OldNodeKey, state.NextKey{}
	prefs.Config = &api.Persist{
		PrivateNodeKey: e.Identity.NodeKey, NetworkLockKey: e.Identity.LockKey, NodeID: nodeID,
		UserProfile: control.UserProfile{
			ID: e.User.ID, LoginName: e.Login.LoginName, DisplayName: e.Login.DisplayName, ProfilePicURL: e.Login.ProfilePicURL,
		},
	}
	prefs.LoggedOut = false
	if n.byUser {
		prefs.WantRunning = true
	}
	n.identity = e.Identity
	n.rejected, n.stuck, n.loginURL, n.loginErr = false, false, "", nil
	n.troubles.reset()
	n.profile.Prefs = prefs
	n.mergeProfiles()
	n.setPrefs(prefs, true)
	n.byUser = false
	n.tellServer()
	n.client.SetPaused(!prefs.WantRunning || !prefs.SyncEnabled())
	n.log.Info("logged in", "login", e.Login.LoginName)
	n.tellLoggedIn()
	n.told.state = api.NoState // who waits for a new login to lead to Running is to hear so
}

func (n *Node) loginFailed(e ctl.LoginFailed) {
	if e.Final || n.troubles.news(e.Err, time.Now()) {
		n.log.Warn("login failed", "err", e.Err, "final", e.Final)
	}
	n.loginErr = e.Err
	if e.Final {
		n.tellError(e.Err) // what may pass is a health warning instead
		n.stuck = n.netmap == nil || n.rejected
		if !n.stuck && n.state != api.NeedsLogin {
			n.loginErr = nil // the login before goes on as if nothing had been
		}
		n.loginURL, n.byUser = "", false
	}
}

func (n *Node) online(err error) {
	if err == nil {
		n.log.Info("in contact with the coordination server")
		n.troubles.reset()
		n.controlUp, n.controlErr, n.downSince = true, nil, time.Time{}
		n.loginErr = nil // whatever it was, the server has let the node in
		return
	}
	if n.troubles.news(err, time.Now()) {
		n.log.Warn("no contact with the coordination server", "err", err)
	}
	if n.controlUp || n.downSince.IsZero() {
		n.downSince = time.Now()
	}
	n.controlUp, n.controlErr = false, err
}

func (n *Node) mapUpdate(e ctl.MapUpdate) {
	before := n.netmap
	n.netmap, n.fromCache = e.Map, false
	n.expiry.mapChanged(before, e.Map, e.Changes)
	if self := e.Map.Self; n.profile.Prefs.Config != nil && n.profile.Prefs.Config.NodeID != self.StableID || n.networkChanged() {
		prefs := n.profile.Prefs.Clone()
		if prefs.Config != nil {
			prefs.Config.NodeID = self.StableID
			if u, ok := e.Map.User(self.User); ok {
				prefs.Config.UserProfile = u
			}
		}
		n.profile.Network = networkProfile(e.Map.Self, e.Map.Domain)
		n.profile.Prefs = prefs
		n.mergeProfiles()
		n.setPrefs(prefs, true)
	}
	n.cache.save(n.profile.ID, n.publicKey(n.identity.NodeKey), e.Map, newsForStart(before, e.Map, e.Changes))
	n.tellMap(e)
}

func (n *Node) networkChanged() bool {
	return n.profile.ID != "" && n.profile.Network != networkProfile(n.netmap.Self, n.netmap.Domain)
}

func networkProfile(self *control.Node, domain string) api.NetworkProfile {
	return api.NetworkProfile{MagicDNSName: self.MagicDNSSuffix(), DomainName: domain}
}

// setPrefs replaces the preferences and stores them if the profile is stored or
// create is set. A disk that cannot be written does not stop the node, but is
// reported, and tried again.
func (n *Node) setPrefs(prefs *api.Prefs, create bool) {
	n.profile.Prefs = prefs
	create = create || n.storeErr != nil && n.storeCreate
	if n.profile.ID == "" && !create {
		return
	}
	if err := n.store.Save(n.profile); err != nil {
		if n.storeErr == nil || n.storeErr.Error() != err.Error() {
			n.log.Error("storing the preferences failed; trying again", "err", err)
		}
		n.storeErr, n.storeAt, n.storeCreate = err, time.Now().Add(retryStore), create
		return
	}
	n.storeErr, n.storeCreate = nil, false
}

// LoginInteractive starts a login by a URL that the user is to open. It arrives on
// the bus.
func (n *Node) LoginInteractive(ctx context.Context) error {
	return n.call(ctx, func() error {
		if o, ok := n.byKey.take(time.Now()); ok {
			if o.FreshKey {
				return nil // that is under way, or done
			}
			o.FreshKey = true
			return n.connect(o, true)
		}
		if n.loginURL != "" {
			n.byUser = true
			n.tellURL(n.loginURL)
			return nil
		}
		return n.connect(ctl.LoginOptions{FreshKey: true}, true)
	})
}

// keyLogin remembers that Start has logged in by an auth key: front ends that want a login
// in any case ask for an interactive one right after it, which is to be by that key, and
// only once.
type keyLogin struct {
	options ctl.LoginOptions
	at      time.Time
}

// keyLoginPair is how long after Start a call of LoginInteractive belongs to it.
const keyLoginPair = 10 * time.Second

// take returns the login of a Start just before now, once.
func (k *keyLogin) take(now time.Time) (ctl.LoginOptions, bool) {
	last := *k
	*k = keyLogin{}
	return last.options, last.options.AuthKey != "" && now.Sub(last.at) < keyLoginPair
}

// Start begins anew: with other preferences and an auth key, where given.
func (n *Node) Start(ctx context.Context, o api.StartOptions) error {
	return n.call(ctx, func() error { return n.start(o) })
}

// start runs on the loop.
func (n *Node) start(o api.StartOptions) error {
	n.byKey = keyLogin{}
	if o.UpdatePrefs != nil {
		next := o.UpdatePrefs.Clone()
		next.Config = n.profile.Prefs.Config
		if err := n.checkPrefs(next); err != nil {
			return err
		}
		n.changePrefs(next)
	}
	prefs := n.profile.Prefs
	expired := n.rejected || n.state == api.NeedsLogin && n.netmap != nil
	switch {
	case o.AuthKey != "":
		// A key for a node that is in contact is the wish for a new login; for one that
		// has just started it may be in a script that gives it each time.
		inContact := n.netmap != nil && !n.fromCache
		login := ctl.LoginOptions{AuthKey: o.AuthKey, FreshKey: n.identity.NodeKey.IsZero() || expired || inContact}
		n.byKey = keyLogin{options: login, at: time.Now()}
		return n.connect(login, true)
	case n.identity.NodeKey.IsZero() || prefs.LoggedOut:
		n.stuck = true // until login-interactive
		if prefs.ControlURL == "" {
			return ErrNoServer
		}
		return nil
	case prefs.WantRunning && n.client == nil:
		return n.connect(ctl.LoginOptions{Patient: true}, false)
	}
	return nil
}

// Logout takes the node down, has the server expire its key, and forgets the
// login. When the server could not be told the error says why; the node is logged
// out all the same.
func (n *Node) Logout(ctx context.Context) error {
	var client *ctl.Client
	var profileID string
	err := n.call(ctx, func() error {
		client, profileID = n.client, n.profile.ID
		if client == nil && !n.identity.NodeKey.IsZero() && n.profile.Prefs.ControlURL != "" {
			if err := n.newClient(); err != nil {
				return err
			}
			client = n.client
		}
		n.forget()
		return nil
	})
	if err != nil {
		return err
	}
	if client != nil {
		err = client.Logout(ctx)
	}
	return errors.Join(err, n.call(context.WithoutCancel(ctx), func() error {
		if n.client == client {
			n.disconnect()
		}
		if err == nil && profileID != "" {
			return n.deleteProfile(profileID)
		}
		return nil
	}))
}

// forget drops everything that belongs to the login and goes down. The stored
// profile is marked as logged out, should the rest not come about. It runs on the
// loop.
func (n *Node) forget() {
	prefs := n.profile.Prefs.Clone()
	prefs.WantRunning, prefs.LoggedOut = false, true
	n.forgetKeys()
	n.setPrefs(prefs, false)
	n.identity = ctl.Identity{LockKey: n.identity.LockKey}
	n.netmap, n.fromCache, n.loginURL, n.loginErr = nil, false, "", nil
	n.rejected, n.stuck, n.byUser = false, true, false
	n.state = api.NeedsLogin
}

// forgetKeys replaces the keys by which others could link what the node was with what it
// will be.
func (n *Node) forgetKeys() {
	n.profile.DiscoKey, n.profile.OldNodeKey, n.next = key.NewDisco(), key.NodePrivate{}, state.NextKey{}
	if err := n.store.DropNextKey(n.identity.NodeKey.Public()); err != nil {
		n.log.Error("forgetting the next node key failed", "err", err)
	}
}

// keepPort stores the UDP port for the next run.
func (n *Node) keepPort() {
	port := n.plane.LocalPort()
	if n.options.Port != 0 || port == 0 {
		return
	}
	if err := n.store.SavePort(port); err != nil {
		n.log.Warn("storing the UDP port failed", "err", err)
	}
}

// deleteProfile removes the stored profile and goes on with a blank one for the
// same server.
func (n *Node) deleteProfile(id string) error {
	if n.profile.ID == id {
		n.cache.drop()
	}
	err := errors.Join(n.store.Delete(id), n.store.DeleteMap(id))
	if n.profile.ID == id {
		blank := api.NewPrefs()
		blank.ControlURL = n.profile.Prefs.ControlURL
		blank.OperatorUser = n.profile.Prefs.OperatorUser
		n.profile = &state.Profile{Prefs: blank, DiscoKey: n.profile.DiscoKey}
		n.identity = storedIdentity(n.profile)
	}
	return err
}

// ResetAuth forgets all profiles without telling any server.
func (n *Node) ResetAuth(ctx context.Context) error {
	return n.call(ctx, func() error {
		n.disconnect()
		n.forget()
		n.cache.drop()
		list, err := n.store.Profiles()
		errs := []error{err, n.store.DeleteAll()}
		for id := range list {
			errs = append(errs, n.store.DeleteMap(id))
		}
		n.profile = &state.Profile{Prefs: api.NewPrefs(), DiscoKey: n.profile.DiscoKey}
		n.identity = storedIdentity(n.profile)
		return errors.Join(errs...)
	})
}

// pingForServer pings a peer because the server wants to know.
func (n *Node) pingForServer(ctx context.Context, kind string, ip netip.Addr) (control.PingResponse, error) {
	t, err := api.ParsePingType(kind)
	if err != nil {
		return control.PingResponse{}, err
	}
	result, err := n.Ping(ctx, ip, t, 0)
	if err != nil {
		return control.PingResponse{}, err
	}
	return *result.ToPingResponse(t), nil
}
