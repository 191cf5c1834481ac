//go:build linux

package rig

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/ginnel/ginnel/internal/netlab"
)

// A Rig is a small network with programs in it. It is not for concurrent use.
type Rig struct {
	dir string
	net *netlab.Lab
}

// New makes an empty rig. The error says what the machine lacks.
func New() (*Rig, error) {
	n, err := netlab.New()
	if err != nil {
		return nil, fmt.Errorf("this benchmark cannot run here: %w", err)
	}
	dir, err := os.MkdirTemp("", "ginnel-bench-")
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return &Rig{dir: dir, net: n}, nil
}

// Dir returns a folder for files, which Close removes.
func (r *Rig) Dir() string { return r.dir }

// Close ends all programs and removes everything. The programs' logs are lost.
func (r *Rig) Close() error { return errors.Join(r.net.Close(), os.RemoveAll(r.dir)) }

// A Host is a machine of the rig.
type Host struct {
	*netlab.Host
	rig *Rig
}

// Host makes a machine that is connected to nothing.
func (r *Rig) Host(name string) (*Host, error) {
	h, err := r.net.Host(name)
	if err != nil {
		return nil, err
	}
	return &Host{h, r}, nil
}

// Join connects two hosts by a link on which they have the given addresses,
// such as "10.1.0.1/24".
func (r *Rig) Join(a *Host, addrA string, b *Host, addrB string) error {
	return netlab.Join(a.Host, addrA, b.Host, addrB)
}

// BlockUDP drops all UDP that enters or leaves the host's links.
func (h *Host) BlockUDP() error { return h.Apply(netlab.NoUDP()) }

// Listen opens a TCP listener on the host. The address must be numeric.
func (h *Host) Listen(ctx context.Context, addr string) (net.Listener, error) {
	return h.Host.Listen(ctx, "tcp", addr)
}
