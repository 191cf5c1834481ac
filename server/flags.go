package server

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/tailscale/hujson"

	"github.com/ginnel/ginnel/internal/cli"
)

// EnvPrefix begins the names of environment variables: --data-dir is also
// GINNEL_SERVER_DATA_DIR.
const EnvPrefix = "GINNEL_SERVER"

// Flags registers a flag for every setting, and --config for a file with them.
// A flag's default is what c holds.
func (c *Config) Flags(fs *flag.FlagSet) {
	fs.StringVar(&c.DataDir, "data-dir", c.DataDir, "`directory` that holds everything the server keeps")
	fs.StringVar(&c.Socket, "socket", c.Socket, "`path` of the admin socket (default "+AdminSocketName+" in the data directory)")
	fs.Var((*listValue)(&c.Listen), "listen", "TCP `addresses` to serve, separated by commas; each serves HTTP and TLS")
	fs.StringVar(&c.URL, "url", c.URL, "`URL` by which nodes reach the server (default: the machine's first address)")
	fs.StringVar(&c.TLSCert, "tls-cert", c.TLSCert, "PEM `file` with the certificate chain for the URL's host")
	fs.StringVar(&c.TLSKey, "tls-key", c.TLSKey, "PEM `file` with the certificate's private key")
	fs.StringVar(&c.ACMEHost, "acme-host", c.ACMEHost, "public host `name` to get a certificate for automatically; needs port 80 or 443")
	fs.StringVar(&c.ACMEEmail, "acme-email", c.ACMEEmail, "`address` that the certificate authority may write to")
	fs.StringVar(&c.ACMEDirectory, "acme-directory", c.ACMEDirectory, "directory `URL` of the certificate authority (default Let's Encrypt)")
	fs.BoolVar(&c.Relay, "relay", c.Relay, "run the embedded relay")
	fs.StringVar(&c.RelayAddr, "relay-addr", c.RelayAddr, "`host:port` where nodes reach the relay by TLS (default: as in the URL)")
	fs.IntVar(&c.RelayRegion, "relay-region", c.RelayRegion, "`number` of the embedded relay's region")
	fs.StringVar(&c.STUN, "stun", c.STUN, "UDP `address` of the STUN service; empty for none")
	fs.StringVar(&c.DERPMapFile, "derp-map", c.DERPMapFile, "JSON `file` with more relay regions")
	fs.Var((*prefixValue)(&c.IPv4Range), "ipv4-range", "IPv4 `range` of node addresses")
	fs.Var((*prefixValue)(&c.IPv6Range), "ipv6-range", "IPv6 `range` of node addresses")
	fs.StringVar(&c.BaseDomain, "base-domain", c.BaseDomain, "DNS `name` under which nodes are named")
	fs.Var((*durationValue)(&c.NodeKeyExpiry), "node-key-expiry", "`time` after which a user's node must log in again, such as 180d; 0 is never")
	fs.Var((*durationValue)(&c.EphemeralTimeout), "ephemeral-timeout", "`time` after which an ephemeral node that is offline is removed")
	fs.BoolVar(&c.RequireApproval, "require-approval", c.RequireApproval, "new devices wait for an administrator's approval")
	fs.Var((*durationValue)(&c.AuditKeep), "audit-keep", "`time` for which the audit log keeps records; 0 is for ever")
	fs.StringVar(&c.MetricsListen, "metrics-listen", c.MetricsListen, "TCP `address` for /metrics and /healthz alone (default: /metrics on --listen, for this machine only)")
	fs.Var((*levelValue)(&c.LogLevel), "log-level", "least `level` to log: debug, info, warn or error")
	fs.StringVar(&c.LogFormat, "log-format", c.LogFormat, "log `format`: text or json")
	fs.String("config", "", "HuJSON or JSON `file` with any of these settings, named like the flags")
}

// Parse sets flags from args, the environment and the file named by --config, in
// this order of precedence. fs must hold the flags that Flags registers.
func Parse(fs *flag.FlagSet, args []string) error {
	if err := fs.Parse(args); err != nil {
		return err
	}
	return ParseEnv(fs)
}

// ParseEnv is Parse for a flag set that has parsed its arguments.
func ParseEnv(fs *flag.FlagSet) error {
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	file := fs.Lookup("config").Value.String()
	if file == "" {
		file = os.Getenv(cli.EnvName(EnvPrefix, "config"))
	}
	// What a variable or the file sets is not "given" for the next source, so
	// the weakest comes first.
	if file != "" {
		if err := parseFile(fs, file, given); err != nil {
			return err
		}
	}
	return cli.SetFromEnv(fs, EnvPrefix)
}

// parseFile sets the flags that a file names, but for those given already.
func parseFile(fs *flag.FlagSet, file string, given map[string]bool) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	defer f.Close()
	err = parseHuJSON(f, func(name, value string) error {
		fl := fs.Lookup(name)
		switch {
		case fl == nil || name == "config":
			return fmt.Errorf("there is no setting %q%s", name, suggest(fs, name))
		case given[name]:
			return nil
		}
		if err := fl.Value.Set(value); err != nil {
			return fmt.Errorf("setting %q: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("configuration file %s: %w", file, err)
	}
	return nil
}

// parseHuJSON calls set with every member of an object in HuJSON. A list becomes
// its elements separated by commas.
func parseHuJSON(r io.Reader, set func(name, value string) error) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	v, err := hujson.Parse(text)
	if err != nil {
		return err
	}
	obj, ok := v.Value.(*hujson.Object)
	if !ok {
		return errors.New("the file must hold one object, { \"setting\": value, ... }")
	}
	var errs []error
	for _, m := range obj.Members {
		name := m.Name.Value.(hujson.Literal).String()
		value, err := settingText(m.Value)
		if err == nil {
			err = set(name, value)
		} else {
			err = fmt.Errorf("setting %q: %w", name, err)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("line %d: %w", 1+strings.Count(string(text[:m.Name.StartOffset]), "\n"), err))
		}
	}
	return errors.Join(errs...)
}

// settingText is the text of a value, as it would stand on the command line.
func settingText(v hujson.Value) (string, error) {
	switch v := v.Value.(type) {
	case hujson.Literal:
		switch v.Kind() {
		case '"':
			return v.String(), nil
		case 't', 'f', '0':
			return string(v), nil
		}
	case *hujson.Array:
		var parts []string
		for _, e := range v.Elements {
			part, err := settingText(e)
			if err != nil {
				return "", err
			}
			parts = append(parts, part)
		}
		return strings.Join(parts, ","), nil
	}
	return "", errors.New("the value must be text, a number, true, false or a list of these")
}

// suggest returns ", did you mean ..." when a flag's name is close.
func suggest(fs *flag.FlagSet, name string) string {
	var names []string
	fs.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
	if near := cli.Suggest(name, names); near != "" {
		return fmt.Sprintf(", did you mean %q?", near)
	}
	return ""
}

// listValue is a flag that holds texts separated by commas.
type listValue []string

func (v *listValue) String() string { return strings.Join(*v, ",") }
func (v *listValue) Set(s string) error {
	*v = nil
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			*v = append(*v, part)
		}
	}
	return nil
}

// prefixValue is a flag that holds an address range.
type prefixValue netip.Prefix

func (v *prefixValue) String() string { return netip.Prefix(*v).String() }
func (v *prefixValue) Set(s string) error {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return fmt.Errorf("%q is not an address range such as 100.64.0.0/10", s)
	}
	*v = prefixValue(p)
	return nil
}

// durationValue is a flag that holds a time span, also in days.
type durationValue time.Duration

func (v *durationValue) String() string {
	d := time.Duration(*v)
	if day := 24 * time.Hour; d != 0 && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	return d.String()
}

func (v *durationValue) Set(s string) error {
	d, err := ParseDuration(s)
	if err != nil {
		return err
	}
	*v = durationValue(d)
	return nil
}

// ParseDuration reads a time span such as 90m, 24h or 180d.
func ParseDuration(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a time span such as 90m, 24h or 180d", s)
	}
	return d, nil
}

// levelValue is a flag that holds a log level.
type levelValue slog.Level

func (v *levelValue) String() string { return strings.ToLower(slog.Level(*v).String()) }
func (v *levelValue) Set(s string) error {
	var l slog.Level
	if err := l.UnmarshalText([]byte(s)); err != nil {
		return fmt.Errorf("%q is not one of debug, info, warn, error", s)
	}
	*v = levelValue(l)
	return nil
}
