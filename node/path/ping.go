package path

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/ginnel/ginnel/node/path/probing"
	"github.com/ginnel/ginnel/wire/key"
)

// PingResult says how a peer answered.
type PingResult struct {
	Latency time.Duration
	// Endpoint is the direct address that answered, zero if the answer came by relay.
	Endpoint netip.AddrPort
	// RegionID and RegionCode name the relay region, zero for a direct answer.
	RegionID   int
	RegionCode string
}

// Errors of Ping.
var (
	ErrPingTimeout = errors.New("path: no pong in time")
	ErrNoDisco     = errors.New("path: the peer does not take part in path discovery")
)

// pingWaiter is a Ping in progress.
type pingWaiter struct {
	peer    *peer
	pending int // pings without an outcome
	result  chan pingOutcome
}

type pingOutcome struct {
	PingResult
	err error
}

// finish hands over the outcome. Only the first counts.
func (w *pingWaiter) finish(r PingResult, err error) {
	select {
	case w.result <- pingOutcome{r, err}:
	default:
	}
}

// Ping pings a peer, by the direct path if there is one, else by all ways, and returns
// the first answer. size is that of the ping as UDP payload in bytes, 0 for the least.
func (e *Engine) Ping(ctx context.Context, peer key.NodePublic, size int) (PingResult, error) {
	w := &pingWaiter{result: make(chan pingOutcome, 1)}
	err := e.do(func() { e.startPing(w, peer, size) })
	if err != nil {
		return PingResult{}, err
	}
	select {
	case r := <-w.result:
		return r.PingResult, r.err
	case <-ctx.Done():
		return PingResult{}, ctx.Err()
	case <-e.done:
		return PingResult{}, ErrClosed
	}
}

func (e *Engine) startPing(w *pingWaiter, k key.NodePublic, size int) {
	p := e.loop.peers[k]
	switch {
	case p == nil:
		w.finish(PingResult{}, ErrUnknownPeer)
		return
	case p.cfg.Disco.IsZero() || p.cfg.WireGuardOnly:
		w.finish(PingResult{}, ErrNoDisco)
		return
	}
	w.peer = p
	p.lastSend.Store(time.Now().UnixNano())
	e.drive(p, func(now time.Time, acts []probing.Action) []probing.Action {
		acts = p.machine.UserPing(now, size, acts)
		for _, a := range acts {
			if a.Kind == probing.SendPing && a.User {
				w.pending++
				e.loop.waiters[a.TxID] = w
			}
		}
		return acts
	})
	if w.pending == 0 {
		w.finish(PingResult{}, ErrNoPath)
	}
}

// pingDone notes the outcome of one ping.
func (e *Engine) pingDone(id txID, r PingResult, err error) {
	w := e.loop.waiters[id]
	if w == nil {
		return
	}
	delete(e.loop.waiters, id)
	w.pending--
	if err != nil && w.pending > 0 {
		return
	}
	if m := e.loop.cfg.DERPMap; r.RegionID != 0 && m != nil && m.Regions[r.RegionID] != nil {
		r.RegionCode = m.Regions[r.RegionID].RegionCode
	}
	w.finish(r, err)
}
