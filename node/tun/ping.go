package tun

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ginnel/ginnel/internal/packet"
)

// PingKind is a way to ping through the tunnel.
type PingKind string

// The kinds, with the names of control's PingRequest.
const (
	// PingTSMP is answered by the peer's node, whatever its filter and
	// operating system say.
	PingTSMP PingKind = "TSMP"
	// PingICMP is an ordinary ping: it passes the peer's filter and is answered
	// by the peer's operating system.
	PingICMP PingKind = "ICMP"
)

// PingResult is the answer to a ping.
type PingResult struct {
	// Src is the address that answered.
	Src netip.Addr
	// Latency is the time from sending to the answer.
	Latency time.Duration
	// PeerAPIPort is the TCP port of the peer's peer API (PingTSMP only), or 0.
	PeerAPIPort uint16
}

// maxPings bounds the pings in flight.
const maxPings = 256

// pinger matches answers with pings in flight by their random tokens.
type pinger struct {
	echoWaiting atomic.Int32 // ICMP pings in flight: the hot path looks only here

	mu      sync.Mutex
	waiting map[[8]byte]chan PingResult
}

func (p *pinger) begin(token [8]byte, echo bool) (chan PingResult, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) >= maxPings {
		return nil, errors.New("too many pings at once")
	}
	if p.waiting == nil {
		p.waiting = map[[8]byte]chan PingResult{}
	}
	c := make(chan PingResult, 1)
	p.waiting[token] = c
	if echo {
		p.echoWaiting.Add(1)
	}
	return c, nil
}

func (p *pinger) end(token [8]byte, echo bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, token)
	if echo {
		p.echoWaiting.Add(-1)
	}
}

// answer hands an answer to whoever waits for token, and reports whether anyone
// does.
func (p *pinger) answer(token [8]byte, r PingResult) bool {
	p.mu.Lock()
	c := p.waiting[token]
	p.mu.Unlock()
	if c == nil {
		return false
	}
	select {
	case c <- r:
	default: // a duplicate
	}
	return true
}

// echoReply reports whether pkt answers an ICMP ping of ours.
func (p *pinger) echoReply(pkt []byte) bool {
	if proto := packet.ProtoByte(pkt); proto != packet.ICMPv4 && proto != packet.ICMPv6 {
		return false
	}
	var d packet.Parsed
	if d.Decode(pkt) != nil || d.Fragment != packet.FragmentNone || !d.IsEchoReply() || len(d.Payload()) < 8 {
		return false
	}
	return p.answer([8]byte(d.Payload()), PingResult{Src: d.Src})
}

// Ping pings dst from the node's own address src of the same family and waits
// for the answer or the end of ctx. It sends once: repeating is the caller's.
func (w *Wrapped) Ping(ctx context.Context, src, dst netip.Addr, kind PingKind) (PingResult, error) {
	var token [8]byte
	rand.Read(token[:])
	var buf [packet.MaxCrafted]byte
	var msg []byte
	var err error
	switch kind {
	case PingTSMP:
		msg, err = packet.AppendPing(buf[:0], src, dst, token)
	case PingICMP:
		id := binary.BigEndian.Uint16(token[:])
		msg, err = packet.AppendEcho(buf[:0], src, dst, false, id, 1, token[:])
	default:
		err = fmt.Errorf("unknown kind %q", kind)
	}
	if err != nil {
		return PingResult{}, fmt.Errorf("ping %v: %w", dst, err)
	}
	echo := kind == PingICMP
	answered, err := w.pings.begin(token, echo)
	if err != nil {
		return PingResult{}, fmt.Errorf("ping %v: %w", dst, err)
	}
	defer w.pings.end(token, echo)
	sent := time.Now()
	if err := w.InjectOut(msg); err != nil {
		return PingResult{}, fmt.Errorf("ping %v: %w", dst, err)
	}
	select {
	case r := <-answered:
		r.Latency = time.Since(sent)
		return r, nil
	case <-ctx.Done():
		return PingResult{}, fmt.Errorf("ping %v: no answer: %w", dst, ctx.Err())
	}
}
