package vnet

import (
	"container/heap"
	"sync"
	"time"
)

// Network is the whole virtual internet. Make one inside a synctest bubble with New and
// Close it before the bubble ends.
type Network struct {
	seed uint64

	mu       sync.Mutex // guards all that follows and everything reachable from it
	events   events
	taken    map[int64]struct{} // instants of events in the queue
	wake     chan struct{}
	done     chan struct{}
	ended    chan struct{}
	closed   bool
	hosts    []*Host
	segments []*Segment
	outbox   []outgoing
	flushing bool
	trace    trace
	names    map[string]*name
	tap      func(time.Time, *Packet)
}

// event is something that happens at an instant of its own.
type event struct {
	at    int64 // Unix time in nanoseconds
	do    func()
	index int // in the heap, -1 if not in it
}

type events []*event

func (q events) Len() int           { return len(q) }
func (q events) Less(i, j int) bool { return q[i].at < q[j].at }
func (q events) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}
func (q *events) Push(x any) {
	e := x.(*event)
	e.index = len(*q)
	*q = append(*q, e)
}
func (q *events) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	e.index = -1
	return e
}

// New returns a network without any hosts, whose chance comes from seed.
func New(seed uint64) *Network {
	n := &Network{
		seed: seed, taken: map[int64]struct{}{}, wake: make(chan struct{}, 1),
		done: make(chan struct{}), ended: make(chan struct{}), names: map[string]*name{},
	}
	go n.run()
	return n
}

// Close stops the network: sockets report that they are closed, nothing moves any more.
func (n *Network) Close() {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return
	}
	n.closed = true
	for _, h := range n.hosts {
		h.closeSockets()
	}
	n.mu.Unlock()
	close(n.done)
	<-n.ended
}

// run works off the events.
func (n *Network) run() {
	defer close(n.ended)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		next, ok := n.step()
		if ok {
			timer.Reset(next)
		} else {
			timer.Stop()
		}
		select {
		case <-timer.C:
		case <-n.wake:
		case <-n.done:
			return
		}
	}
}

// step does what is due. It returns how long it is to the next event.
func (n *Network) step() (next time.Duration, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(n.events) > 0 && !n.closed {
		now := time.Now().UnixNano()
		e := n.events[0]
		if e.at > now {
			return time.Duration(e.at - now), true
		}
		heap.Pop(&n.events)
		delete(n.taken, e.at)
		e.do()
	}
	return 0, false
}

// after schedules do. The network is locked, then and now.
func (n *Network) after(d time.Duration, do func()) *event {
	e := &event{do: do, index: -1}
	n.schedule(e, d)
	return e
}

// schedule puts an event that is not scheduled into the queue.
func (n *Network) schedule(e *event, d time.Duration) {
	at := time.Now().UnixNano() + max(int64(d), 1)
	for {
		if _, used := n.taken[at]; !used {
			break
		}
		at++
	}
	n.taken[at] = struct{}{}
	e.at = at
	heap.Push(&n.events, e)
	if n.events[0] == e {
		select {
		case n.wake <- struct{}{}:
		default:
		}
	}
}

// cancel takes an event out of the queue if it is in it.
func (n *Network) cancel(e *event) {
	if e != nil && e.index >= 0 {
		heap.Remove(&n.events, e.index)
		delete(n.taken, e.at)
	}
}
