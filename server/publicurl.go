package server

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// publicURL returns the URL by which nodes reach the server: the configured one,
// or one made of the certificate's host or the machine's first address and the
// port that the server listens on.
func (c *Config) publicURL(listen []netip.AddrPort) string {
	if c.URL != "" {
		return strings.TrimRight(c.URL, "/")
	}
	if c.ACMEHost != "" {
		return "https://" + c.ACMEHost
	}
	scheme, usual := "http", uint16(80)
	if c.TLSCert != "" {
		scheme, usual = "https", 443
	}
	at := listen[0]
	host := at.Addr().Unmap()
	if host.IsUnspecified() {
		host = machineAddr()
	}
	u := url.URL{Scheme: scheme, Host: host.String()}
	if host.Is6() {
		u.Host = "[" + u.Host + "]"
	}
	if at.Port() != usual {
		u.Host += ":" + strconv.Itoa(int(at.Port()))
	}
	return u.String()
}

// machineAddr returns the address by which others most likely reach this
// machine: that of the default route, else the first that is not loopback, else
// 127.0.0.1.
func machineAddr() netip.Addr {
	for _, probe := range [...]string{"udp4:192.0.2.1:9", "udp6:[2001:db8::1]:9"} {
		network, addr, _ := strings.Cut(probe, ":")
		// Connecting a UDP socket only asks for the route; nothing is sent.
		if c, err := net.Dial(network, addr); err == nil {
			local := c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
			c.Close()
			if usableAddr(local) {
				return local
			}
		}
	}
	addrs, _ := net.InterfaceAddrs()
	var best netip.Addr
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || !usableAddr(p.Addr()) {
			continue
		}
		if !best.IsValid() || best.Is6() && p.Addr().Is4() {
			best = p.Addr()
		}
	}
	if best.IsValid() {
		return best
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

func usableAddr(a netip.Addr) bool {
	return a.IsValid() && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsUnspecified() && !a.IsMulticast()
}

// hostPort returns host and port of a URL, the port also where it is the usual.
func hostPort(text string) (host string, port int) {
	u, err := url.Parse(text)
	if err != nil {
		return "", 0
	}
	port = 80
	if u.Scheme == "https" {
		port = 443
	}
	if p := u.Port(); p != "" {
		port, _ = strconv.Atoi(p)
	}
	return u.Hostname(), port
}

func hasScheme(text, scheme string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Scheme == scheme
}
