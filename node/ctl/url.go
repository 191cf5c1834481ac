package ctl

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// secondDelay is the head start of the first way to connect over the second.
const secondDelay = 500 * time.Millisecond

// serverURL is the address of a coordination server.
type serverURL struct {
	base   string // scheme://host[:port], no trailing slash
	scheme string
	host   string // without port or brackets
	port   string // "" when the URL has none
	path   string // "" or a path that starts with a slash
}

// parseServerURL checks and takes apart a server URL.
func parseServerURL(raw string) (serverURL, error) {
	u, err := url.Parse(strings.TrimRight(strings.TrimSpace(raw), "/"))
	if err != nil {
		return serverURL{}, fmt.Errorf("server URL %q: %w", raw, err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return serverURL{}, fmt.Errorf("server URL %q is not of the form https://host or http://host:port", raw)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return serverURL{}, fmt.Errorf("server URL %q must have no user, query or fragment", raw)
	}
	return serverURL{base: u.String(), scheme: u.Scheme, host: u.Hostname(), port: u.Port(), path: u.Path}, nil
}

// CheckServerURL reports what is wrong with a URL as that of a server.
func CheckServerURL(raw string) error {
	_, err := parseServerURL(raw)
	return err
}

// authority is the Host header for the server's own scheme.
func (s serverURL) authority() string {
	if s.port == "" {
		if strings.Contains(s.host, ":") {
			return "[" + s.host + "]"
		}
		return s.host
	}
	return net.JoinHostPort(s.host, s.port)
}

// private reports whether the host is on this machine or a private network, so
// that its plain HTTP port has no TLS twin at 443. The addresses of the tailnet
// itself are not counted (wire document control, section 3.1).
func (s serverURL) private() bool {
	if s.host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(s.host)
	return err == nil && (ip.IsPrivate() || ip.IsLoopback())
}

// way is one way to connect for the upgrade.
type way struct {
	tls   bool
	port  string
	delay time.Duration // after the start, or at once when the way before failed
}

// ways returns how to connect for the upgrade, in order. The ports are those of
// section 3.1 of the wire document control. What the user wrote comes first: a
// server at an https URL is asked over TLS, and over plain HTTP only when that
// does not work, since a firewall that swallows port 80 should cost nothing.
func (s serverURL) ways() []way {
	if s.scheme == "https" {
		return []way{{tls: true, port: or(s.port, "443")}, {port: "80", delay: secondDelay}}
	}
	plain := way{port: or(s.port, "80")}
	if s.private() {
		return []way{plain}
	}
	return []way{plain, {tls: true, port: "443", delay: secondDelay}}
}

func or(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

// checkAuthURL reports what is wrong with a URL that the server wants shown to
// the user: it must be https, or http when the server itself is.
func (s serverURL) checkAuthURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return fmt.Errorf("the server sent a login URL that cannot be read: %w", err)
	}
	if u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && s.scheme == "http") {
		return fmt.Errorf("the server sent a login URL that is not safe to open: %.200q", raw)
	}
	return nil
}
