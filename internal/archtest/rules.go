package archtest

import "regexp"

// A Layer is a group of packages and what it may import from this module.
type Layer struct {
	// Name is how other layers refer to this one.
	Name string
	// Dirs are the folders of the layer, relative to the module's root. The
	// longest match decides, so a folder inside another layer's can be a
	// layer of its own. "." is the root package alone.
	Dirs []string
	// May names the layers that its packages may import. A layer may always
	// import itself.
	May []string
	// TestMay names what its tests may import on top.
	TestMay []string
	// Pure layers hold types and codecs only: no I/O, no clock, no goroutine.
	Pure bool
}

// Layers are the arrows of docs/architecture.md: cmd → node | server | relay →
// policy | filter → wire, with the relay's client usable by the node and the
// leaf helpers of internal usable by all that do I/O.
var Layers = []Layer{
	{Name: "wire", Dirs: []string{"wire"}, Pure: true},
	{Name: "internal", Dirs: []string{"internal"}, May: []string{"wire"}},
	{Name: "policy", Dirs: []string{"policy"}, May: []string{"wire"}, Pure: true},
	{Name: "filter", Dirs: []string{"filter"}, May: []string{"wire", "policy", "internal"}},
	// cork is what client and server share: a socket that gathers writes.
	{Name: "relay/client", Dirs: []string{"relay/client", "relay/internal/cork"}, May: []string{"wire", "internal"}},
	{Name: "relay", Dirs: []string{"relay"}, May: []string{"wire", "internal", "relay/client"}},
	{Name: "node", Dirs: []string{"node"}, May: []string{"wire", "internal", "policy", "filter", "relay/client"}, TestMay: []string{"relay"}},
	{Name: "server", Dirs: []string{"server"}, May: []string{"wire", "internal", "policy", "filter", "relay/client", "relay"}},
	{Name: "library", Dirs: []string{"."}, May: []string{"wire", "internal", "node"}},
	{Name: "bench", Dirs: []string{"bench"}, May: []string{"wire", "internal", "relay/client"}},
	{Name: "cmd", Dirs: []string{"cmd"}, May: []string{"wire", "internal", "policy", "filter", "relay/client", "relay", "node", "server", "bench"}},
	{Name: "tests", Dirs: []string{"e2e", "lab", "demo"}, May: []string{"wire", "internal", "policy", "filter", "relay/client", "relay", "node", "server", "library"}},
}

// forbiddenModules never appear in an import of this module, nor in its
// go.mod: the wire formats here are written from descriptions, not from the
// programs that they come from.
var forbiddenModules = []string{
	"tailscale.com",
	"github.com/tailscale",
	"github.com/juanfont/headscale",
	"github.com/netbirdio",
	"github.com/slackhq/nebula",
}

// allowedModules are exceptions to forbiddenModules.
var allowedModules = []string{
	"github.com/tailscale/hujson", // JSON with comments; not part of the mesh
}

// testOnlyModules may be imported by tests only.
var testOnlyModules = []string{
	"github.com/flynn/noise",
	"github.com/google/go-cmp",
	"pgregory.net/rapid",
	"testing",
}

// impureImports may not be imported by a pure layer, nor may packages below
// them, unless pureImports lets them.
var impureImports = []string{
	"net", "os", "io/ioutil", "log", "syscall", "plugin", "unsafe",
	"golang.org/x/net", "golang.org/x/sys",
}

// pureImports are exceptions to impureImports: data types without I/O.
var pureImports = []string{"net/netip", "net/url", "log/slog"}

// clockCalls are the functions of package time that read or wait for a clock.
var clockCalls = []string{
	"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer",
}

// The size limits, in lines. A hard limit holds for each; at most one in
// softShare may be above a soft limit.
const (
	maxFileLines  = 800
	softFileLines = 500
	maxFuncLines  = 120
	softFuncLines = 40
	softShare     = 10
)

// forbiddenText is text that belongs to a machine the source was once on, or
// to the hosts that packages come from. The words are joined here so that this
// file does not contain them.
var forbiddenText = []string{
	"/wo" + "rk/",
	"/root/" + "go",
	"proxy." + "golang.org",
	"sum." + "golang.org",
	"registry." + "npmjs.org",
	"deb." + "debian.org",
}

// forbiddenWords match text that speaks of how the source came about or of what is
// still to be done, and not of what it is.
var forbiddenWords = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK|A` + `I|L` + `LM|Cla` + `ude|Anth` + `ropic|OpenA` + `I|Chat` + `GPT|Co` + `pilot)\b` +
	`|\b[Ii]ssue #?[0-9]`)

// skipAnywhere are test files that may skip in continuous integration too.
var skipAnywhere = []string{
	"node/path/bench_test.go",         // counting allocations means nothing under the race detector
	"node/path/udpbatch/conn_test.go", // a machine may have no IPv6
	"node/route/router_linux_test.go", // a helper process, no test
}

// textFiles are the names or endings of files that the text rule reads.
var textFiles = []string{
	".go", ".md", ".mod", ".sh", ".service", ".yml", ".yaml", ".json", ".txt", ".sql", ".html", ".toml", ".conf",
	".default", "Makefile", "LICENSE", "run",
}
