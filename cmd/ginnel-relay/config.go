package main

import (
	"flag"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/ginnel/ginnel/internal/cli"
	"github.com/ginnel/ginnel/relay/mesh"
)

// Ways to get a certificate.
const (
	certSelfSigned = "self-signed"
	certManual     = "manual"
	certACME       = "acme"
)

// config is the command line.
type config struct {
	listen, httpListen, stunListen string
	hostname                       string
	dataDir, keyFile               string

	certMode, certFile, certKeyFile, acmeEmail, acmeDirectory string

	meshKeyFile, meshWith string
	verifyURL             string
	verifyFailOpen        bool
	acceptLimit           float64
	acceptBurst           int
	writeTimeout          time.Duration
	queueBytes            int
	home                  string

	regionID               int
	regionCode, regionName string

	logLevel, logFormat string

	level slog.Level  // of logLevel
	peers []mesh.Peer // of meshWith
}

// envPrefix starts the names of environment variables that stand for flags.
const envPrefix = "GINNEL_RELAY"

// define names the flags.
func (c *config) define(fs *flag.FlagSet) {
	fs.StringVar(&c.listen, "listen", ":443", "`address` to serve the relay on, over TLS")
	fs.StringVar(&c.httpListen, "http-listen", "", "`address` for plain HTTP, such as :80: connectivity checks, ACME challenges; empty for none")
	fs.StringVar(&c.stunListen, "stun-listen", ":3478", "UDP `address` to answer STUN on; empty for none")
	fs.StringVar(&c.hostname, "hostname", "", "`name` or address by which nodes reach this relay")
	fs.StringVar(&c.dataDir, "data-dir", "/var/lib/ginnel-relay", "`directory` of the relay's key and certificates")
	fs.StringVar(&c.keyFile, "key-file", "", "`file` of the relay's private key, made if missing (default relay.key in the data directory)")
	fs.StringVar(&c.certMode, "cert-mode", certSelfSigned, "where the certificate comes from: self-signed (nodes need the printed pin), manual or acme")
	fs.StringVar(&c.certFile, "cert", "", "`file` of the certificate chain, for --cert-mode=manual; read again when it changes")
	fs.StringVar(&c.certKeyFile, "cert-key", "", "`file` of the certificate's private key, for --cert-mode=manual")
	fs.StringVar(&c.acmeEmail, "acme-email", "", "`address` told to the certificate authority, for --cert-mode=acme")
	fs.StringVar(&c.acmeDirectory, "acme-directory", "", "`URL` of another certificate authority than Let's Encrypt")
	fs.StringVar(&c.meshKeyFile, "mesh-key-file", "", "`file` of the 64 hex digits that the relays of one region share")
	fs.StringVar(&c.meshWith, "mesh-with", "", "other relays of the region: `host[/dialhost][=pin],...`")
	fs.StringVar(&c.verifyURL, "verify-client-url", "", "`URL` to ask, by POST, whether a client may use the relay; empty admits all")
	fs.BoolVar(&c.verifyFailOpen, "verify-client-url-fail-open", true, "admit clients while that URL cannot be reached")
	fs.Float64Var(&c.acceptLimit, "accept-limit", 0, "new connections a `second` taken at most; 0 for any number")
	fs.IntVar(&c.acceptBurst, "accept-burst", 100, "`number` of connections taken at once before --accept-limit counts")
	fs.DurationVar(&c.writeTimeout, "write-timeout", 2*time.Second, "how long a client may take in nothing before it is cut off")
	fs.IntVar(&c.queueBytes, "queue-bytes", 4<<20, "`bytes` queued for one client before the oldest packets are dropped")
	fs.StringVar(&c.home, "home", "", "what / shows: empty for a short page, blank, or a `URL` to go to")
	fs.IntVar(&c.regionID, "region-id", 900, "`number` of the region in the printed relay map entry")
	fs.StringVar(&c.regionCode, "region-code", "custom", "short `name` of the region in that entry")
	fs.StringVar(&c.regionName, "region-name", "Custom relay", "long `name` of the region in that entry")
	fs.StringVar(&c.logLevel, "log-level", "info", "debug, info, warn or error")
	fs.StringVar(&c.logFormat, "log-format", "text", "text or json")
}

// check finds what is wrong before anything is opened.
func (c *config) check() error {
	if c.keyFile == "" {
		c.keyFile = filepath.Join(c.dataDir, "relay.key")
	}
	for name, addr := range map[string]string{"listen": c.listen, "http-listen": c.httpListen, "stun-listen": c.stunListen} {
		if addr == "" && name != "listen" {
			continue
		}
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return cli.Usagef("--%s %q: want host:port or :port", name, addr)
		}
	}
	if err := c.checkCert(); err != nil {
		return err
	}
	if c.verifyURL != "" {
		if u, err := url.Parse(c.verifyURL); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return cli.Usagef("--verify-client-url %q: want an http or https URL", c.verifyURL)
		}
	}
	if c.home != "" && c.home != "blank" {
		if u, err := url.Parse(c.home); err != nil || u.Host == "" {
			return cli.Usagef("--home %q: want blank, a URL, or nothing", c.home)
		}
	}
	if c.acceptLimit < 0 || c.acceptBurst < 1 {
		return cli.Usagef("--accept-limit must not be below 0, nor --accept-burst below 1")
	}
	if c.writeTimeout <= 0 {
		return cli.Usagef("--write-timeout must be above 0")
	}
	if c.regionID < 1 || c.regionID > 65535 {
		return cli.Usagef("--region-id %d: want 1 to 65535; 900 to 999 are for self-hosters", c.regionID)
	}
	if err := c.level.UnmarshalText([]byte(c.logLevel)); err != nil {
		return cli.Usagef("--log-level %q: want debug, info, warn or error", c.logLevel)
	}
	if c.logFormat != "text" && c.logFormat != "json" {
		return cli.Usagef("--log-format %q: want text or json", c.logFormat)
	}
	return c.checkMesh()
}

// checkCert checks the flags about the certificate.
func (c *config) checkCert() error {
	_, err := netip.ParseAddr(c.hostname)
	isAddr := err == nil
	switch c.certMode {
	case certSelfSigned:
	case certManual:
		if c.certFile == "" || c.certKeyFile == "" {
			return cli.Usagef("--cert-mode=manual needs --cert and --cert-key")
		}
		if c.hostname == "" {
			return cli.Usagef("--cert-mode=manual needs --hostname, the name in the certificate")
		}
	case certACME:
		if c.hostname == "" || isAddr || !strings.Contains(c.hostname, ".") {
			return cli.Usagef("--cert-mode=acme needs --hostname with a public DNS name, not %q", c.hostname)
		}
	default:
		return cli.Usagef("--cert-mode %q: want %s, %s or %s", c.certMode, certSelfSigned, certManual, certACME)
	}
	return nil
}

// checkMesh checks the flags about other relays.
func (c *config) checkMesh() (err error) {
	if c.peers, err = mesh.ParsePeers(c.meshWith); err != nil {
		return cli.Usagef("--mesh-with: %v", err)
	}
	if len(c.peers) > 0 && c.meshKeyFile == "" {
		return cli.Usagef("--mesh-with needs --mesh-key-file")
	}
	return nil
}

// logger makes the logger that the flags ask for.
func (c *config) logger(w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: c.level}
	if c.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
