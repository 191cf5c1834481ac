//go:build linux

package main

import (
	"fmt"
	"net"

	"github.com/ginnel/ginnel/internal/netlab"
)

// A network says where the parts of the demo run.
type network interface {
	server() place
	node(i int) place
	visitor() place // for a third node
	// pageHost is the address that the web page is served at.
	pageHost() string
}

// A place is somewhere to run programs: this machine, or a network namespace.
type place struct {
	*netlab.Host
	addr   string // the address that others reach it by
	prefix string // what a person writes before a command to run it there
}

// loopback runs everything on this machine.
type loopback struct{ addr string }

// newLoopback picks the address that other machines could reach this one by,
// so that a third machine can join; without any, the loopback address.
func newLoopback() (network, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return loopback{n.IP.String()}, nil
		}
	}
	return loopback{"127.0.0.1"}, nil
}

func (l loopback) server() place    { return place{netlab.Machine(), l.addr, ""} }
func (l loopback) node(int) place   { return place{netlab.Machine(), l.addr, ""} }
func (l loopback) visitor() place   { return place{netlab.Machine(), l.addr, ""} }
func (l loopback) pageHost() string { return "127.0.0.1" }

// namespaces gives the server and each node a network of its own, and one more
// to a third node that the visitor may start. One switch joins them all.
type namespaces struct{ places []place }

func newNamespaces(d *demo) (network, error) {
	lab, err := netlab.New()
	if err != nil {
		return nil, err
	}
	d.closers = append(d.closers, func() { lab.Close() })
	sw, err := lab.Switch("demo")
	if err != nil {
		return nil, err
	}
	n := &namespaces{}
	for i, name := range []string{"server", "apple", "birch", "visitor"} {
		h, err := lab.Host(name)
		if err != nil {
			return nil, err
		}
		addr := fmt.Sprintf("10.77.0.%d", i+1)
		if _, err := h.Plug(sw, addr+"/24"); err != nil {
			return nil, err
		}
		if i > 0 {
			if err := h.DefaultRoute(n.places[0].addr); err != nil {
				return nil, err
			}
		}
		n.places = append(n.places, place{h, addr, "nsenter --net=" + h.Path() + " "})
	}
	return n, nil
}

func (n *namespaces) server() place    { return n.places[0] }
func (n *namespaces) node(i int) place { return n.places[i+1] }
func (n *namespaces) visitor() place   { return n.places[3] }
func (n *namespaces) pageHost() string { return "0.0.0.0" }
