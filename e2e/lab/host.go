//go:build linux

package lab

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"time"

	"github.com/ginnel/ginnel/internal/netlab"
)

// pingTimeout is how long a host waits for the answer to one echo request.
const pingTimeout = 2 * time.Second

// A Host is a machine of the lab.
type Host struct {
	*netlab.Host
	lab *Lab
}

// A Switch joins hosts into one link-layer network.
type Switch struct{ *netlab.Switch }

// Host makes a machine that is connected to nothing.
func (l *Lab) Host(name string) *Host {
	l.t.Helper()
	h, err := l.net.Host(name)
	l.must(err)
	return &Host{Host: h, lab: l}
}

// Switch makes a network with nothing plugged in.
func (l *Lab) Switch(name string) *Switch {
	l.t.Helper()
	s, err := l.net.Switch(name)
	l.must(err)
	return &Switch{s}
}

// Output runs a program on the host and returns what it printed on both
// outputs.
func (h *Host) Output(args ...string) (string, error) {
	var out bytes.Buffer
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := h.RunCmd(cmd)
	if err != nil {
		err = fmt.Errorf("%s: %s: %w", h.Name, strings.Join(args, " "), err)
	}
	return out.String(), err
}

// Stdout runs a program on the host and returns what it printed on standard
// output.
func (h *Host) Stdout(args ...string) ([]byte, error) {
	var out, errOut bytes.Buffer
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := h.RunCmd(cmd)
	if err != nil {
		err = fmt.Errorf("%s: %s: %w: %s%s", h.Name, strings.Join(args, " "), err, &out, &errOut)
	}
	return out.Bytes(), err
}

// Must runs a program on the host and ends the test if it fails.
func (h *Host) Must(args ...string) string {
	h.lab.t.Helper()
	out, err := h.Output(args...)
	if err != nil {
		h.lab.t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// DialContext connects from the host. The address must be numeric.
func (h *Host) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	return h.Dial(ctx, network, addr)
}

// Listen opens a stream listener on the host. The address must be numeric.
func (h *Host) Listen(network, addr string) (net.Listener, error) {
	return h.Host.Listen(context.Background(), network, addr)
}

// Ping sends one echo request from the host, to an address of either family,
// and returns nil when it was answered in time.
func (h *Host) Ping(to netip.Addr) error {
	ctx, cancel := context.WithTimeout(context.Background(), pingTimeout)
	defer cancel()
	return h.Echo(ctx, to)
}

// Plug connects the host to the switch under the given addresses, such as
// "10.1.0.2/24", and returns the name of the host's new interface.
func (h *Host) Plug(s *Switch, addrs ...string) string {
	h.lab.t.Helper()
	dev, err := h.Host.Plug(s.Switch, addrs...)
	h.lab.must(err)
	return dev
}

// AddAddr gives an interface an address with its prefix length.
func (h *Host) AddAddr(dev, addr string) {
	h.lab.t.Helper()
	h.lab.must(h.Host.AddAddr(dev, addr))
}

// DelAddr takes an address from an interface.
func (h *Host) DelAddr(dev, addr string) {
	h.lab.t.Helper()
	h.lab.must(h.Host.DelAddr(dev, addr))
}

// DefaultRoute sends everything without a better route to the gateway.
func (h *Host) DefaultRoute(gateway string) {
	h.lab.t.Helper()
	h.lab.must(h.Host.DefaultRoute(gateway))
}

// Apply loads firewall rules into the host, in the place of those of the same
// name.
func (h *Host) Apply(r netlab.Rules) {
	h.lab.t.Helper()
	h.lab.must(h.Host.Apply(r))
}

// Masquerade makes the host an ordinary home router for what leaves by the
// interface.
func (h *Host) Masquerade(outside string) {
	h.lab.t.Helper()
	h.lab.must(h.Forward())
	h.Apply(netlab.HomeNAT(outside))
}

// BlockUDP drops all UDP that enters or leaves by the host's links.
func (h *Host) BlockUDP() {
	h.lab.t.Helper()
	h.Apply(netlab.NoUDP())
}

// UnblockUDP undoes BlockUDP.
func (h *Host) UnblockUDP() {
	h.lab.t.Helper()
	h.lab.must(h.Remove(netlab.NoUDP().Name))
}
