package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/ginnel/ginnel/internal/packet"
	"github.com/ginnel/ginnel/node/tun/tuntest"
)

// inner is what a host does with the tunnel: it answers echo requests, and sends and
// counts packets of streams.
type inner struct {
	n    *Node
	dev  *tuntest.Device
	done sync.WaitGroup
	quit chan struct{}

	mu      sync.Mutex
	seq     uint16
	waiting map[uint16]chan struct{}
	streams map[uint16]*Stream
}

// streamPort is the UDP port of streams inside the tunnel.
const streamPort = 7

func newInner(n *Node, dev *tuntest.Device) *inner {
	i := &inner{n: n, dev: dev, quit: make(chan struct{}), waiting: map[uint16]chan struct{}{}, streams: map[uint16]*Stream{}}
	i.done.Go(i.run)
	return i
}

// wait ends the reading; the device is closed already.
func (i *inner) wait() {
	close(i.quit)
	i.done.Wait()
}

// run takes what comes out of the tunnel.
func (i *inner) run() {
	for {
		select {
		case b := <-i.dev.Received():
			i.take(b)
		case <-i.quit:
			return
		}
	}
}

func (i *inner) take(b []byte) {
	var p packet.Parsed
	if p.Decode(b) != nil {
		return
	}
	switch {
	case p.IsEchoRequest():
		id, seq := p.EchoID()
		if answer, err := packet.AppendEcho(nil, p.Dst, p.Src, true, id, seq, nil); err == nil {
			i.dev.Send(answer)
		}
	case p.IsEchoReply():
		_, seq := p.EchoID()
		i.mu.Lock()
		defer i.mu.Unlock()
		if ch := i.waiting[seq]; ch != nil {
			close(ch)
			delete(i.waiting, seq)
		}
	case p.Proto == packet.UDP && p.DstPort == streamPort && len(p.Payload()) >= 8:
		i.mu.Lock()
		s := i.streams[p.SrcPort]
		i.mu.Unlock()
		if s != nil {
			s.arrived(binary.BigEndian.Uint64(p.Payload()))
		}
	}
}

// errNotRunning is the error of using a node that is stopped.
var errNotRunning = errors.New("the node does not run")

// ping sends an echo request to an address of the tailnet and waits for the answer.
func (i *inner) ping(ctx context.Context, dst netip.Addr) (time.Duration, error) {
	ch := make(chan struct{})
	i.mu.Lock()
	i.seq++
	seq := i.seq
	i.waiting[seq] = ch
	i.mu.Unlock()
	defer func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		delete(i.waiting, seq)
	}()
	pkt, err := packet.AppendEcho(nil, i.n.IP(), dst, false, 1, seq, nil)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if !i.dev.Send(pkt) {
		return 0, errNotRunning
	}
	select {
	case <-ch:
		return time.Since(start), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// Stream is a flow of numbered packets from one node to another.
type Stream struct {
	from, to *Node
	port     uint16
	gap      time.Duration
	cancel   context.CancelFunc
	ended    chan struct{}

	mu     sync.Mutex
	sent   uint64
	sentAt []time.Time
	got    map[uint64]time.Time
}

// Stream sends a packet to a peer every gap until Stop.
func (n *Node) Stream(to *Node, gap time.Duration) *Stream {
	ctx, cancel := context.WithCancel(n.w.ctx)
	s := &Stream{from: n, to: to, gap: gap, cancel: cancel, ended: make(chan struct{}), got: map[uint64]time.Time{}}
	to.inner.mu.Lock()
	s.port = uint16(10000 + len(to.inner.streams))
	to.inner.streams[s.port] = s
	to.inner.mu.Unlock()
	src, dst := netip.AddrPortFrom(n.IP(), s.port), netip.AddrPortFrom(to.IP(), streamPort)
	go s.run(ctx, src, dst)
	return s
}

func (s *Stream) run(ctx context.Context, src, dst netip.AddrPort) {
	defer close(s.ended)
	tick := time.NewTicker(s.gap)
	defer tick.Stop()
	for {
		s.mu.Lock()
		seq := s.sent
		s.sent++
		s.sentAt = append(s.sentAt, time.Now())
		s.mu.Unlock()
		if pkt, err := packet.AppendUDP(nil, src, dst, binary.BigEndian.AppendUint64(make([]byte, 0, 8), seq)); err == nil {
			s.from.inner.dev.Send(pkt)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// arrived notes a packet; a copy of one counts once.
func (s *Stream) arrived(seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.got[seq]; !ok {
		s.got[seq] = time.Now()
	}
}

// Stop ends the sending and waits a second for what is under way.
func (s *Stream) Stop() {
	s.cancel()
	<-s.ended
	time.Sleep(time.Second)
}

// Lost returns how many packets were sent and did not arrive.
func (s *Stream) Lost() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(s.sent) - len(s.got)
}

// Sent returns how many packets were sent.
func (s *Stream) Sent() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(s.sent)
}

// Silence returns the longest time that no packet arrived, of those sent since the given
// time.
func (s *Stream) Silence(since time.Time) (longest time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := since
	for seq := range s.sent {
		if s.sentAt[seq].Before(since) {
			continue
		}
		if at, ok := s.got[seq]; ok {
			longest, last = max(longest, at.Sub(last)), at
		}
	}
	if n := len(s.sentAt); n > 0 { // what was sent last and did not arrive
		longest = max(longest, s.sentAt[n-1].Sub(last))
	}
	return longest
}

// firstTook returns how long the first packet took, and a long time if it was lost.
func (s *Stream) firstTook() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, ok := s.got[0]; ok {
		return at.Sub(s.sentAt[0])
	}
	return time.Hour
}

// lostBetween returns how many of the packets sent in a span after the first were lost.
func (s *Stream) lostBetween(from, to time.Duration) (lost int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for seq, at := range s.sentAt {
		after := at.Sub(s.sentAt[0])
		if _, ok := s.got[uint64(seq)]; !ok && after >= from && after < to {
			lost++
		}
	}
	return lost
}

// Since returns how many packets that were sent at or after t have arrived.
func (s *Stream) Since(t time.Time) (arrived int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for seq := range s.got {
		if !s.sentAt[seq].Before(t) {
			arrived++
		}
	}
	return arrived
}
