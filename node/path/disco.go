package path

import (
	"crypto/rand"
	"slices"
	"time"

	"github.com/ginnel/ginnel/node/path/probing"
	"github.com/ginnel/ginnel/wire/disco"
	"github.com/ginnel/ginnel/wire/key"
)

func randomBytes(b []byte) { rand.Read(b) } // never fails

// handlePacket acts on a sealed packet from UDP or a relay. Everything that is not from
// a peer of ours, or does not open, is dropped.
func (e *Engine) handlePacket(pkt []byte, from *Source) {
	if e.loop.cfg.PrivateKey.IsZero() {
		return
	}
	sender, ok := disco.Sender(pkt)
	if !ok {
		return
	}
	d := e.loop.byDisco[sender]
	if d == nil {
		return
	}
	inner, err := disco.Open(e.loop.inner[:0], pkt, e.shared(d, sender))
	if err != nil {
		return
	}
	e.loop.inner = inner[:0]
	typ, ver, body, err := disco.Split(inner)
	if err != nil {
		return
	}
	switch typ {
	case disco.TypePing:
		var m disco.Ping
		if m.Parse(body) == nil {
			e.handlePing(d, &m, from)
		}
	case disco.TypePong:
		var m disco.Pong
		if m.Parse(body) == nil {
			e.handlePong(d, &m, from)
		}
	case disco.TypeCallMeMaybe:
		var m disco.CallMeMaybe
		m.Parse(ver, body)
		e.handleCallMeMaybe(sender, &m, from)
	}
}

// shared returns the key shared with the holder of a disco key, computed at the first
// need.
func (e *Engine) shared(d *discoPeers, k key.DiscoPublic) key.DiscoShared {
	if d.shared.IsZero() {
		d.shared = e.loop.disco.Shared(k)
	}
	return d.shared
}

// pinger returns which of the peers with one disco key sent a ping, nil if that is
// ambiguous.
func pinger(d *discoPeers, m *disco.Ping, from *Source) *peer {
	for _, p := range d.peers {
		if from.Region != 0 && p.key == from.Peer {
			return p
		}
	}
	for _, p := range d.peers {
		if p.key == m.Node {
			return p
		}
	}
	if len(d.peers) == 1 {
		return d.peers[0]
	}
	return nil
}

// handlePing answers a ping and notes where it came from.
func (e *Engine) handlePing(d *discoPeers, m *disco.Ping, from *Source) {
	pong := disco.Pong{TxID: m.TxID, Src: from.Addr}
	if from.Region != 0 {
		if from.peer != nil && slices.Contains(d.peers, from.peer) {
			e.sendDisco(from.peer, addrPort{}, from.Region, pong.Append)
		}
		return
	}
	if d.seen.elsewhere(m.TxID, from.Addr) {
		return // recorded and sent again by somebody: every ping has an ID of its own
	}
	who := pinger(d, m, from)
	if who != nil {
		e.sources.bind(from.Addr, who)
	}
	reply := false
	for _, p := range d.peers {
		e.drive(p, func(now time.Time, acts []probing.Action) []probing.Action {
			again, acts := p.machine.PingReceived(now, from.Addr, m.TxID, acts)
			reply = reply || again
			return acts
		})
	}
	if reply {
		e.sendDisco(d.peers[0], from.Addr, 0, pong.Append)
	}
}

// handlePong hands a pong to the machines, of which at most one knows it.
func (e *Engine) handlePong(d *discoPeers, m *disco.Pong, from *Source) {
	for _, p := range d.peers {
		e.drive(p, func(now time.Time, acts []probing.Action) []probing.Action {
			if from.Region != 0 {
				return p.machine.RelayPongReceived(now, m.TxID, from.Region, acts)
			}
			return p.machine.PongReceived(now, m.TxID, from.Addr, acts)
		})
	}
}

// handleCallMeMaybe takes a list of endpoints, which only comes through a relay and from
// the peer whose disco key it was sealed with.
func (e *Engine) handleCallMeMaybe(sender key.DiscoPublic, m *disco.CallMeMaybe, from *Source) {
	p := from.peer
	if from.Region == 0 || p == nil || p.gone || p.cfg.Disco != sender {
		return
	}
	e.drive(p, func(now time.Time, acts []probing.Action) []probing.Action {
		return p.machine.CallMeMaybe(now, m.Endpoints, acts)
	})
}

// perform does what a peer's machine asks for.
func (e *Engine) perform(p *peer, a *probing.Action) {
	switch a.Kind {
	case probing.SendPing:
		m := disco.Ping{TxID: a.TxID, Node: e.loop.self.public, Padding: max(a.Size-disco.PingLen, 0)}
		e.sendDisco(p, a.Addr, a.Region, m.Append)
	case probing.SendCallMeMaybe:
		e.callMeMaybe(p)
	case probing.BindSource:
		e.sources.bind(a.Addr, p)
	case probing.ReportPong:
		e.pingDone(a.TxID, PingResult{Latency: a.Latency, Endpoint: a.Addr, RegionID: a.Region}, nil)
	case probing.ReportTimeout:
		e.pingDone(a.TxID, PingResult{}, ErrPingTimeout)
	}
}

// callMeMaybe sends the node's endpoints to a peer, after finding them out anew if they
// are old.
func (e *Engine) callMeMaybe(p *peer) {
	if e.opts.NoUDP {
		return
	}
	if !e.loop.self.fresh(time.Now()) {
		p.wantsCallMeMaybe = true
		e.check("stale for call-me-maybe")
		return
	}
	p.wantsCallMeMaybe = false
	m := disco.CallMeMaybe{}
	for _, ep := range e.loop.self.endpoints {
		m.Endpoints = append(m.Endpoints, ep.Addr)
	}
	e.sendDisco(p, addrPort{}, p.cfg.HomeRegion, m.Append)
}

// sendDisco seals a message for a peer and sends it to an address or, if that is not
// valid, through the relay.
func (e *Engine) sendDisco(p *peer, to addrPort, region int, appendTo func([]byte) []byte) {
	d := e.loop.byDisco[p.cfg.Disco]
	if d == nil || e.loop.cfg.PrivateKey.IsZero() {
		return
	}
	var nonce disco.Nonce
	randomBytes(nonce[:])
	inner := appendTo(nil)
	e.loop.buf = disco.AppendSeal(e.loop.buf[:0], e.DiscoKey(), e.shared(d, p.cfg.Disco), nonce, inner)
	pkts := [][]byte{e.loop.buf}
	if !to.IsValid() {
		if _, err := e.relays.send(time.Now(), p, region, pkts, true); err != nil {
			e.log.Debug("no relay for a path-finding message", "peer", p.cfg.Name, "region", region)
		}
		return
	}
	if e.opts.NoUDP {
		return
	}
	if err := e.socket(to).writeBatch(pkts, to); err != nil {
		e.noteSendError(p, to, err)
	}
}
