package vnet

import "time"

// Link says how packets fare in one direction of a line. The zero value is a perfect one.
type Link struct {
	// Latency is how long a packet takes; Jitter is added to it, evenly spread between
	// nothing and all of it. Packets keep their order unless Reorder picks them.
	Latency, Jitter time.Duration
	// Loss, Duplicate and Reorder are probabilities. A reordered packet arrives up to
	// ReorderBy later than it should; zero means 10 ms.
	Loss, Duplicate, Reorder float64
	ReorderBy                time.Duration
	// Bandwidth is in bits per second, 0 for no limit. Up to Queue bytes wait for their
	// turn, 0 meaning 256 KiB; more are dropped.
	Bandwidth, Queue int
	// MTU is the size of the largest packet in bytes, 0 for 1500. A larger one is
	// dropped; its sender is told, unless Silent is set.
	MTU    int
	Silent bool
	// Down loses everything.
	Down bool
}

// pipe is one direction of a line.
type pipe struct {
	net  *Network
	link Link
	dice *dice
	free int64 // when the line has sent what was given to it
	last int64 // when the last packet in order arrives
}

func (n *Network) newPipe(name string, l Link) *pipe {
	return &pipe{net: n, link: l, dice: n.newDice("pipe " + name)}
}

// mtu returns the size of the largest packet.
func (p *pipe) mtu() int {
	if p.link.MTU == 0 {
		return 1500
	}
	return p.link.MTU
}

// send has arrive called with the packet when it has gone through the pipe, at once if
// that takes no time. It returns why the packet is lost, or "".
func (p *pipe) send(pkt *Packet, arrive func(*Packet)) (lost string) {
	l, flow := &p.link, pkt.flow()
	switch {
	case l.Down:
		return "link down"
	case pkt.Size() > p.mtu():
		return "too big"
	case p.dice.chance(flow, l.Loss):
		return "lost"
	}
	now := time.Now().UnixNano()
	at := now
	if l.Bandwidth > 0 {
		queue := l.Queue
		if queue == 0 {
			queue = 256 << 10
		}
		start := max(now, p.free)
		if waiting := (start - now) / 1000 * int64(l.Bandwidth) / 8 / 1_000_000; waiting > int64(queue) {
			return "queue full"
		}
		p.free = start + int64(pkt.Size())*8*1_000_000_000/int64(l.Bandwidth)
		at = p.free
	}
	at += int64(l.Latency)
	if l.Jitter > 0 {
		at += int64(p.dice.below(flow, uint64(l.Jitter)))
	}
	if p.dice.chance(flow, l.Reorder) {
		by := l.ReorderBy
		if by == 0 {
			by = 10 * time.Millisecond
		}
		at += int64(p.dice.below(flow, uint64(by)))
	} else {
		at = max(at, p.last)
		p.last = at
	}
	copies := 1
	if p.dice.chance(flow, l.Duplicate) {
		copies = 2
	}
	for range copies {
		if at == now {
			arrive(pkt)
		} else {
			p.net.after(time.Duration(at-now), func() { arrive(pkt) })
		}
	}
	return ""
}
