//go:build linux

package netlab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// A Switch joins hosts into one link-layer network. It is a bridge on a host of
// its own.
type Switch struct{ host *Host }

const bridge = "br0"

// Switch makes a network with nothing plugged in.
func (l *Lab) Switch(name string) (*Switch, error) {
	h, err := l.Host("switch " + name)
	if err != nil {
		return nil, err
	}
	if err := h.ip("link", "add", bridge, "type", "bridge"); err != nil {
		return nil, err
	}
	return &Switch{host: h}, h.ip("link", "set", bridge, "up")
}

// Plug connects the host to the switch under the given addresses, such as
// "10.1.0.2/24", and returns the name of the host's new interface.
func (h *Host) Plug(s *Switch, addrs ...string) (dev string, err error) {
	dev, port, err := wire(h, s.host)
	if err != nil {
		return "", err
	}
	if err := s.host.ip("link", "set", port, "master", bridge, "up"); err != nil {
		return "", err
	}
	if err := h.configure(dev, addrs); err != nil {
		return "", err
	}
	return dev, h.Settle(dev)
}

// Join connects two hosts by a link of their own, on which they have the given
// addresses.
func Join(a *Host, addrA string, b *Host, addrB string) error {
	devA, devB, err := wire(a, b)
	if err != nil {
		return err
	}
	if err := a.configure(devA, []string{addrA}); err != nil {
		return err
	}
	if err := b.configure(devB, []string{addrB}); err != nil {
		return err
	}
	return errors.Join(a.Settle(devA), b.Settle(devB))
}

// wire makes a link between two hosts and returns the names of its ends.
func wire(a, b *Host) (devA, devB string, err error) {
	devA, devB = a.newDevice(), b.newDevice()
	err = run("ip", "link", "add", devA, "netns", a.Path(), "type", "veth", "peer", "name", devB, "netns", b.Path())
	return devA, devB, err
}

// newDevice returns the name of the host's next interface. All begin with eth.
func (h *Host) newDevice() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ports++
	return fmt.Sprintf("eth%d", h.ports-1)
}

// configure gives a new interface its addresses and takes it into service.
func (h *Host) configure(dev string, addrs []string) error {
	for _, a := range addrs {
		if err := h.AddAddr(dev, a); err != nil {
			return err
		}
	}
	return h.ip("link", "set", dev, "up")
}

// settleTimeout bounds the wait for what the kernel does by itself.
const settleTimeout = 10 * time.Second

// Settle waits until the kernel has given an interface that was taken into
// service its link-local address: from then on nothing changes by itself.
func (h *Host) Settle(dev string) error {
	for deadline := time.Now().Add(settleTimeout); ; time.Sleep(2 * time.Millisecond) {
		var table []byte
		err := h.Do(func() (err error) {
			table, err = os.ReadFile("/proc/thread-self/net/if_inet6")
			return err
		})
		if err != nil {
			return err
		}
		if hasLinkLocal(string(table), dev) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: interface %s has no link-local address after %v", h.Name, dev, settleTimeout)
		}
	}
}

// hasLinkLocal looks for a link-local address that can be used in the kernel's
// table of IPv6 addresses: address, interface number, prefix length, scope,
// flags, in hexadecimal, and the interface's name.
func hasLinkLocal(table, dev string) bool {
	const tentative = 0x40 // IFA_F_TENTATIVE
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) != 6 || f[5] != dev || !strings.HasPrefix(f[0], "fe80") {
			continue
		}
		if flags, err := strconv.ParseUint(f[4], 16, 32); err == nil && flags&tentative == 0 {
			return true
		}
	}
	return false
}

// AddAddr gives an interface an address with its prefix length. Duplicate
// address detection is off, so that it can be used at once.
func (h *Host) AddAddr(dev, addr string) error {
	p, err := netip.ParsePrefix(addr)
	if err != nil {
		return err
	}
	args := []string{"addr", "add", addr, "dev", dev}
	if p.Addr().Is6() {
		args = append(args, "nodad")
	}
	return h.ip(args...)
}

// DelAddr takes an address from an interface.
func (h *Host) DelAddr(dev, addr string) error { return h.ip("addr", "del", addr, "dev", dev) }

// DefaultRoute sends everything without a better route to the gateway.
func (h *Host) DefaultRoute(gateway string) error {
	addr, err := netip.ParseAddr(gateway)
	if err != nil {
		return err
	}
	family := "-4"
	if addr.Is6() {
		family = "-6"
	}
	return h.ip(family, "route", "replace", "default", "via", gateway)
}

// Forward makes the host a router for both families.
func (h *Host) Forward() error {
	if err := h.SetSysctl("ipv4/ip_forward", "1"); err != nil {
		return err
	}
	return h.SetSysctl("ipv6/conf/all/forwarding", "1")
}

// SetSysctl sets a kernel parameter of the host's network, such as
// "ipv4/ip_forward".
func (h *Host) SetSysctl(name, value string) error {
	err := h.Do(func() error { return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0) })
	if err != nil {
		return fmt.Errorf("%s: set %s: %w", h.Name, name, err)
	}
	return nil
}

// ip runs the program ip on the host.
func (h *Host) ip(args ...string) error { return h.Run(append([]string{"ip"}, args...)...) }
