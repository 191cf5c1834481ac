package server

import (
	"flag"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	wire "github.com/ginnel/ginnel/wire/control"
)

func TestDefaultConfigIsGood(t *testing.T) {
	c := DefaultConfig()
	if err := c.Check(); err != nil {
		t.Error(err)
	}
}

func TestConfigCheck(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Config)
		want   []string // nil: good
	}{
		"no data dir":       {func(c *Config) { c.DataDir = "" }, []string{"data-dir"}},
		"no address":        {func(c *Config) { c.Listen = nil }, []string{"listen"}},
		"address":           {func(c *Config) { c.Listen = []string{"8080"} }, []string{"listen", "host:port"}},
		"port":              {func(c *Config) { c.Listen = []string{":http"} }, []string{"listen", "http"}},
		"address twice":     {func(c *Config) { c.Listen = []string{":8080", ":8080"} }, []string{"listen", ":8080 is there twice"}},
		"all and one":       {func(c *Config) { c.Listen = []string{":80", "127.0.0.1:80"} }, []string{"listen", "overlap"}},
		"all IPv4 and one":  {func(c *Config) { c.Listen = []string{"0.0.0.0:80", "127.0.0.1:80"} }, []string{"listen", "overlap"}},
		"metrics on listen": {func(c *Config) { c.MetricsListen = "127.0.0.1:8080" }, []string{"listen", "overlap"}},
		"no overlap":        {func(c *Config) { c.Listen = []string{"0.0.0.0:80", "[::1]:80", ":0", ":0", "127.0.0.1:81"} }, nil},
		"URL scheme":        {func(c *Config) { c.URL = "ftp://x" }, []string{"url"}},
		"URL without one":   {func(c *Config) { c.URL = "mesh.example.com" }, []string{"url"}},
		"URL with path":     {func(c *Config) { c.URL = "https://x/y" }, []string{"url", "nothing more"}},
		"URL":               {func(c *Config) { c.URL = "https://mesh.example.com/" }, nil},
		"half TLS":          {func(c *Config) { c.TLSCert = "x" }, []string{"tls-cert", "tls-key"}},
		"no such file":      {func(c *Config) { c.TLSCert, c.TLSKey = "/none", "/none" }, []string{"tls-cert", "/none"}},
		"both certificates": {func(c *Config) { c.TLSCert, c.TLSKey, c.ACMEHost = "a", "b", "x.example.com" }, []string{"exclude"}},
		"ACME for address":  {func(c *Config) { c.ACMEHost = "192.0.2.1" }, []string{"acme-host", "host name"}},
		"ACME other host":   {func(c *Config) { c.ACMEHost, c.URL = "a.example.com", "https://b.example.com" }, []string{"acme-host", "b.example.com"}},
		"ACME":              {func(c *Config) { c.ACMEHost = "a.example.com" }, nil},
		"STUN":              {func(c *Config) { c.STUN = "x" }, []string{"stun"}},
		"relay address":     {func(c *Config) { c.RelayAddr = ":443" }, []string{"relay-addr"}},
		"relay region":      {func(c *Config) { c.RelayRegion = 0 }, []string{"relay-region"}},
		"relay map":         {func(c *Config) { c.DERPMapFile = "/none" }, []string{"derp-map", "/none"}},
		"range":             {func(c *Config) { c.IPv4Range = netip.MustParsePrefix("10.0.0.0/8") }, []string{"ipv4-range", "100.64.0.0/10"}},
		"base domain":       {func(c *Config) { c.BaseDomain = "Mesh" }, []string{"base-domain"}},
		"dots":              {func(c *Config) { c.BaseDomain = "mesh.internal." }, []string{"base-domain"}},
		"own name inside":   {func(c *Config) { c.BaseDomain, c.URL = "example.com", "https://mesh.example.com" }, []string{"base-domain", "mesh.example.com"}},
		"own name outside":  {func(c *Config) { c.BaseDomain, c.URL = "net.example.com", "https://mesh.example.com" }, nil},
		"key expiry":        {func(c *Config) { c.NodeKeyExpiry = -1 }, []string{"node-key-expiry"}},
		"audit":             {func(c *Config) { c.AuditKeep = -time.Second }, []string{"audit-keep"}},
		"ephemeral":         {func(c *Config) { c.EphemeralTimeout = time.Second }, []string{"ephemeral-timeout"}},
		"metrics":           {func(c *Config) { c.MetricsListen = "x" }, []string{"metrics-listen"}},
		"log format":        {func(c *Config) { c.LogFormat = "xml" }, []string{"log-format"}},
		"several":           {func(c *Config) { c.LogFormat, c.STUN = "xml", "x" }, []string{"log-format", "stun"}},
	} {
		c := DefaultConfig()
		tt.change(&c)
		err := c.Check()
		if tt.want == nil {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		for _, want := range tt.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v does not say %q", name, err, want)
			}
		}
	}
}

func TestCheckDataDir(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		dir: "", filepath.Join(dir, "a", "b"): "", file: "is not a directory", filepath.Join(file, "x"): "is not a directory",
		"/proc/none/x": "nothing can be made in /proc",
	} {
		c := DefaultConfig()
		c.DataDir = path
		err := c.CheckDataDir()
		if (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestConfigWarnings(t *testing.T) {
	for listen, warn := range map[string]bool{":8080": true, ":443": false, "192.0.2.1:80": false} {
		c := DefaultConfig()
		c.Listen, c.ACMEHost = []string{listen}, "mesh.example.com"
		if got := c.Warnings(); (len(got) > 0) != warn {
			t.Errorf("%s: %q", listen, got)
		}
		c.ACMEHost = ""
		if got := c.Warnings(); len(got) > 0 {
			t.Errorf("%s without ACME: %q", listen, got)
		}
	}
}

func newFlags(c *Config) *flag.FlagSet {
	fs := flag.NewFlagSet("test", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	c.Flags(fs)
	return fs
}

func TestPrecedence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "server.hujson")
	text := `{
		// comments and trailing commas are welcome
		"data-dir": "from-file",
		"url": "http://from-file",
		"base-domain": "file.internal",
		"listen": [":1", ":2"],
		"relay": false,
		"relay-region": 901,
		"log-level": "debug",
		"node-key-expiry": "30d",
	}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(EnvPrefix+"_CONFIG", file)
	t.Setenv(EnvPrefix+"_DATA_DIR", "from-env")
	t.Setenv(EnvPrefix+"_URL", "http://from-env")
	c := DefaultConfig()
	if err := Parse(newFlags(&c), []string{"--data-dir", "from-flag"}); err != nil {
		t.Fatal(err)
	}
	if c.DataDir != "from-flag" || c.URL != "http://from-env" || c.BaseDomain != "file.internal" {
		t.Errorf("data-dir %q, url %q, base-domain %q", c.DataDir, c.URL, c.BaseDomain)
	}
	if !slices.Equal(c.Listen, []string{":1", ":2"}) || c.Relay || c.RelayRegion != 901 || c.LogLevel != slog.LevelDebug || c.NodeKeyExpiry != 30*24*time.Hour {
		t.Errorf("%+v", c)
	}
}

func TestConfigFileErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		want []string
	}{
		"syntax":          {"{\n  \"url\": }", []string{"line 2"}},
		"no object":       {"[]", []string{"one object"}},
		"unknown setting": {"{\n\n  \"data-dri\": \"x\"}", []string{"line 3", "data-dri", `did you mean "data-dir"`}},
		"wrong type":      {`{"url": {}}`, []string{"line 1", "url"}},
		"wrong value":     {`{"relay-region": "many"}`, []string{"line 1", "relay-region"}},
		"null":            {`{"url": null}`, []string{"url"}},
		"nested config":   {`{"config": "x"}`, []string{"config"}},
		"two errors":      {"{\"a-b\": 1,\n\"ipv4-range\": \"x\"}", []string{"line 1", "line 2", "100.64.0.0/10"}},
	} {
		file := filepath.Join(t.TempDir(), "conf")
		if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		c := DefaultConfig()
		err := Parse(newFlags(&c), []string{"--config", file})
		for _, want := range append(tt.want, file) {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v does not say %q", name, err, want)
			}
		}
	}
	c := DefaultConfig()
	if err := Parse(newFlags(&c), []string{"--config", "/none"}); err == nil || !strings.Contains(err.Error(), "/none") {
		t.Errorf("no file: %v", err)
	}
}

func TestEnvironmentErrors(t *testing.T) {
	t.Setenv(EnvPrefix+"_LOG_LEVEL", "loud")
	c := DefaultConfig()
	if err := Parse(newFlags(&c), nil); err == nil || !strings.Contains(err.Error(), EnvPrefix+"_LOG_LEVEL") || !strings.Contains(err.Error(), "loud") {
		t.Errorf("%v", err)
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{"0": 0, "90m": 90 * time.Minute, "1d": 24 * time.Hour, "180d": 180 * 24 * time.Hour, "1h30m": 90 * time.Minute} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "d", "1.5d", "-1d", "x", "99999999d"} {
		if d, err := ParseDuration(text); err == nil {
			t.Errorf("%q was read as %s", text, d)
		}
	}
}

func TestPublicURL(t *testing.T) {
	at := func(text string) []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort(text)} }
	for _, tt := range []struct {
		c    Config
		at   string
		want string
	}{
		{Config{}, "192.0.2.1:8080", "http://192.0.2.1:8080"},
		{Config{}, "192.0.2.1:80", "http://192.0.2.1"},
		{Config{}, "[2001:db8::1]:8080", "http://[2001:db8::1]:8080"},
		{Config{}, "[::ffff:192.0.2.1]:8080", "http://192.0.2.1:8080"},
		{Config{TLSCert: "x"}, "192.0.2.1:443", "https://192.0.2.1"},
		{Config{ACMEHost: "mesh.example.com"}, "192.0.2.1:443", "https://mesh.example.com"},
		{Config{URL: "https://x.example.com/"}, "192.0.2.1:443", "https://x.example.com"},
	} {
		if got := tt.c.publicURL(at(tt.at)); got != tt.want {
			t.Errorf("%+v at %s: %s, want %s", tt.c, tt.at, got, tt.want)
		}
	}
	c := Config{}
	got := c.publicURL(at("[::]:8080"))
	host, port := hostPort(got)
	if a, err := netip.ParseAddr(host); err != nil || a.IsUnspecified() || port != 8080 {
		t.Errorf("a server on all addresses is at %s", got)
	}
}

func TestCheckDERPMap(t *testing.T) {
	node := func() *wire.DERPNode { return &wire.DERPNode{Name: "a", RegionID: 1, HostName: "x"} }
	region := func(n ...*wire.DERPNode) *wire.DERPRegion { return &wire.DERPRegion{RegionID: 1, Nodes: n} }
	good := &wire.DERPMap{Regions: map[int]*wire.DERPRegion{1: region(node())}}
	if err := checkDERPMap(good); err != nil {
		t.Error(err)
	}
	nameless, astray := node(), node()
	nameless.Name, astray.RegionID = "", 2
	for name, m := range map[string]map[int]*wire.DERPRegion{
		"none":        {},
		"null":        {1: nil},
		"wrong ID":    {2: region(node())},
		"no nodes":    {1: region()},
		"no name":     {1: region(nameless)},
		"null node":   {1: region(nil)},
		"other ID":    {1: region(astray)},
		"double name": {1: region(node(), node())},
		"huge ID":     {70000: {RegionID: 70000, Nodes: []*wire.DERPNode{node()}}},
	} {
		if err := checkDERPMap(&wire.DERPMap{Regions: m}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzConfigFile(f *testing.F) {
	f.Add(`{"url": "x", "listen": [":1"], /* c */ "relay": true,}`)
	f.Add(`{"a": [[1]], "b": null}`)
	f.Add(`[`)
	f.Fuzz(func(t *testing.T, text string) {
		n := 0
		err := parseHuJSON(strings.NewReader(text), func(string, string) error { n++; return nil })
		if err == nil && n > len(text) {
			t.Errorf("%d settings in %d bytes", n, len(text))
		}
	})
}
