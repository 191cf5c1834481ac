package archtest

import (
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// checks are all rules by name, as the tests below run them.
var checks = map[string]func(*Module) []Problem{
	"arrows":   CheckArrows,
	"pure":     CheckPure,
	"modules":  CheckModules,
	"comments": CheckPackageComments,
	"docs":     CheckDocs,
	"skips":    CheckSkips,
	"sizes":    CheckSizes,
	"text":     CheckText,
}

// TestRepository holds this repository to its own rules.
func TestRepository(t *testing.T) {
	m, err := Load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if m.Path != "github.com/ginnel/ginnel" || len(m.Files) < 20 {
		t.Fatalf("loaded module %q with %d files: not this repository", m.Path, len(m.Files))
	}
	for name, check := range checks {
		t.Run(name, func(t *testing.T) {
			for _, p := range check(m) {
				t.Error(p)
			}
		})
	}
}

const goodMod = "module example.com/m\n\nrequire (\n\tgo4.org/netipx v0.0.0\n)\n"

// source makes a module of the given files around a well-behaved package.
func source(files map[string]string) fstest.MapFS {
	fsys := fstest.MapFS{
		"go.mod":         {Data: []byte(goodMod)},
		"wire/a/a.go":    {Data: []byte("// Package a is fine.\npackage a\n\nimport _ \"net/netip\"\n")},
		"node/n/n.go":    {Data: []byte("// Package n is fine.\npackage n\n\nimport _ \"example.com/m/wire/a\"\n")},
		"other/go.mod":   {Data: []byte("module example.com/other\n")},
		"other/bad.go":   {Data: []byte("package bad\n\nimport _ \"tailscale.com/tsnet\"\n")},
		"bin/left.go":    {Data: []byte("not go")},
		"docs/README.md": {Data: []byte("# Fine\n")},
	}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return fsys
}

func lines(n int) string { return strings.Repeat("\t_ = 0\n", n) }

// badCases hold one broken rule each: every check must be able to fail.
var badCases = []struct {
	name, rule string
	files      map[string]string
	want       []string
}{
	{"node imports server", "arrows", map[string]string{
		"node/x/x.go": "// Package x is.\npackage x\n\nimport _ \"example.com/m/server/y\"\n",
	}, []string{"node/x/x.go:4: layer node must not import server/y of layer server (arrows)"}},
	{"server's test imports node", "arrows", map[string]string{
		"server/x_test.go": "// Package server is.\npackage server\n\nimport _ \"example.com/m/node/n\"\n",
	}, []string{"server/x_test.go:4: layer server must not import node/n of layer node (arrows)"}},
	{"server's outside test imports node", "arrows", map[string]string{
		"server/s.go":      "// Package server is.\npackage server\n",
		"server/x_test.go": "package server_test\n\nimport _ \"example.com/m/node/n\"\n",
	}, []string{"server/x_test.go:3: layer server must not import node/n of layer node (arrows)"}},
	{"node imports relay server", "arrows", map[string]string{
		"node/x/x.go":       "// Package x is.\npackage x\n\nimport _ \"example.com/m/relay\"\nimport _ \"example.com/m/relay/client\"\n",
		"node/x/x_test.go":  "package x\n\nimport _ \"example.com/m/relay\"\n",
		"relay/client/c.go": "// Package client is.\npackage client\n\nimport _ \"example.com/m/wire/a\"\n",
	}, []string{"node/x/x.go:4: layer node must not import relay of layer relay (arrows)"}},
	{"wire imports upward", "arrows", map[string]string{
		"wire/b/b.go": "// Package b is.\npackage b\n\nimport _ \"example.com/m/internal/c\"\n",
	}, []string{"wire/b/b.go:4: layer wire must not import internal/c of layer internal (arrows)"}},
	{"no layer", "arrows", map[string]string{
		"stray/s.go": "// Package stray is.\npackage stray\n",
	}, []string{"stray/s.go: folder stray belongs to no layer; add it to Layers and to docs/architecture.md (arrows)"}},
	{"wire does I/O", "pure", map[string]string{
		"wire/b/b.go":      "// Package b is.\npackage b\n\nimport (\n\t\"net/http\"\n\t\"net/netip\"\n\t\"time\"\n)\n\nfunc f() {\n\tgo f()\n\t_ = time.Now()\n}\n",
		"wire/b/b_test.go": "package b\n\nimport _ \"os\"\n",
	}, []string{
		"wire/b/b.go:5: layer wire does no I/O and must not import net/http (pure)",
		"wire/b/b.go:11: layer wire must not start goroutines (pure)",
		"wire/b/b.go:12: layer wire must not use the clock: time.Now (pure)",
	}},
	{"clock under another name", "pure", map[string]string{
		"wire/b/b.go": "// Package b is.\npackage b\n\nimport clock \"time\"\n\nvar now = clock.Now\n",
	}, []string{"wire/b/b.go:6: layer wire must not use the clock: time.Now (pure)"}},
	{"replaced module", "modules", map[string]string{
		"go.mod": goodMod + "replace go4.org/netipx => ../netipx\n\nreplace (\n\texample.com/x v1.0.0 => ./x\n)\n",
	}, []string{
		"go.mod: must not replace go4.org/netipx: who imports this module would not get it (modules)",
		"go.mod: must not replace example.com/x: who imports this module would not get it (modules)",
	}},
	{"names without comment", "docs", map[string]string{
		"node/x/x.go": "// Package x is.\npackage x\n\nfunc F() {}\n\n// does it.\nfunc G() {}\n\ntype T struct{}\n\nfunc (*T) M() {}\n\n" +
			"func (u) M() {}\n\ntype u int\n\nvar V int\n\nconst (\n\tA = 1 // fine\n\tB = 2\n)\n\n// The H is fine.\ntype H[E any] struct{}\n\nfunc (*H[E]) M() {}\n",
		"node/x/x_test.go": "package x\n\nfunc Helper() {}\n",
		"cmd/z/z.go":       "// Z is a program.\npackage main\n\nfunc F() {}\n",
	}, []string{
		"node/x/x.go:4: F has no doc comment (docs)",
		"node/x/x.go:7: the comment of G must begin with its name (docs)",
		"node/x/x.go:9: T has no doc comment (docs)",
		"node/x/x.go:11: M has no doc comment (docs)",
		"node/x/x.go:17: V has no doc comment (docs)",
		"node/x/x.go:21: B has no doc comment (docs)",
		"node/x/x.go:27: M has no doc comment (docs)",
	}},
	{"skips in CI", "skips", map[string]string{
		"node/x/x_test.go": "package x\n\nfunc TestA(t T) {\n\tt.Skip()\n}\n\nfunc TestB(t T) {\n\tif os.Getenv(\"CI\") == \"true\" {\n\t\tt.Fatal()\n\t}\n\tt.Skipf(\"x\")\n}\n",
	}, []string{"node/x/x_test.go:4: TestA skips without looking at CI, where it must fail (skips)"}},
	{"forbidden import", "modules", map[string]string{
		"node/x/x.go": "// Package x is.\npackage x\n\nimport _ \"tailscale.com/tailcfg\"\nimport _ \"github.com/tailscale/hujson\"\nimport _ \"github.com/flynn/noise\"\n",
	}, []string{
		"node/x/x.go:4: must not import tailscale.com/tailcfg (modules)",
		"node/x/x.go:6: github.com/flynn/noise is for tests only (modules)",
	}},
	{"forbidden requirement", "modules", map[string]string{
		"go.mod": goodMod + "require github.com/juanfont/headscale v1.0.0\n",
	}, []string{"go.mod: must not require github.com/juanfont/headscale (modules)"}},
	{"no comment", "comments", map[string]string{
		"node/x/x.go": "package x\n",
		"node/y/y.go": "// This package is.\npackage y\n",
		"cmd/z/z.go":  "package main\n",
	}, []string{
		"cmd/z: package main has no package comment (comments)",
		"node/x: package x has no package comment (comments)",
		"node/y: package comment must begin with \"Package y\" (comments)",
	}},
	{"too long", "sizes", map[string]string{
		"node/x/x.go":   "// Package x is.\npackage x\n\nfunc f() {\n" + lines(119) + "}\n",
		"node/x/big.go": "package x\n" + strings.Repeat("\n", 800),
		"node/x/gen.go": "// Code generated by x. DO NOT EDIT.\n\npackage x\n" + strings.Repeat("\n", 900),
	}, []string{
		"node/x/big.go: 801 lines, the limit is 800; split it by idea (sizes)",
		"node/x/x.go:4: function f has 121 lines, the limit is 120 (sizes)",
		"module: 1 of 4 files are over 500 lines, at most one in 10 may be (sizes)",
		"node/x/big.go: 801 lines (sizes)",
		"module: 1 of 1 functions are over 40 lines, at most one in 10 may be (sizes)",
		"node/x/x.go:4: function f has 121 lines (sizes)",
	}},
	{"too long under another form", "sizes", map[string]string{
		"node/x/x.go": "// Package x is.\npackage x\n\nvar f = func() {\n" + lines(119) + "}\n",
	}, []string{
		"node/x/x.go:4: function f has 121 lines, the limit is 120 (sizes)",
		"module: 1 of 1 functions are over 40 lines, at most one in 10 may be (sizes)",
		"node/x/x.go:4: function f has 121 lines (sizes)",
	}},
	{"one in ten", "sizes", map[string]string{
		"node/x/x.go": "// Package x is.\npackage x\n" + strings.Repeat("\nfunc _() {}\n", 8) + "\nfunc long() {\n" + lines(40) + "}\n",
	}, []string{
		"module: 1 of 9 functions are over 40 lines, at most one in 10 may be (sizes)",
		"node/x/x.go:20: function long has 42 lines (sizes)",
	}},
	{"unfinished, and of its making", "text", map[string]string{
		"node/x/x.go": "// Package x is.\npackage x\n\n// TO" + "DO: more.\n// See is" + "sue #2.\n",
		"docs/x.md":   "written by an A" + "I\nAIM is fine, as is a session\n",
	}, []string{
		"docs/x.md:1: mentions A" + "I (text)",
		"node/x/x.go:4: mentions TO" + "DO (text)",
		"node/x/x.go:5: mentions is" + "sue #2 (text)",
	}},
	{"machine's path", "text", map[string]string{
		"docs/x.md": "fine\nsee " + "/wo" + "rk/shared\n",
	}, []string{"docs/x.md:2: mentions " + "/wo" + "rk/ (text)"}},
}

func TestChecksCanFail(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range badCases {
		seen[c.rule] = true
		t.Run(c.name, func(t *testing.T) {
			m, err := Load(source(c.files))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range checks[c.rule](m) {
				got = append(got, p.String())
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
	for rule := range checks {
		if !seen[rule] {
			t.Errorf("no bad case for rule %s", rule)
		}
	}
}

// TestSoftLimitsAllowOneInTen has exactly as many long functions as there may be.
func TestSoftLimitsAllowOneInTen(t *testing.T) {
	m, err := Load(source(map[string]string{
		"node/x/x.go": "// Package x is.\npackage x\n" + strings.Repeat("\nfunc _() {}\n", 9) + "\nfunc long() {\n" + lines(40) + "}\n",
	}))
	if err != nil {
		t.Fatal(err)
	}
	if p := CheckSizes(m); len(p) != 0 {
		t.Errorf("one long function of ten: %v", p)
	}
}

func TestChecksPassGoodSource(t *testing.T) {
	m, err := Load(source(nil))
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Files) != 2 || len(m.Requires) != 1 {
		t.Fatalf("loaded %d files and %d requirements, want 2 and 1", len(m.Files), len(m.Requires))
	}
	for name, check := range checks {
		if p := check(m); len(p) != 0 {
			t.Errorf("%s: %v", name, p)
		}
	}
}

func TestLoadRefusesBrokenSource(t *testing.T) {
	if _, err := Load(source(map[string]string{"node/x/x.go": "package"})); err == nil {
		t.Error("a file that does not parse was accepted")
	}
	if _, err := Load(fstest.MapFS{}); err == nil {
		t.Error("a folder without go.mod was accepted")
	}
}

// TestLayersConsistent finds names in the table that mean nothing.
func TestLayersConsistent(t *testing.T) {
	names := map[string]bool{}
	for _, l := range Layers {
		names[l.Name] = true
	}
	for _, l := range Layers {
		for _, may := range l.May {
			if !names[may] {
				t.Errorf("layer %s may import %s, which is no layer", l.Name, may)
			}
		}
	}
}
