package tunnel

import (
	"os"

	wgtun "golang.zx2c4.com/wireguard/tun"

	"github.com/ginnel/ginnel/node/tun"
)

// tunDevice gives WireGuard one of our devices.
type tunDevice struct {
	tun.Device
	events chan wgtun.Event
}

var _ wgtun.Device = (*tunDevice)(nil)

func newTunDevice(dev tun.Device) *tunDevice {
	d := &tunDevice{Device: dev, events: make(chan wgtun.Event)}
	go d.forward()
	return d
}

// forward passes on that the MTU changed. Whether the interface is up does not matter:
// WireGuard is up as long as the Tunnel is.
func (d *tunDevice) forward() {
	defer close(d.events)
	for e := range d.Device.Events() {
		if e&tun.EventMTU != 0 {
			d.events <- wgtun.EventMTUUpdate
		}
	}
}

// File is asked for by nobody who gets this device.
func (d *tunDevice) File() *os.File { return nil }

// MTU returns the MTU in bytes.
func (d *tunDevice) MTU() (int, error) { return d.Device.MTU(), nil }

// Name returns the name of the interface.
func (d *tunDevice) Name() (string, error) { return d.Device.Name(), nil }

// Events returns the events that WireGuard is to know of.
func (d *tunDevice) Events() <-chan wgtun.Event { return d.events }
