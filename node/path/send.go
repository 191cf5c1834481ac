package path

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"github.com/ginnel/ginnel/wire/key"
)

// Errors of Send.
var (
	// ErrUnknownPeer means that the peer is not configured.
	ErrUnknownPeer = errors.New("path: unknown peer")
	// ErrNoPath means that there is neither a direct path nor a relay for the peer.
	ErrNoPath = errors.New("path: no relay and no direct path to the peer")
)

// Send sends sealed packets to a peer, in order. It may be called by many goroutines and
// does not keep the packets. Packets may get lost like any datagrams; nil means that
// they are on some way.
func (e *Engine) Send(dst key.NodePublic, pkts [][]byte) error {
	p := e.lookup(dst)
	if p == nil {
		return ErrUnknownPeer
	}
	now := time.Now()
	p.lastSend.Store(now.UnixNano())
	r := p.route.Load()
	if !r.Flowing {
		e.wakeLoop(p)
	}
	if len(pkts) == 1 {
		switch {
		case isInitiation(pkts[0]):
			p.initiating(now)
		case isResponse(pkts[0]):
			e.answerStrangers(now, p, pkts[0])
		}
	}
	bytes := 0
	for _, b := range pkts {
		bytes += len(b)
	}
	var udpErr error
	if r.Addr.IsValid() {
		if udpErr = e.sendUDP(p, r.Addr, pkts, bytes); udpErr == nil && r.Trusted(now) {
			return nil
		}
	}
	open, err := e.relays.send(now, p, r.Region, pkts, false)
	if !open {
		e.sendLastResort(now, p, pkts)
	}
	if err == nil {
		p.counters.sent(wayRelay, len(pkts), bytes)
		e.counters.sent(wayRelay, len(pkts), bytes)
		return nil
	}
	if r.Addr.IsValid() {
		return udpErr
	}
	p.hold(now, pkts)
	return err
}

// SendTo sends one packet to where another came from.
func (e *Engine) SendTo(src *Source, pkt []byte) error {
	if src.Region != 0 {
		if src.peer == nil {
			return ErrUnknownPeer
		}
		_, err := e.relays.send(time.Now(), src.peer, src.Region, [][]byte{pkt}, false)
		return err
	}
	return e.socket(src.Addr).writeBatch([][]byte{pkt}, src.Addr)
}

// sendUDP sends packets to an address and tells the loop of errors that say something
// about the path.
func (e *Engine) sendUDP(p *peer, addr netip.AddrPort, pkts [][]byte, bytes int) error {
	err := e.socket(addr).writeBatch(pkts, addr)
	if err == nil {
		w := wayOf(addr)
		p.counters.sent(w, len(pkts), bytes)
		e.counters.sent(w, len(pkts), bytes)
		return nil
	}
	e.noteSendError(p, addr, err)
	return fmt.Errorf("path: send to %v: %w", addr, err)
}

// noteSendError has the loop act on a UDP error. EPERM is none of those: a packet filter
// of this machine dropped the packet, which is like the network losing it.
func (e *Engine) noteSendError(p *peer, addr netip.AddrPort, err error) {
	switch {
	case errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH):
		if p.unreachable.Swap(&addr) == nil { // else the loop has yet to look
			e.wakeLoop(p)
		}
	case errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.EBADF) || errors.Is(err, syscall.ENOTCONN):
		if !e.socketBroken.Swap(true) {
			e.post(e.rebindAfterError)
		}
	}
}

// socket returns the socket for an address.
func (e *Engine) socket(addr netip.AddrPort) *socket {
	if addr.Addr().Is4() {
		return &e.sock4
	}
	return &e.sock6
}

// lookup returns a configured peer, or nil.
func (e *Engine) lookup(k key.NodePublic) *peer {
	if p, ok := e.byKey.Load(k); ok {
		return p.(*peer)
	}
	return nil
}

// wakeLoop has the loop look at p soon.
func (e *Engine) wakeLoop(p *peer) {
	if p.waking.Load() || !p.waking.CompareAndSwap(false, true) {
		return
	}
	select {
	case e.wake <- p:
	default:
		p.waking.Store(false) // the next packet tries again
		p.unreachable.Store(nil)
	}
}
