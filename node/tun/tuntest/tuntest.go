// Package tuntest has a tunnel device for tests, made of channels. It is not a
// TCP/IP stack: the test plays the host.
package tuntest

import (
	"bytes"
	"os"
	"sync"

	"github.com/ginnel/ginnel/node/tun"
)

// Device is a [tun.Waker] whose host side are the methods Send and Received. It
// holds a bounded number of packets each way and loses none: a full direction
// blocks.
type Device struct {
	mtu, batch int
	toMesh     chan []byte
	toHost     chan []byte
	wake       chan struct{}
	done       chan struct{}
	once       sync.Once
	events     chan tun.Event
}

// New returns a device with the given MTU in bytes and batch size.
func New(mtu, batch int) *Device {
	d := &Device{
		mtu: mtu, batch: batch,
		toMesh: make(chan []byte, 1024),
		toHost: make(chan []byte, 1024),
		wake:   make(chan struct{}, 1),
		done:   make(chan struct{}),
		events: make(chan tun.Event, 1),
	}
	d.events <- tun.EventUp
	return d
}

// Send sends a packet toward the mesh, as the host's stack would. It reports
// false once the device is closed.
func (d *Device) Send(pkt []byte) bool {
	select {
	case d.toMesh <- bytes.Clone(pkt):
		return true
	case <-d.done:
		return false
	}
}

// Received gives the packets that came from the mesh, in order.
func (d *Device) Received() <-chan []byte { return d.toHost }

// Name returns a made-up name.
func (d *Device) Name() string { return "test0" }

// MTU returns the MTU.
func (d *Device) MTU() int { return d.mtu }

// BatchSize returns the batch size.
func (d *Device) BatchSize() int { return d.batch }

// Events tells once that the device is up.
func (d *Device) Events() <-chan tun.Event { return d.events }

// Wake interrupts Read.
func (d *Device) Wake() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// Read returns what the test sent: at least one packet, then as many as there
// are.
func (d *Device) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	select {
	case <-d.done:
		return 0, os.ErrClosed
	default:
	}
	select {
	case pkt := <-d.toMesh:
		sizes[0] = copy(bufs[0][offset:], pkt)
	case <-d.wake:
		return 0, tun.ErrWoken
	case <-d.done:
		return 0, os.ErrClosed
	}
	for n := 1; ; n++ {
		if n == len(bufs) {
			return n, nil
		}
		select {
		case pkt := <-d.toMesh:
			sizes[n] = copy(bufs[n][offset:], pkt)
		default:
			return n, nil
		}
	}
}

// Write hands packets to the test.
func (d *Device) Write(bufs [][]byte, offset int) (int, error) {
	for i, b := range bufs {
		select {
		case <-d.done:
			return i, os.ErrClosed
		default:
		}
		select {
		case d.toHost <- bytes.Clone(b[offset:]):
		case <-d.done:
			return i, os.ErrClosed
		}
	}
	return len(bufs), nil
}

// Close closes the device.
func (d *Device) Close() error {
	d.once.Do(func() {
		close(d.done)
		close(d.events)
	})
	return nil
}
