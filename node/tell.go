package node

import (
	"context"
	"encoding/json"
	"time"

	"github.com/ginnel/ginnel/node/ctl"
	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/node/netmap"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// told is what watchers have last been told.
type told struct {
	state  api.State
	prefs  *api.Prefs
	health string
	engine time.Time

	healthAt  time.Time // when health was last looked at
	healthDue bool      // it is to be looked at again
}

// healthEvery is how often the health is worked out for watchers at most.
const healthEvery = time.Second

// Watch returns a watcher of the notification bus and the first message for it,
// which holds what the mask asks for. The caller closes the watcher.
func (n *Node) Watch(ctx context.Context, mask api.NotifyMask) (*Watcher, *api.Notify, error) {
	if err := mask.Check(); err != nil {
		return nil, nil, err
	}
	var w *Watcher
	var first *api.Notify
	err := n.call(ctx, func() error {
		w = n.bus.add(mask)
		first = n.firstNotify(w)
		return nil
	})
	if err != nil {
		if w != nil {
			w.Close()
		}
		return nil, nil, err
	}
	return w, first, nil
}

// firstNotify answers the initial bits of the mask.
func (n *Node) firstNotify(w *Watcher) *api.Notify {
	n.publish(time.Now())
	v := n.view.Load()
	first := &api.Notify{Version: n.options.Version}
	if w.mask.Has(api.NotifyInitialState) {
		first.SessionID = w.SessionID
		first.State = &v.State
		if v.LoginURL != "" {
			first.BrowseToURL = &v.LoginURL
		}
	}
	if w.mask.Has(api.NotifyInitialPrefs) {
		first.Prefs = v.Prefs
	}
	if w.mask.Has(api.NotifyInitialHealthState) {
		first.Health = healthState(n.problems(v, time.Now()))
	}
	if w.mask.Has(api.NotifyInitialClientVersion) {
		first.ClientVersion = v.Version
	}
	if w.mask.Has(api.NotifyInitialStatus) {
		first.InitialStatus = n.Status(true)
	}
	if w.mask.Has(api.NotifyInitialNetMap) && v.Map != nil {
		first.NetMap = legacyNetMap(v.Map, v.NodeKey)
	}
	return first
}

// legacyNetMap is the least of the old full map that front ends read.
func legacyNetMap(m *netmap.Map, k key.NodePublic) control.RawMessage {
	text, err := json.Marshal(struct {
		SelfNode     *control.Node
		NodeKey      key.NodePublic
		Name         string
		Addresses    any
		Peers        []*control.Node
		Domain       string
		DERPMap      *control.DERPMap
		UserProfiles map[control.UserID]control.UserProfile
	}{m.Self, k, m.Self.Name, m.Self.Addresses, m.Peers, m.Domain, m.DERPMap, m.Users})
	if err != nil {
		return nil
	}
	return text
}

func (n *Node) send(msg *api.Notify, need api.NotifyMask) {
	msg.Version = n.options.Version
	n.bus.send(msg, need)
}

func (n *Node) tellURL(url string) { n.send(&api.Notify{BrowseToURL: &url}, 0) }

func (n *Node) tellError(err error) {
	text := err.Error()
	n.send(&api.Notify{ErrMessage: &text}, 0)
}

func (n *Node) tellLoggedIn() { n.send(&api.Notify{LoginFinished: &api.Empty{}}, 0) }

// tellMap passes on what a map update changed.
func (n *Node) tellMap(e ctl.MapUpdate) {
	if e.Changes.Self || e.Changes.First {
		n.send(&api.Notify{SelfChange: e.Map.Self}, 0)
	}
	const peers = api.NotifyPeerChanges | api.NotifyPeerPatches
	if len(e.Changes.Peers)+len(e.Changes.Removed) == 0 || !n.bus.wants(peers) {
		return
	}
	msg := &api.Notify{PeersRemoved: e.Changes.Removed}
	for _, id := range e.Changes.Peers {
		if p := e.Map.Peer(id); p != nil {
			msg.PeersChanged = append(msg.PeersChanged, p)
		}
	}
	if e.Changes.Users || e.Changes.First {
		msg.UserProfiles = e.Map.Users
	}
	n.send(msg, peers)
}

// tellWatchers passes on what settling changed.
func (n *Node) tellWatchers(now time.Time) {
	if n.told.prefs != n.profile.Prefs {
		n.told.prefs = n.profile.Prefs
		n.send(&api.Notify{Prefs: n.view.Load().Prefs}, 0)
	}
	changed := n.told.state != n.state
	if changed {
		n.told.state = n.state
		s := n.state
		n.send(&api.Notify{State: &s}, 0)
	}
	n.told.healthDue = false
	if !n.bus.wants(^api.NotifyMask(0)) {
		return
	}
	n.told.healthDue = !changed && now.Sub(n.told.healthAt) < healthEvery
	if !n.told.healthDue {
		n.told.healthAt = now
		n.tellHealth(now)
	}
	if engineOn(n.state) && now.Sub(n.told.engine) >= time.Second && n.bus.wants(api.NotifyEngineUpdates) {
		n.told.engine = now
		n.send(&api.Notify{Engine: engineStatus(n.plane.Status())}, api.NotifyEngineUpdates)
	}
}

// tellHealth passes on the health if it has changed.
func (n *Node) tellHealth(now time.Time) {
	health := healthState(n.problems(n.view.Load(), now))
	text, err := json.Marshal(health)
	if err == nil && string(text) != n.told.health {
		n.told.health = string(text)
		n.send(&api.Notify{Health: health}, 0)
	}
}

// engineStatus sums up the traffic of the plane.
func engineStatus(s planeStatus) *api.EngineStatus {
	e := &api.EngineStatus{LiveDERPs: len(s.Relays), LivePeers: map[key.NodePublic]api.LivePeer{}}
	for k, p := range s.Peers {
		e.RBytes += p.RxBytes
		e.WBytes += p.TxBytes
		if p.Active {
			e.LivePeers[k] = api.LivePeer{NodeKey: k, TxBytes: p.TxBytes, RxBytes: p.RxBytes, LastHandshake: p.LastHandshake}
		}
	}
	e.NumLive = len(e.LivePeers)
	return e
}
