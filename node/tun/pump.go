package tun

import (
	"sync"
)

// pump makes a Device whose Read cannot be interrupted into a Waker, at the
// price of one copy a packet. Its goroutine ends when the device is closed.
type pump struct {
	Device
	filled chan *pumpBatch // read from the device
	free   chan *pumpBatch // to be filled
	wake   chan struct{}
	done   chan struct{}
	once   sync.Once

	current *pumpBatch // read only by Read's caller
}

type pumpBatch struct {
	bufs  [][]byte
	sizes []int
	n, at int
	err   error
}

func newPump(dev Device) *pump {
	p := &pump{
		Device: dev,
		filled: make(chan *pumpBatch, 1),
		free:   make(chan *pumpBatch, 2),
		wake:   make(chan struct{}, 1),
		done:   make(chan struct{}),
	}
	for range cap(p.free) {
		b := &pumpBatch{sizes: make([]int, dev.BatchSize())}
		for range dev.BatchSize() {
			b.bufs = append(b.bufs, make([]byte, Headroom+MaxPacket))
		}
		p.free <- b
	}
	go p.run()
	return p
}

func (p *pump) run() {
	for {
		var b *pumpBatch
		select {
		case b = <-p.free:
		case <-p.done:
			return
		}
		b.at = 0
		b.n, b.err = p.Device.Read(b.bufs, b.sizes, Headroom)
		select {
		case p.filled <- b:
		case <-p.done:
			return
		}
		if b.err != nil {
			return
		}
	}
}

// Read returns the packets of one batch of the device, or a part of them.
func (p *pump) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	if p.current == nil {
		select {
		case p.current = <-p.filled:
		case <-p.wake:
			return 0, ErrWoken
		}
	}
	b := p.current
	n := 0
	for b.at < b.n && n < len(bufs) {
		sizes[n] = copy(bufs[n][offset:], b.bufs[b.at][Headroom:Headroom+b.sizes[b.at]])
		n++
		b.at++
	}
	if b.at < b.n {
		return n, nil
	}
	if b.err != nil {
		if n > 0 {
			return n, nil
		}
		return 0, b.err
	}
	p.current = nil
	p.free <- b
	return n, nil
}

// Wake implements Waker.
func (p *pump) Wake() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Close closes the device and ends the goroutine.
func (p *pump) Close() error {
	p.once.Do(func() { close(p.done) })
	err := p.Device.Close()
	p.Wake()
	return err
}
