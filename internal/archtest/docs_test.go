package archtest

import (
	"os"
	"path"
	"strings"
	"testing"
)

const architectureDoc = "../../docs/architecture.md"

// arrowLine writes a layer the way docs/architecture.md does.
func arrowLine(l Layer) string {
	may := strings.Join(l.May, " ")
	if may == "" {
		may = "nothing"
	}
	if len(l.TestMay) > 0 {
		may += "; its tests also " + strings.Join(l.TestMay, " ")
	}
	return l.Name + " -> " + may
}

// TestArchitectureDocument keeps docs/architecture.md true: it names the same
// arrows as the table, and every package that exists.
func TestArchitectureDocument(t *testing.T) {
	raw, err := os.ReadFile(architectureDoc)
	if err != nil {
		t.Fatal(err)
	}
	doc := string(raw)
	for _, l := range Layers {
		if !strings.Contains(doc, "\n"+arrowLine(l)+"\n") {
			t.Errorf("docs/architecture.md lacks the line %q", arrowLine(l))
		}
	}
	m, err := Load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, f := range m.Files {
		dir := f.Dir()
		if seen[dir] || strings.Contains(doc, "`"+dir+"`") {
			continue
		}
		seen[dir] = true
		if path.Base(dir) != "." {
			t.Errorf("docs/architecture.md does not say what `%s` is for", dir)
		}
	}
}

// TestDependencyDocument keeps docs/dependencies.md true: every module that is
// imported is there with its reason, and none is there that is not imported.
func TestDependencyDocument(t *testing.T) {
	raw, err := os.ReadFile("../../docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "| `"); ok {
			name, _, _ := strings.Cut(rest, "`")
			documented = append(documented, name)
		}
	}
	m, err := Load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, f := range m.Files {
		f.imports(func(p, where string) {
			first, _, _ := strings.Cut(p, "/")
			if !strings.Contains(first, ".") || under(p, m.Path) {
				return
			}
			for _, d := range documented {
				if under(p, d) {
					used[d] = true
					return
				}
			}
			t.Errorf("%s: docs/dependencies.md does not say why %s is needed", where, p)
		})
	}
	for _, d := range documented {
		if !used[d] {
			t.Errorf("docs/dependencies.md lists %s, which nothing imports", d)
		}
	}
}
