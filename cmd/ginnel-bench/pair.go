package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/ginnel/ginnel/relay/client"
	"github.com/ginnel/ginnel/wire/key"
)

// stampLen is what a packet starts with: its number[8] and the time of sending[8].
const stampLen = 16

// lossTimeout is how long a sender waits for its window to move before it takes
// what is under way for lost.
const lossTimeout = 50 * time.Millisecond

// drainTime is how long packets may still arrive after the last was sent.
const drainTime = 200 * time.Millisecond

// epoch is the origin of the times in packets.
var epoch = time.Now()

// pair is a client that sends and one that receives.
type pair struct {
	src, dst       *client.Conn
	srcKey, dstKey key.NodePublic

	sent     int64         // packets; the sender's
	highest  atomic.Int64  // number of the last packet received, from 1
	received atomic.Int64  // packets
	moved    chan struct{} // the window has moved; one slot
	delays   reservoir     // the receiver's
}

// newPair connects two clients and waits until both are admitted.
func newPair(ctx context.Context, c *relayConfig) (*pair, error) {
	srcPriv, dstPriv := key.NewNode(), key.NewNode()
	p := &pair{srcKey: srcPriv.Public(), dstKey: dstPriv.Public(), moved: make(chan struct{}, 1)}
	var err error
	if p.src, err = admitted(ctx, c.options(srcPriv)); err != nil {
		return nil, err
	}
	if p.dst, err = admitted(ctx, c.options(dstPriv)); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// admitted connects a client and waits for the relay's word.
func admitted(ctx context.Context, o client.Options) (*client.Conn, error) {
	c, err := client.Dial(ctx, o)
	if err != nil {
		return nil, err
	}
	for {
		m, err := c.Recv()
		if err != nil {
			c.Close()
			return nil, fmt.Errorf("not admitted: %w", err)
		}
		if m.Kind == client.KindConnected {
			return c, nil
		}
	}
}

// close closes both clients.
func (p *pair) close() {
	for _, c := range []*client.Conn{p.src, p.dst} {
		if c != nil {
			c.Close()
		}
	}
}

// stamp writes a packet's number and the time into it.
func stamp(b []byte, number int64) {
	binary.BigEndian.PutUint64(b, uint64(number))
	binary.BigEndian.PutUint64(b[8:], uint64(time.Since(epoch)))
}

// readStamp reads what stamp wrote.
func readStamp(b []byte) (number int64, age time.Duration, ok bool) {
	if len(b) < stampLen {
		return 0, 0, false
	}
	return int64(binary.BigEndian.Uint64(b)), time.Since(epoch) - time.Duration(binary.BigEndian.Uint64(b[8:])), true
}

// run sends until stop, then waits for what is under way.
func (p *pair) run(c *relayConfig, stop *atomic.Bool) error {
	received := make(chan error, 1)
	var done atomic.Bool
	go func() { received <- p.receive(&done) }()
	err := p.send(c, stop)
	deadline := time.Now().Add(drainTime)
	for err == nil && p.highest.Load() < p.sent && time.Now().Before(deadline) {
		select {
		case <-p.moved:
		case <-time.After(time.Until(deadline)):
		}
	}
	done.Store(true)
	p.dst.Close() // ends receive
	return errors.Join(err, <-received)
}

// send sends batches within the window.
func (p *pair) send(c *relayConfig, stop *atomic.Bool) error {
	pkts := make([][]byte, min(c.batch, c.window))
	for i := range pkts {
		pkts[i] = make([]byte, c.size)
	}
	timer := time.NewTimer(lossTimeout)
	defer timer.Stop()
	floor := int64(0) // packets up to this number are taken for lost or here
	for !stop.Load() && (c.count == 0 || p.sent < c.count) {
		if free := int64(c.window) - (p.sent - max(floor, p.highest.Load())); free < int64(len(pkts)) {
			timer.Reset(lossTimeout)
			select {
			case <-p.moved:
			case <-timer.C:
				floor = p.sent
			}
			continue
		}
		for _, b := range pkts {
			p.sent++
			stamp(b, p.sent)
		}
		if err := p.src.SendBatch(p.dstKey, pkts); err != nil {
			return err
		}
	}
	return nil
}

// receive counts packets until the connection is closed, which is an error unless
// done.
func (p *pair) receive(done *atomic.Bool) error {
	for {
		m, err := p.dst.Recv()
		if err != nil {
			if done.Load() && errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		if m.Kind != client.KindPacket || m.Peer != p.srcKey {
			continue
		}
		number, age, ok := readStamp(m.Data)
		if !ok {
			return fmt.Errorf("the relay delivered a packet of %d bytes that was not sent", len(m.Data))
		}
		p.received.Add(1)
		p.highest.Store(number)
		p.delays.add(age)
		if !p.dst.Buffered() {
			select {
			case p.moved <- struct{}{}:
			default:
			}
		}
	}
}

// measureIdle sends one packet at a time there and back. It leaves both connections
// as they were, with nothing under way.
func measureIdle(ctx context.Context, c *relayConfig, p *pair) (latency, error) {
	var ds []time.Duration
	pkt := make([]byte, c.size)
	end := time.Now().Add(c.idle)
	for n := int64(1); time.Now().Before(end) && len(ds) < maxSamples && ctx.Err() == nil; n++ {
		stamp(pkt, n)
		if err := hop(p.src, p.dst, p.dstKey, pkt); err != nil {
			return latency{}, err
		}
		if err := hop(p.dst, p.src, p.srcKey, pkt); err != nil {
			return latency{}, err
		}
		_, age, _ := readStamp(pkt)
		ds = append(ds, age)
	}
	return summarise(ds), ctx.Err()
}

// hop sends a packet from one client and waits for it at the other.
func hop(from, to *client.Conn, toKey key.NodePublic, pkt []byte) error {
	if err := from.SendBatch(toKey, [][]byte{pkt}); err != nil {
		return err
	}
	for {
		m, err := to.Recv()
		if err != nil {
			return err
		}
		if m.Kind == client.KindPacket {
			return nil
		}
	}
}
