//go:build !linux

package netmon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// portableSource reads what the standard library knows; the Monitor polls it.
type portableSource struct{ tunnel string }

func systemSource(tunnel string) (Source, error) { return portableSource{tunnel}, nil }

// State implements Source. The default interface is the one whose address the
// system would use to reach a public address.
func (p portableSource) State() (*State, error) {
	ifs, err := interfaces()
	if err != nil {
		return nil, fmt.Errorf("list network interfaces: %w", err)
	}
	s := &State{Interfaces: ifs, Tunnel: p.tunnel}
	for _, to := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} {
		c, err := net.Dial("udp", to) // sends nothing
		if err != nil {
			continue
		}
		local := c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
		c.Close()
		if s.DefaultInterface = owner(s, local); s.DefaultInterface != "" {
			break
		}
	}
	s.complete()
	return s, nil
}

func owner(s *State, a netip.Addr) string {
	for name, i := range s.Interfaces {
		for _, x := range i.Addrs {
			if x.Addr() == a && name != s.Tunnel {
				return name
			}
		}
	}
	return ""
}

// Wait implements Source.
func (portableSource) Wait(context.Context) error {
	return errors.New("not available on this system")
}
