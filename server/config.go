package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ginnel/ginnel/internal/connlimit"
	"github.com/ginnel/ginnel/server/maps"
	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/control"
)

// Config is how the server is to run. DefaultConfig returns one that works as it
// is.
type Config struct {
	// DataDir holds everything that the server keeps.
	DataDir string
	// Socket is the path of the admin socket; empty means AdminSocketName in
	// DataDir.
	Socket string
	// Listen are the TCP addresses to serve, each for HTTP and TLS.
	Listen []string
	// URL is how nodes reach the server, such as https://mesh.example.com. Empty
	// derives it from the first address of the machine.
	URL string

	// TLSCert and TLSKey are PEM files of a certificate for URL's host.
	TLSCert, TLSKey string
	// ACMEHost is a public host name to get a certificate for, automatically;
	// ACMEEmail is told about problems with it, ACMEDirectory is the
	// authority's directory URL, empty for Let's Encrypt.
	ACMEHost, ACMEEmail, ACMEDirectory string

	// Relay is whether the embedded relay runs. RelayAddr is the host:port where
	// nodes reach it, empty for the same as URL. STUN is the UDP address of the
	// STUN service, empty for none.
	Relay       bool
	RelayAddr   string
	RelayRegion int
	STUN        string
	// DERPMapFile is a JSON file with more relay regions, in the form of the
	// protocol's relay map.
	DERPMapFile string

	// IPv4Range and IPv6Range are where node addresses come from.
	IPv4Range, IPv6Range netip.Prefix
	// BaseDomain is the DNS name under which nodes are named.
	BaseDomain string

	NodeKeyExpiry    time.Duration // 0 is never
	EphemeralTimeout time.Duration
	RequireApproval  bool
	// AuditKeep is how long audit records are kept; 0 is for ever.
	AuditKeep time.Duration

	// MetricsListen is a TCP address for /metrics and /healthz alone. Empty
	// serves /metrics on Listen, to requests from this machine only.
	MetricsListen string

	// ListenTCP, ListenUDP and ListenAdmin open the sockets for nodes and the admin
	// socket in place of the system, for simulations. Nil asks the system.
	ListenTCP   func(addr string) (net.Listener, error)
	ListenUDP   func(addr string) (net.PacketConn, error)
	ListenAdmin func(path string) (net.Listener, error)
	// Lookup resolves the server's own host names, for nodes whose resolver does not; nil
	// asks the system.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)

	LogLevel  slog.Level
	LogFormat string // "text" or "json"
	// Logger, when not nil, is used in place of one made by LogLevel and
	// LogFormat.
	Logger *slog.Logger

	strangers connlimit.Limits // zero means strangerLimits
}

// AdminSocketName is the name of the admin socket in the data directory.
const AdminSocketName = "admin.sock"

// Defaults of Config.
const (
	DefaultListen        = ":8080"
	DefaultSTUN          = ":3478"
	DefaultRelayRegion   = 900
	DefaultNodeKeyExpiry = 180 * 24 * time.Hour
	// DefaultAuditKeep is a year and some weeks, for those who look back once a
	// year.
	DefaultAuditKeep = 400 * 24 * time.Hour
	// minEphemeralTimeout is longer than the time between two signs of life of
	// a map stream, so that a node is not removed while it reconnects.
	minEphemeralTimeout = 65 * time.Second
)

// DefaultConfig returns the configuration that runs without any settings.
func DefaultConfig() Config {
	return Config{
		DataDir:          defaultDataDir(),
		Listen:           []string{DefaultListen},
		Relay:            true,
		RelayRegion:      DefaultRelayRegion,
		STUN:             DefaultSTUN,
		IPv4Range:        tailnet.DefaultIPv4,
		IPv6Range:        tailnet.DefaultIPv6,
		BaseDomain:       maps.DefaultBaseDomain,
		NodeKeyExpiry:    DefaultNodeKeyExpiry,
		EphemeralTimeout: tailnet.DefaultEphemeralTimeout,
		AuditKeep:        DefaultAuditKeep,
		LogFormat:        "text",
	}
}

func defaultDataDir() string {
	if os.Geteuid() == 0 {
		return "/var/lib/ginnel-server"
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "ginnel-server-data"
	}
	return filepath.Join(home, ".local", "share", "ginnel-server")
}

// SocketPath returns the path of the admin socket.
func (c *Config) SocketPath() string {
	if c.Socket != "" {
		return c.Socket
	}
	return filepath.Join(c.DataDir, AdminSocketName)
}

// Check reports everything that is wrong with the configuration, each with the
// name of the setting. It reads the files that the configuration names and
// touches nothing else.
func (c *Config) Check() error {
	var errs []error
	bad := func(setting string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", setting, err))
		}
	}
	if c.DataDir == "" {
		bad("data-dir", errors.New("it is empty; name a directory to keep the server's data in"))
	}
	if len(c.Listen) == 0 {
		bad("listen", errors.New("no address to listen on; use a host:port such as "+DefaultListen))
	}
	for _, a := range c.Listen {
		bad("listen", checkHostPort(a, true))
	}
	bad("listen", c.checkOverlaps())
	bad("url", checkURL(c.URL))
	bad("tls-cert", c.checkTLS())
	bad("acme-host", c.checkACME())
	if c.STUN != "" {
		bad("stun", checkHostPort(c.STUN, true))
	}
	if c.RelayAddr != "" {
		bad("relay-addr", checkHostPort(c.RelayAddr, false))
	}
	if c.RelayRegion < 1 || c.RelayRegion > 65535 {
		bad("relay-region", fmt.Errorf("%d is not a number from 1 to 65535", c.RelayRegion))
	}
	if c.DERPMapFile != "" {
		_, err := readDERPMap(c.DERPMapFile)
		bad("derp-map", err)
	}
	bad("ipv4-range, ipv6-range", tailnet.CheckRanges(c.IPv4Range, c.IPv6Range))
	bad("base-domain", c.checkBaseDomain())
	if c.NodeKeyExpiry < 0 {
		bad("node-key-expiry", errors.New("it is negative; 0 is never"))
	}
	if c.EphemeralTimeout < minEphemeralTimeout {
		bad("ephemeral-timeout", fmt.Errorf("%s is too short: a node that only reconnects would be removed; use at least %s", c.EphemeralTimeout, minEphemeralTimeout))
	}
	if c.AuditKeep < 0 {
		bad("audit-keep", errors.New("it is negative; 0 is for ever"))
	}
	if c.MetricsListen != "" {
		bad("metrics-listen", checkHostPort(c.MetricsListen, true))
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		bad("log-format", fmt.Errorf("%q is neither text nor json", c.LogFormat))
	}
	return errors.Join(errs...)
}

// CheckDataDir reports why this user could not keep data in the data directory. It leaves
// nothing behind.
func (c *Config) CheckDataDir() error {
	dir, err := filepath.Abs(c.DataDir)
	if err != nil {
		return fmt.Errorf("data-dir: %w", err)
	}
	nearest := dir // that exists
	for {
		info, err := os.Stat(nearest)
		if err == nil && !info.IsDir() {
			return fmt.Errorf("data-dir: %s is not a directory", nearest)
		}
		if err == nil {
			break
		}
		up := filepath.Dir(nearest)
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) || up == nearest {
			return fmt.Errorf("data-dir: %w", err)
		}
		nearest = up
	}
	probe, err := os.MkdirTemp(nearest, ".ginnel-server-check-")
	if err == nil {
		err = os.Remove(probe)
	}
	if err != nil {
		return fmt.Errorf("data-dir: nothing can be made in %s (%w); name another, or run this as the user that the server runs as", nearest, err)
	}
	return nil
}

// Warnings returns what may be meant, but often is a mistake, each with the name of the
// setting.
func (c *Config) Warnings() (list []string) {
	if c.ACMEHost != "" && !slices.ContainsFunc(c.Listen, func(addr string) bool {
		_, port, err := net.SplitHostPort(addr)
		return err == nil && (port == "443" || port == "80")
	}) {
		list = append(list, "acme-host: "+acmePorts)
	}
	return list
}

// acmePorts is what to do when the certificate authority cannot reach the server by itself.
const acmePorts = "neither port 80 nor 443 is served, where the certificate authority looks: use --listen :443,:80, or forward one of them to this server"

// checkOverlaps looks for TCP addresses that cannot be listened on together.
func (c *Config) checkOverlaps() error {
	seen := slices.Clone(c.Listen)
	if c.MetricsListen != "" {
		seen = append(seen, c.MetricsListen)
	}
	for i, a := range seen {
		for _, b := range seen[:i] {
			if !overlap(a, b) {
				continue
			}
			if a == b {
				return fmt.Errorf("%s is there twice", a)
			}
			return fmt.Errorf("%s and %s overlap: name each port once", b, a)
		}
	}
	return nil
}

// overlap reports whether two TCP addresses cannot be listened on together.
func overlap(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false
	}
	ipA, errA := netip.ParseAddr(hostA)
	ipB, errB := netip.ParseAddr(hostB)
	all := func(host string, ip netip.Addr) bool { return host == "" || ip == netip.IPv6Unspecified() }
	switch {
	case hostA == hostB || all(hostA, ipA) || all(hostB, ipB):
		return true
	case errA != nil || errB != nil:
		return false // names: nobody knows yet
	}
	ipA, ipB = ipA.Unmap(), ipB.Unmap()
	return ipA == ipB || ipA.Is4() && ipB.Is4() && (ipA.IsUnspecified() || ipB.IsUnspecified())
}

// checkHostPort checks an address. To listen the host may be empty and the port
// 0; to be reached neither.
func checkHostPort(addr string, listen bool) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%q is not host:port, such as %s or 192.0.2.1:8080", addr, DefaultListen)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return fmt.Errorf("%q: the port %q is not a number from 0 to 65535", addr, port)
	}
	if !listen && (host == "" || n == 0) {
		return fmt.Errorf("%q must name a host and a port", addr)
	}
	return nil
}

func checkURL(text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return fmt.Errorf("%q is not a URL such as https://mesh.example.com or http://192.0.2.1:8080", text)
	}
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return fmt.Errorf("%q must be a scheme, a host and perhaps a port, nothing more", text)
	}
	return nil
}

func (c *Config) checkTLS() error {
	if c.TLSCert == "" && c.TLSKey == "" {
		return nil
	}
	if c.TLSCert == "" || c.TLSKey == "" {
		return errors.New("tls-cert and tls-key go together; one of them is missing")
	}
	if c.ACMEHost != "" {
		return errors.New("tls-cert and acme-host exclude each other")
	}
	_, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
	return err
}

func (c *Config) checkACME() error {
	if c.ACMEHost == "" {
		return nil
	}
	if _, err := netip.ParseAddr(c.ACMEHost); err == nil || !strings.Contains(c.ACMEHost, ".") || strings.ContainsAny(c.ACMEHost, ":/ ") {
		return fmt.Errorf("%q is not a public host name such as mesh.example.com", c.ACMEHost)
	}
	if c.URL != "" {
		if u, err := url.Parse(c.URL); err == nil && !strings.EqualFold(u.Hostname(), c.ACMEHost) {
			return fmt.Errorf("%q is not the host of url %s", c.ACMEHost, c.URL)
		}
	}
	return nil
}

// checkBaseDomain checks the base domain. Nodes answer for all of it themselves,
// so the server's own name must not be in it.
func (c *Config) checkBaseDomain() error {
	d := c.BaseDomain
	if d == "" || len(d) > 180 || strings.Trim(d, ".") != d || !strings.Contains(d, ".") {
		return fmt.Errorf("%q is not a DNS name such as %s", d, maps.DefaultBaseDomain)
	}
	for label := range strings.SplitSeq(d, ".") {
		if label == "" || label != control.SanitizeHostname(label) {
			return fmt.Errorf("%q: %q is not a DNS label in lower case", d, label)
		}
	}
	host := c.ACMEHost
	if u, err := url.Parse(c.URL); err == nil && c.URL != "" {
		host = u.Hostname()
	}
	host = strings.ToLower(host)
	if host == d || strings.HasSuffix(host, "."+d) {
		return fmt.Errorf("%q contains the server's own name %s: nodes answer for that domain themselves and could not find the server; use another, such as a subdomain", d, host)
	}
	return nil
}
