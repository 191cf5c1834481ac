package node

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ginnel/ginnel/node/ctl"
	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/node/netmap"
	"github.com/ginnel/ginnel/node/state"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// ErrClosed is the error of everything on a closed Node.
var ErrClosed = errors.New("node is closed")

// retryPlane is the pause before a part that failed to be set up is set up again.
const retryPlane = 5 * time.Second

// retryStore is the pause before what could not be stored is stored again: the disk may
// have been full for a moment.
const retryStore = 15 * time.Second

// goodbyeTimeout bounds the logout of an ephemeral node that closes.
const goodbyeTimeout = 5 * time.Second

// Node is a device in a mesh. Its methods may be called from any goroutine.
type Node struct {
	options   Options
	log       *slog.Logger
	store     *state.Store
	machine   key.MachinePrivate
	host      hostFacts
	userspace bool
	plane     plane
	bus       *bus
	box       *mailbox
	view      atomic.Pointer[view]
	cache     *mapCache
	badConns  badConnections

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	looped chan struct{}

	closeOnce sync.Once
	closeErr  error

	// Owned by the loop.
	profile    *state.Profile // never nil; Prefs are replaced, not edited
	client     *ctl.Client    // nil while there is nothing to talk to
	identity   ctl.Identity
	next       state.NextKey // of a login that the last run began
	state      api.State
	netmap     *netmap.Map // nil while there is none
	fromCache  bool        // netmap comes from disk
	loginURL   string      // where a login waits, or ""
	byUser     bool        // the login under way was asked for by the user
	byKey      keyLogin
	rejected   bool // the server does not accept the node key any more
	stuck      bool // a login was refused
	loginErr   error
	controlUp  bool
	controlErr error
	downSince  time.Time
	netInfo    *control.NetInfo
	endpoints  []netip.AddrPort
	epTypes    []control.EndpointType
	version    *control.ClientVersion

	lastKey    key.NodePrivate // of publicKey
	lastPublic key.NodePublic

	expiry       expiry // of the peers of netmap
	applied      appliedPlane
	appliedDisco key.DiscoPrivate
	planeErr     error
	storeErr     error     // the latest change is not on disk
	storeAt      time.Time // when that is tried again
	storeCreate  bool      // it is that of a profile that is to be stored
	retryAt      time.Time
	lifeAt       time.Time // when a Starting node stops waiting for a relay; zero if it does not wait
	told         told
	troubles     troubles // with the server, for the log
}

// view is what the loop publishes for readers. It is immutable.
type view struct {
	State       api.State
	Prefs       *api.Prefs // without secrets
	Map         *netmap.Map
	NodeKey     key.NodePublic
	LoginURL    string
	LoginErr    error
	Trying      bool // a login goes on by itself
	Expired     bool
	ControlUp   bool
	ControlErr  error
	ControlDown time.Time
	PlaneErr    error
	StoreErr    error
	Version     *control.ClientVersion
}

// appliedPlane identifies what the plane was last told, for comparison.
type appliedPlane struct {
	done      bool
	key       key.NodePublic
	netmap    *netmap.Map
	prefs     *api.Prefs
	controlUp bool
	expired   string // whose keys have expired
}

// New starts a node: it opens the state, makes the data plane, and, if the node
// is logged in and wanted up, connects. It fails when the state cannot be used or
// the tunnel interface not be made; the errors say what to do.
func New(o Options) (*Node, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.StateDir == "" && o.StatePath != state.Memory {
		o.StateDir = filepath.Dir(o.StatePath)
	}
	store, err := state.Open(o.StatePath)
	if err != nil {
		return nil, err
	}
	n, err := newNode(o, store)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	go n.loop()
	return n, nil
}

func newNode(o Options, store *state.Store) (*Node, error) {
	machine, err := store.MachineKey()
	if err != nil {
		return nil, err
	}
	profile, err := store.Current()
	if err != nil {
		return nil, err
	}
	identity := storedIdentity(profile)
	next, err := store.NextKey(identity.NodeKey.Public())
	if err != nil {
		return nil, err
	}
	n := &Node{
		options: o, log: o.Logger, store: store, machine: machine, host: learnHost(machine.Public()),
		userspace: o.TUN == Userspace,
		bus:       newBus(), box: newMailbox(), looped: make(chan struct{}),
		profile: profile, identity: identity, next: next,
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.cache = newMapCache(store, n.log)
	n.ensureDisco()
	n.publish(time.Now())
	makePlane := o.newPlane
	if makePlane == nil {
		makePlane = newRealPlane
	}
	n.plane, err = makePlane(planeOptions{Options: o, Logger: o.Logger, hooks: n.hooks(), preferPort: store.Port(), machine: machine})
	if err != nil {
		n.cancel()
		return nil, err
	}
	n.box.post(n.begin)
	return n, nil
}

// storedIdentity takes the node's keys out of a stored profile, adding a
// tailnet-lock key when there is none: servers insist on one.
func storedIdentity(p *state.Profile) ctl.Identity {
	id := ctl.Identity{OldNodeKey: p.OldNodeKey}
	if c := p.Prefs.Config; c != nil {
		id.NodeKey, id.LockKey = c.PrivateNodeKey, c.NetworkLockKey
	}
	if id.LockKey.IsZero() {
		id.LockKey = key.NewLock()
	}
	return id
}

// hooks connects the plane to the loop.
func (n *Node) hooks() planeHooks {
	return planeHooks{
		endpoints: func(eps []netip.AddrPort, types []control.EndpointType) {
			n.box.post(func() {
				n.endpoints, n.epTypes = eps, types
				n.keepPort()
				n.tellServer()
			})
		},
		netInfo: func(info *control.NetInfo) {
			n.box.post(func() {
				n.netInfo = info
				n.tellServer()
			})
		},
		changed:     func() { n.box.post(func() {}) }, // the loop looks at liveness after each input
		linkChanged: func(broken bool) { n.box.post(func() { n.linkChanged(broken) }) },
		resolve:     n.resolve,

		badConnection: n.NoteBadConnection,
	}
}

// loop runs all inputs, one after the other, and settles the state after them.
func (n *Node) loop() {
	defer close(n.looped)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.box.signal:
			for _, f := range n.box.take() {
				f()
			}
		case <-timer.C:
		}
		now := time.Now()
		n.settle(now)
		timer.Reset(n.nextWake(now))
	}
}

// call runs f on the loop and returns its error once the state has settled.
func (n *Node) call(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	n.box.post(func() {
		err := f()
		n.settle(time.Now())
		done <- err
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-n.looped:
		return ErrClosed
	}
}

// begin takes up where the last run ended. It runs on the loop.
func (n *Node) begin() {
	prefs := n.profile.Prefs
	if n.identity.NodeKey.IsZero() || prefs.LoggedOut {
		n.stuck = true // nothing happens without the user
		return
	}
	if cached, err := n.store.LoadMap(n.profile.ID, n.identity.NodeKey.Public()); err != nil {
		n.log.Warn("the network map of the last run cannot be used", "err", err)
	} else if cached != nil {
		var b netmap.Builder
		if m, _, err := b.Apply(cached.Map, cached.Saved); err == nil {
			n.netmap, n.fromCache = m, true
			n.expiry = expiry{}
		}
	}
	if prefs.WantRunning {
		n.connect(ctl.LoginOptions{Patient: true}, false)
	}
}

// inputs returns what the life-cycle state follows from.
func (n *Node) inputs(now time.Time) stateInputs {
	prefs := n.profile.Prefs
	in := stateInputs{
		wantRunning: prefs.WantRunning, loggedOut: prefs.LoggedOut, haveKey: !n.identity.NodeKey.IsZero(),
		haveMap: n.netmap != nil, authStuck: n.stuck || n.loginURL != "", expired: n.rejected,
		live: n.plane.Live(),
	}
	if m := n.netmap; m != nil {
		in.authorised = m.Self.MachineAuthorized
		in.expired = in.expired || m.Expired(m.Self, now)
		in.live = in.live || m.DERPMap == nil || len(m.DERPMap.Regions) == 0 || n.waitedForLife(now)
	}
	return in
}

// patienceForLife is how long a node with a map waits for a relay or a peer to be alive.
// Most first packets are answered if it does; but where no relay can be reached direct
// paths may still work, and nobody should wait for what may never come.
const patienceForLife = 3 * time.Second

// waitedForLife reports whether patienceForLife is over in this Starting.
func (n *Node) waitedForLife(now time.Time) bool {
	if n.state != api.Starting {
		n.lifeAt = time.Time{}
		return false
	}
	if n.lifeAt.IsZero() {
		n.lifeAt = now.Add(patienceForLife)
	}
	return !now.Before(n.lifeAt)
}

// settle works out the state, brings the plane to it and tells everybody.
func (n *Node) settle(now time.Time) {
	for range 4 { // a step may enable the next, as Starting does Running
		next := nextState(n.state, n.inputs(now))
		if next == n.state {
			break
		}
		n.log.Info("state changed", "from", n.state, "to", next)
		n.state = next
		if next == api.Running && !n.byUser {
			n.loginURL = ""
		}
	}
	if n.storeErr != nil && !now.Before(n.storeAt) {
		n.setPrefs(n.profile.Prefs, n.storeCreate)
	}
	n.applyPlane(now)
	n.publish(now)
	n.tellWatchers(now)
}

// publicKey returns k.Public(), which takes long enough to be remembered.
func (n *Node) publicKey(k key.NodePrivate) key.NodePublic {
	if k.IsZero() {
		return key.NodePublic{}
	}
	if !k.Equal(n.lastKey) {
		n.lastKey, n.lastPublic = k, k.Public()
	}
	return n.lastPublic
}

// engineOn reports whether the plane is to carry anything in the state.
func engineOn(s api.State) bool { return s == api.Starting || s == api.Running }

// applyPlane brings the plane to the wanted state if that differs from what it was
// last told, or if that failed a while ago.
func (n *Node) applyPlane(now time.Time) {
	cfg := planeConfig{Prefs: n.profile.Prefs, DiscoKey: n.profile.DiscoKey, Now: now}
	if engineOn(n.state) && n.netmap != nil {
		cfg.Key, cfg.Map, cfg.ControlConnected = n.identity.NodeKey, n.netmap, n.controlUp
		cfg.Expired = n.expiry.of(n.netmap, now)
	}
	want := appliedPlane{
		done: true, key: n.publicKey(cfg.Key), netmap: cfg.Map, prefs: cfg.Prefs,
		controlUp: cfg.ControlConnected, expired: cfg.Expired,
	}
	if want == n.applied && cfg.DiscoKey.Equal(n.appliedDisco) && (n.retryAt.IsZero() || now.Before(n.retryAt)) {
		return
	}
	n.applied, n.appliedDisco, n.retryAt = want, cfg.DiscoKey, time.Time{}
	err := n.plane.Apply(cfg)
	if err != nil {
		n.retryAt = now.Add(retryPlane)
		if n.planeErr == nil || n.planeErr.Error() != err.Error() {
			n.log.Error("setting up the network failed; trying again", "err", err)
		}
	}
	n.planeErr = err
}

// nextWake returns how long the loop may sleep without an input.
func (n *Node) nextWake(now time.Time) time.Duration {
	wait := time.Hour
	consider := func(at time.Time) {
		if !at.IsZero() {
			wait = min(wait, max(at.Sub(now), 10*time.Millisecond))
		}
	}
	consider(n.retryAt)
	if n.state == api.Starting {
		consider(n.lifeAt)
	}
	if n.storeErr != nil {
		consider(n.storeAt)
	}
	if n.told.healthDue {
		consider(n.told.healthAt.Add(healthEvery))
	}
	if n.controlErr != nil && now.Sub(n.downSince) < patience {
		consider(n.downSince.Add(patience))
	}
	if n.netmap != nil {
		n.expiry.of(n.netmap, now)
		if at := n.expiry.next; !at.IsZero() {
			consider(at.Add(time.Second))
		}
	}
	if n.bus.wants(api.NotifyEngineUpdates) && engineOn(n.state) {
		consider(now.Add(2 * time.Second))
	}
	return wait
}

// publish makes the state visible to readers.
func (n *Node) publish(now time.Time) {
	v := &view{
		State: n.state, Map: n.netmap, NodeKey: n.publicKey(n.identity.NodeKey), LoginURL: n.loginURL,
		LoginErr: n.loginErr, ControlUp: n.controlUp, ControlErr: n.controlErr, ControlDown: n.downSince,
		PlaneErr: n.planeErr, StoreErr: n.storeErr, Version: n.version,
	}
	v.Trying = n.client != nil && !n.stuck && n.loginURL == ""
	v.Expired = n.rejected || n.netmap != nil && n.netmap.Expired(n.netmap.Self, now)
	if old := n.view.Load(); old != nil && n.told.prefs == n.profile.Prefs {
		v.Prefs = old.Prefs
	} else {
		v.Prefs = n.profile.Prefs.Public()
	}
	n.view.Store(v)
}

// linkChanged reacts to a changed network. It runs on the loop.
func (n *Node) linkChanged(broken bool) {
	n.plane.LinkChanged()
	n.applied = appliedPlane{} // routes and addresses may have gone with the link
	switch {
	case n.client == nil:
	case broken:
		n.client.LinkChanged()
	default:
		n.client.CheckLink()
	}
}

// Rebind opens the node's sockets anew and reconnects everything.
func (n *Node) Rebind() {
	n.box.post(func() {
		n.plane.Rebind()
		if n.client != nil {
			n.client.LinkChanged()
		}
	})
}

// Restun asks anew under which addresses the node is seen.
func (n *Node) Restun() { n.box.post(func() { n.plane.Restun() }) }

// RefreshMap makes the map stream start anew with a full map.
func (n *Node) RefreshMap() {
	n.box.post(func() {
		if n.client != nil {
			n.client.LinkChanged()
		}
	})
}

// Close ends the node and undoes what it did to the system. The node stays logged
// in, unless its state is kept in memory only: then the server is told to forget
// it. It may be called more than once, and returns the same each time.
func (n *Node) Close() error {
	n.closeOnce.Do(func() { n.closeErr = n.shutDown() })
	return n.closeErr
}

// shutDown ends the loop first, so that nothing asks for anything any more.
func (n *Node) shutDown() error {
	if n.store.Ephemeral() {
		ctx, cancel := context.WithTimeout(context.Background(), goodbyeTimeout)
		if err := n.Logout(ctx); err != nil && !errors.Is(err, ErrClosed) {
			n.log.Warn("telling the server that this node leaves failed", "err", err)
		}
		cancel()
	}
	n.cancel()
	<-n.looped
	if n.client != nil {
		n.client.Close()
	}
	n.cache.close()
	n.bus.closeAll()
	return errors.Join(n.plane.Close(), n.store.Close())
}
