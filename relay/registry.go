package relay

import (
	"slices"

	"github.com/ginnel/ginnel/wire/key"
	wire "github.com/ginnel/ginnel/wire/relay"
)

// maxConnsPerKey is how many connections a key may have. Clients have one, and those
// that their network has left dead behind them.
const maxConnsPerKey = 64

// register makes an admitted client reachable and tells the watchers.
func (s *Server) register(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.table.getOrAdd(c.key)
	c.peer = p
	p.addConn(c)
	if len(p.conns) > 1 {
		s.stats.dupConnsTotal.Add(1)
	}
	if len(p.conns) > maxConnsPerKey {
		s.stats.dupConnsClosed.Add(1)
		p.conns[0].raw.Close() // its reader does the rest
	}
	s.stats.conns.Add(1)
	if c.notIdeal {
		s.stats.notIdealConns.Add(1)
	}
	s.tellWatchersLocked(c.key, c.present().Append)
}

// unregister undoes register after the reader of c has ended.
func (s *Server) unregister(c *client) {
	c.gone.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	p := c.peer
	p.removeConn(c)
	s.stats.conns.Add(-1)
	if c.notIdeal {
		s.stats.notIdealConns.Add(-1)
	}
	if c.preferred {
		s.stats.homeConns.Add(-1)
	}
	delete(s.watchers, c)
	if len(p.conns) == 0 {
		s.tellWatchersLocked(c.key, func(b []byte) []byte { return wire.AppendPeerGone(b, c.key, wire.GoneDisconnected) })
	}
	if p.reachable() {
		for d := range c.sentTo {
			p.addInterest(d)
		}
		return
	}
	s.leaveLocked(p, c.sentTo)
}

// leaveLocked forgets a key that is not reachable any more and tells those that it
// has sent something to.
func (s *Server) leaveLocked(p *peer, more map[*client]struct{}) {
	s.table.remove(p)
	s.leaves.Add(1)
	notice := func(b []byte) []byte { return wire.AppendPeerGone(b, p.key, wire.GoneDisconnected) }
	tell := func(d *client) {
		if !d.gone.Load() && d.out.AddControl(notice) {
			s.stats.goneDisconnected.Add(1)
		}
	}
	for d := range p.interest {
		tell(d)
	}
	for d := range more {
		if _, told := p.interest[d]; !told {
			tell(d)
		}
	}
	p.interest = nil
}

// addInterest notes that d must be told when p leaves. Server.mu must be held.
func (p *peer) addInterest(d *client) {
	if d.gone.Load() {
		return
	}
	if p.interest == nil {
		p.interest = make(map[*client]struct{})
	}
	if len(p.interest) >= sweepAt {
		sweepGone(p.interest)
	}
	p.interest[d] = struct{}{}
}

// sweepAt is the size from which a set of clients is rid of closed ones before it
// grows.
const sweepAt = 64

// sweepGone removes the clients that have left.
func sweepGone(set map[*client]struct{}) {
	for d := range set {
		if d.gone.Load() {
			delete(set, d)
		}
	}
}

// spoke makes a duplicate connection the active one.
func (s *Server) spoke(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.peer.spoke(c)
}

// watch begins presence notices for c: all that are here, then all changes.
func (s *Server) watch(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, already := s.watchers[c]; already || c.key == s.pub {
		return // a relay that dialled itself learns so from the key
	}
	s.watchers[c] = struct{}{}
	s.table.each(func(p *peer) {
		if d := p.active.Load(); d != nil {
			c.out.AddControl(d.present().Append)
		}
	})
}

// tellWatchersLocked queues a notice about k for all watchers.
func (s *Server) tellWatchersLocked(k key.NodePublic, notice func([]byte) []byte) {
	for w := range s.watchers {
		w.out.AddControl(notice)
	}
}

// closePeer closes all connections of k.
func (s *Server) closePeer(k key.NodePublic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.table.get(k); p != nil {
		for _, c := range p.conns {
			c.raw.Close()
		}
	}
}

// AddForwarder says that k is a client of the relay behind via. Of several
// forwarders the oldest is used; a connection here is preferred to all.
func (s *Server) AddForwarder(k key.NodePublic, via Forwarder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.table.getOrAdd(k)
	if slices.ContainsFunc(p.routes, func(r *route) bool { return r.via == via }) {
		return
	}
	p.routes = append(p.routes, &route{via})
	p.settleRoutes()
}

// RemoveForwarder takes back an AddForwarder.
func (s *Server) RemoveForwarder(k key.NodePublic, via Forwarder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.table.get(k)
	if p == nil {
		return
	}
	p.routes = slices.DeleteFunc(p.routes, func(r *route) bool { return r.via == via })
	p.settleRoutes()
	if !p.reachable() {
		s.leaveLocked(p, nil)
	}
}
