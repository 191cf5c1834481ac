package path

import (
	"slices"
	"time"

	"github.com/ginnel/ginnel/node/path/probing"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/disco"
	"github.com/ginnel/ginnel/wire/key"
)

// discoPeers are the peers that share a disco key, mostly one.
type discoPeers struct {
	shared key.DiscoShared
	peers  []*peer
	seen   seenPings
}

// Apply makes cfg the wanted state. Peers and relays that did not change are not
// disturbed. It may be called at any time, with the same state too.
func (e *Engine) Apply(cfg Config) error {
	return e.do(func() { e.apply(cfg) })
}

func (e *Engine) apply(cfg Config) {
	old := e.loop.cfg
	e.loop.cfg = cfg
	e.relays.configure(cfg.PrivateKey, cfg.DERPMap)
	rekeyed := !old.PrivateKey.Equal(cfg.PrivateKey)
	if rekeyed {
		e.loop.self.reset()
		e.loop.self.public = cfg.PrivateKey.Public()
		e.strangers.setKey(e.loop.self.public)
		for k, p := range e.loop.peers {
			p.yields.Store(e.loop.self.public.Compare(k) > 0)
		}
	}
	if !cfg.DiscoKey.IsZero() && !cfg.DiscoKey.Equal(e.loop.disco) {
		e.setDisco(cfg.DiscoKey)
	}
	if cfg.Changed != nil && len(cfg.Peers) == len(old.Peers) {
		for _, i := range cfg.Changed {
			e.applyPeer(cfg.Peers[i])
		}
	} else {
		e.applyPeers(old.Peers, cfg.Peers)
	}
	e.chooseEarlyHome()
	switch {
	case cfg.PrivateKey.IsZero():
		e.setHome(0)
	case rekeyed:
		e.check("key set")
	case cfg.DERPMap != old.DERPMap && !sameRegions(old.DERPMap, cfg.DERPMap):
		e.check("relay map change")
	case len(old.Peers) == 0 && len(cfg.Peers) > 0:
		e.check("first peers")
	}
}

// applyPeers makes the set of peers the wanted one. Mostly it is the one before, but for
// a few peers.
func (e *Engine) applyPeers(before, list []Peer) {
	if !slices.EqualFunc(before, list, func(a, b Peer) bool { return a.Key == b.Key }) {
		wanted := make(map[key.NodePublic]bool, len(list))
		for i := range list {
			wanted[list[i].Key] = true
		}
		for k, p := range e.loop.peers {
			if !wanted[k] {
				e.removePeer(p)
			}
		}
	}
	for i := range list {
		if i < len(before) && before[i].same(&list[i]) {
			continue
		}
		e.applyPeer(list[i])
	}
}

// applyPeer makes the state of one peer the wanted one.
func (e *Engine) applyPeer(cfg Peer) {
	p := e.loop.peers[cfg.Key]
	if p == nil {
		e.addPeer(cfg)
		return
	}
	told := cfg.Disco
	if told == p.mapDisco {
		cfg.Disco = p.cfg.Disco // the peer itself may have told a newer one
	}
	p.mapDisco = told
	e.updatePeer(p, cfg)
}

// setDisco makes k this node's disco key. What peers sealed for the one before cannot
// be opened any more.
func (e *Engine) setDisco(k key.DiscoPrivate) {
	e.loop.disco = k
	public := k.Public()
	e.discoKey.Store(&public)
	for _, d := range e.loop.byDisco {
		d.shared = key.DiscoShared{}
	}
}

func (e *Engine) addPeer(cfg Peer) {
	p := &peer{key: cfg.Key, cfg: cfg, mapDisco: cfg.Disco, heapIndex: -1, machine: probing.New(machineConfig(cfg), newTxID)}
	p.yields.Store(e.loop.self.public.Compare(cfg.Key) > 0)
	e.loop.peers[cfg.Key] = p
	e.addDisco(p)
	e.publish(p)
	e.byKey.Store(cfg.Key, p)
	e.replayEarly(p)
	if cfg.WireGuardOnly {
		for _, a := range cfg.Endpoints {
			e.sources.bind(a, p)
		}
	}
}

func (e *Engine) updatePeer(p *peer, cfg Peer) {
	old := p.cfg
	p.cfg = cfg
	if old.Disco != cfg.Disco {
		e.removeDisco(p, old.Disco)
		e.addDisco(p)
		if !old.Disco.IsZero() { // pings so far were for one who is gone
			defer e.drive(p, p.machine.Rekeyed)
		}
	}
	if old.Disco.IsZero() == cfg.Disco.IsZero() && old.HomeRegion == cfg.HomeRegion &&
		old.WireGuardOnly == cfg.WireGuardOnly && slices.Equal(old.Endpoints, cfg.Endpoints) {
		return
	}
	e.drive(p, func(now time.Time, acts []probing.Action) []probing.Action {
		return p.machine.Configure(now, machineConfig(cfg), acts)
	})
}

func (e *Engine) removePeer(p *peer) {
	e.byKey.Delete(p.key)
	delete(e.loop.peers, p.key)
	e.removeDisco(p, p.cfg.Disco)
	e.sources.drop(p)
	e.loop.timers.set(p, time.Time{})
	p.gone = true
	e.live.path(p.route.Load().Addr.IsValid(), false)
	for id, w := range e.loop.waiters {
		if w.peer == p {
			w.finish(PingResult{}, ErrUnknownPeer)
			delete(e.loop.waiters, id)
		}
	}
}

// addDisco makes p's disco key known.
func (e *Engine) addDisco(p *peer) {
	k := p.cfg.Disco
	if k.IsZero() {
		return
	}
	d := e.loop.byDisco[k]
	if d == nil {
		d = new(discoPeers)
		e.loop.byDisco[k] = d
		e.knownDisco.Store(k, struct{}{})
	}
	d.peers = append(d.peers, p)
}

func (e *Engine) removeDisco(p *peer, k key.DiscoPublic) {
	d := e.loop.byDisco[k]
	if d == nil {
		return
	}
	d.peers = slices.DeleteFunc(d.peers, func(q *peer) bool { return q == p })
	if len(d.peers) == 0 {
		delete(e.loop.byDisco, k)
		e.knownDisco.Delete(k)
	}
}

// SetDiscoKey replaces a peer's disco key by one that it told through the tunnel, until
// an Apply has another than the Apply before.
func (e *Engine) SetDiscoKey(peer key.NodePublic, k key.DiscoPublic) {
	e.post(func() {
		if p := e.loop.peers[peer]; p != nil && !k.IsZero() && p.cfg.Disco != k {
			cfg := p.cfg
			cfg.Disco = k
			e.updatePeer(p, cfg)
		}
	})
}

// machineConfig returns what path finding needs to know of a peer.
func machineConfig(p Peer) probing.Config {
	return probing.Config{
		Endpoints: p.Endpoints, Region: p.HomeRegion, Disco: !p.Disco.IsZero() && !p.WireGuardOnly, Fixed: p.WireGuardOnly,
	}
}

// sameRegions reports whether two relay maps have the same regions by number.
func sameRegions(a, b *control.DERPMap) bool {
	if a == nil || b == nil || len(a.Regions) != len(b.Regions) {
		return a == b
	}
	for id := range a.Regions {
		if b.Regions[id] == nil {
			return false
		}
	}
	return true
}

// newTxID returns a random transaction ID.
func newTxID() (id disco.TxID) {
	randomBytes(id[:])
	return id
}
