package vnet

import (
	"cmp"
	"slices"
	"time"
)

// gate lets goroutines wait for a change. It is guarded by the network's lock.
type gate struct{ ch chan struct{} }

// wait returns a channel that is closed at the next change.
func (g *gate) wait() <-chan struct{} {
	if g.ch == nil {
		g.ch = make(chan struct{})
	}
	return g.ch
}

// signal tells of a change.
func (g *gate) signal() {
	if g.ch != nil {
		close(g.ch)
		g.ch = nil
	}
}

// deadline is a time after which waiting ends. It is guarded by the network's lock.
type deadline struct {
	passed bool
	timer  *event
}

// set changes the deadline; g is signalled when it passes.
func (d *deadline) set(n *Network, t time.Time, g *gate) {
	n.cancel(d.timer)
	d.timer, d.passed = nil, false
	if !t.IsZero() {
		if left := time.Until(t); left > 0 {
			d.timer = n.after(left, func() { d.passed = true; g.signal() })
		} else {
			d.passed = true
		}
	}
	g.signal()
}

// outgoing is something that a program does to the network. What happens at one instant is
// put into an order that does not depend on the order of goroutines.
type outgoing struct {
	host   int
	socket uint64
	seq    uint64
	do     func()
}

// submit has do called soon, in the order of host, socket and sequence among all that is
// submitted at this instant. The network is locked.
func (n *Network) submit(o outgoing) {
	n.outbox = append(n.outbox, o)
	if n.flushing {
		return
	}
	n.flushing = true
	n.after(0, func() {
		n.flushing = false
		batch := n.outbox
		n.outbox = nil
		slices.SortStableFunc(batch, func(a, b outgoing) int {
			return cmp.Or(cmp.Compare(a.host, b.host), cmp.Compare(a.socket, b.socket), cmp.Compare(a.seq, b.seq))
		})
		for _, o := range batch {
			o.do()
		}
	})
}
