package path

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/ginnel/ginnel/node/path/udpbatch"
)

// socketBuffer is the size of the kernel's UDP buffers each way, in bytes.
const socketBuffer = 7 << 20

// SystemListen returns what opens the UDP sockets of the system, as Options.ListenPacket
// does by default, with firewall mark Mark or without.
func SystemListen(mark bool) func(network string, port uint16) (net.PacketConn, error) {
	return systemListen(mark)
}

// systemListen returns the default Options.ListenPacket.
func systemListen(mark bool) func(string, uint16) (net.PacketConn, error) {
	o := udpbatch.Options{Buffer: socketBuffer}
	if mark {
		o.Mark = Mark
	}
	return func(network string, port uint16) (net.PacketConn, error) {
		return udpbatch.Listen(network, port, o)
	}
}

// systemDial returns the default Options.Dial.
func systemDial(mark bool) func(context.Context, string, string) (net.Conn, error) {
	d := &net.Dialer{KeepAlive: 30 * time.Second}
	if mark {
		d.Control = func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { setMark(fd, Mark) })
		}
	}
	return d.DialContext
}

// systemInterfaces is the default Options.Interfaces.
func systemInterfaces() ([]Interface, error) {
	list, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	var out []Interface
	for _, ifc := range list {
		addrs, err := ifc.Addrs()
		if err != nil {
			continue // gone in the meantime
		}
		i := Interface{Name: ifc.Name, Up: ifc.Flags&net.FlagUp != 0, Loopback: ifc.Flags&net.FlagLoopback != 0}
		for _, a := range addrs {
			if ipn, ok := a.(*net.IPNet); ok {
				if ip, ok := netip.AddrFromSlice(ipn.IP); ok {
					ones, _ := ipn.Mask.Size()
					i.Addrs = append(i.Addrs, netip.PrefixFrom(ip.Unmap(), ones))
				}
			}
		}
		out = append(out, i)
	}
	return out, nil
}
