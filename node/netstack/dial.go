package netstack

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
)

func fullAddress(a netip.AddrPort) tcpip.FullAddress {
	f := tcpip.FullAddress{NIC: nicID, Port: a.Port()}
	if a.Addr().IsValid() && !a.Addr().IsUnspecified() {
		f.Addr = tcpip.AddrFromSlice(a.Addr().AsSlice())
	}
	return f
}

// target reads "host:port" with a literal address that fits the network.
func target(network, address string) (netip.AddrPort, error) {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return a, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("the userspace network needs an IP address and port: %w", err)}
	}
	a = netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
	if strings.HasSuffix(network, "4") && !a.Addr().Is4() || strings.HasSuffix(network, "6") && !a.Addr().Is6() {
		return a, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("%v is of another address family", a.Addr())}
	}
	return a, nil
}

// DialContext connects to an address in the mesh. The network is "tcp" or "udp",
// with or without "4" or "6"; the address is literal, with a port. Errors wrap
// syscall errors such as ECONNREFUSED where there is one.
func (s *Stack) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	to, err := target(network, address)
	if err != nil {
		return nil, err
	}
	switch network {
	case "tcp", "tcp4", "tcp6":
		c, err := gonet.DialContextTCP(ctx, s.stack, fullAddress(to), protocolOf(to.Addr()))
		if err != nil {
			return nil, translate("dial", network, to, err)
		}
		return c, nil
	case "udp", "udp4", "udp6":
		remote := fullAddress(to)
		c, err := gonet.DialUDP(s.stack, nil, &remote, protocolOf(to.Addr()))
		if err != nil {
			return nil, translate("dial", network, to, err)
		}
		return c, nil
	}
	return nil, &net.OpError{Op: "dial", Net: network, Err: net.UnknownNetworkError(network)}
}

// Listen listens for TCP connections from the mesh. An unspecified address
// stands for every own address of its family. It takes precedence over
// forwarding.
func (s *Stack) Listen(address netip.AddrPort) (net.Listener, error) {
	l, err := gonet.ListenTCP(s.stack, fullAddress(address), protocolOf(address.Addr()))
	if err != nil {
		return nil, translate("listen", "tcp", address, err)
	}
	return l, nil
}

// ListenPacket listens for UDP datagrams from the mesh.
func (s *Stack) ListenPacket(address netip.AddrPort) (net.PacketConn, error) {
	local := fullAddress(address)
	c, err := gonet.DialUDP(s.stack, &local, nil, protocolOf(address.Addr()))
	if err != nil {
		return nil, translate("listen", "udp", address, err)
	}
	return c, nil
}

// errnos pairs the stack's errors with the system's.
var errnos = []struct {
	text  string
	errno syscall.Errno
}{
	{(&tcpip.ErrConnectionRefused{}).String(), syscall.ECONNREFUSED},
	{(&tcpip.ErrConnectionReset{}).String(), syscall.ECONNRESET},
	{(&tcpip.ErrTimeout{}).String(), syscall.ETIMEDOUT},
	{(&tcpip.ErrHostUnreachable{}).String(), syscall.EHOSTUNREACH},
	{(&tcpip.ErrNetworkUnreachable{}).String(), syscall.ENETUNREACH},
	{(&tcpip.ErrPortInUse{}).String(), syscall.EADDRINUSE},
	{(&tcpip.ErrBadLocalAddress{}).String(), syscall.EADDRNOTAVAIL},
}

// translate gives an error of the stack, which is only a text, a cause that
// callers can tell apart.
func translate(op, network string, a netip.AddrPort, err error) error {
	cause := err
	if text := err.Error(); cause != context.Canceled && cause != context.DeadlineExceeded {
		for _, e := range errnos {
			if strings.HasSuffix(text, e.text) {
				cause = e.errno
				break
			}
		}
	}
	out := &net.OpError{Op: op, Net: network, Err: cause}
	if strings.HasPrefix(network, "udp") {
		out.Addr = net.UDPAddrFromAddrPort(a)
	} else {
		out.Addr = net.TCPAddrFromAddrPort(a)
	}
	return out
}
