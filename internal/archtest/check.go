package archtest

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
)

// under reports whether p is dir or lies below it, by whole path elements.
func under(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, dir+"/")
}

func underAny(p string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(d string) bool { return under(p, d) })
}

// layerOf returns the layer of a folder, nil when no layer claims it.
func layerOf(dir string) *Layer {
	var best *Layer
	bestLen := -1
	for i := range Layers {
		for _, d := range Layers[i].Dirs {
			match := d == dir || d != "." && under(dir, d)
			if match && len(d) > bestLen {
				best, bestLen = &Layers[i], len(d)
			}
		}
	}
	return best
}

// CheckArrows finds imports that run against the layers, and packages that
// belong to no layer.
func CheckArrows(m *Module) []Problem {
	var out []Problem
	for _, f := range m.Files {
		from := layerOf(f.Dir())
		if from == nil {
			out = append(out, Problem{"arrows", f.Name, "folder " + f.Dir() + " belongs to no layer; add it to Layers and to docs/architecture.md"})
			continue
		}
		f.imports(func(p, where string) {
			if !under(p, m.Path) {
				return
			}
			dir := strings.TrimPrefix(strings.TrimPrefix(p, m.Path), "/")
			if dir == "" {
				dir = "."
			}
			to := layerOf(dir)
			testMay := f.Test && to != nil && slices.Contains(from.TestMay, to.Name)
			if to == nil || to == from || testMay || slices.Contains(from.May, to.Name) {
				return
			}
			out = append(out, Problem{"arrows", where, fmt.Sprintf("layer %s must not import %s of layer %s", from.Name, dir, to.Name)})
		})
	}
	return out
}

// CheckPure finds I/O, clocks and goroutines in the layers that must have
// none. Test files may do as they like.
func CheckPure(m *Module) []Problem {
	var out []Problem
	for _, f := range m.Files {
		l := layerOf(f.Dir())
		if l == nil || !l.Pure || f.Test {
			continue
		}
		f.imports(func(p, where string) {
			if underAny(p, impureImports) && !slices.Contains(pureImports, p) {
				out = append(out, Problem{"pure", where, "layer " + l.Name + " does no I/O and must not import " + p})
			}
		})
		clock := f.localName("time")
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				out = append(out, Problem{"pure", f.at(n.Pos()), "layer " + l.Name + " must not start goroutines"})
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == clock && slices.Contains(clockCalls, n.Sel.Name) {
					out = append(out, Problem{"pure", f.at(n.Pos()), "layer " + l.Name + " must not use the clock: time." + n.Sel.Name})
				}
			}
			return true
		})
	}
	return out
}

// CheckModules finds modules that must not be imported or required at all, and
// modules for tests that other code imports.
func CheckModules(m *Module) []Problem {
	forbidden := func(p string) bool {
		return underAny(p, forbiddenModules) && !underAny(p, allowedModules)
	}
	var out []Problem
	for _, r := range m.Requires {
		if forbidden(r) {
			out = append(out, Problem{"modules", "go.mod", "must not require " + r})
		}
	}
	for _, r := range m.Replaces {
		out = append(out, Problem{"modules", "go.mod", "must not replace " + r + ": who imports this module would not get it"})
	}
	for _, f := range m.Files {
		l := layerOf(f.Dir())
		testCode := f.Test || l != nil && l.Name == "tests" || isTestHelper(f.Dir())
		f.imports(func(p, where string) {
			switch {
			case forbidden(p):
				out = append(out, Problem{"modules", where, "must not import " + p})
			case !testCode && underAny(p, testOnlyModules):
				out = append(out, Problem{"modules", where, p + " is for tests only"})
			}
		})
	}
	return out
}

// isTestHelper reports whether the folder's name says that it holds helpers
// for tests: it begins or ends with "test", as in testing/fstest.
func isTestHelper(dir string) bool {
	base := path.Base(dir)
	return strings.HasPrefix(base, "test") || strings.HasSuffix(base, "test")
}

// CheckPackageComments finds packages without a comment that says what they
// are. A library's begins with "Package name", as godoc has it.
func CheckPackageComments(m *Module) []Problem {
	type pkg struct{ name, comment string }
	pkgs := map[string]*pkg{}
	var order []string
	for _, f := range m.Files {
		p := pkgs[f.Dir()]
		if p == nil {
			p = &pkg{}
			pkgs[f.Dir()] = p
			order = append(order, f.Dir())
		}
		if p.name == "" || !f.Test {
			p.name = f.ast.Name.Name
		}
		if f.ast.Doc != nil {
			p.comment += f.ast.Doc.Text()
		}
	}
	var out []Problem
	for _, dir := range order {
		p := pkgs[dir]
		switch {
		case strings.TrimSpace(p.comment) == "":
			out = append(out, Problem{"comments", dir, "package " + p.name + " has no package comment"})
		case p.name != "main" && !strings.HasPrefix(p.comment, "Package "+strings.TrimSuffix(p.name, "_test")):
			out = append(out, Problem{"comments", dir, "package comment must begin with \"Package " + p.name + "\""})
		}
	}
	return out
}

// CheckSizes finds files and functions over the hard limits, and reports all
// that are over a soft limit when they are more than one in softShare.
func CheckSizes(m *Module) []Problem {
	var out, softFiles, softFuncs []Problem
	files, funcs := 0, 0
	for _, f := range m.Files {
		if f.Generated {
			continue
		}
		files++
		switch {
		case f.Lines > maxFileLines:
			out = append(out, Problem{"sizes", f.Name, fmt.Sprintf("%d lines, the limit is %d; split it by idea", f.Lines, maxFileLines)})
			fallthrough
		case f.Lines > softFileLines:
			softFiles = append(softFiles, Problem{"sizes", f.Name, fmt.Sprintf("%d lines", f.Lines)})
		}
		for name, fn := range f.functions {
			funcs++
			n := f.line(fn.End()) - f.line(fn.Pos()) + 1
			where := f.at(fn.Pos())
			if n > maxFuncLines {
				out = append(out, Problem{"sizes", where, fmt.Sprintf("function %s has %d lines, the limit is %d", name, n, maxFuncLines)})
			}
			if n > softFuncLines {
				softFuncs = append(softFuncs, Problem{"sizes", where, fmt.Sprintf("function %s has %d lines", name, n)})
			}
		}
	}
	out = append(out, soft(softFiles, files, "files", softFileLines)...)
	return append(out, soft(softFuncs, funcs, "functions", softFuncLines)...)
}

func soft(over []Problem, total int, what string, limit int) []Problem {
	if len(over)*softShare <= total {
		return nil
	}
	head := Problem{"sizes", "module", fmt.Sprintf("%d of %d %s are over %d lines, at most one in %d may be", len(over), total, what, limit, softShare)}
	return append([]Problem{head}, over...)
}

// functions calls yield with every function that has a body, and with the values of
// package variables that are function literals.
func (f *File) functions(yield func(name string, fn ast.Node) bool) {
	for _, d := range f.ast.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Body != nil && !yield(d.Name.Name, d) {
				return
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				v, ok := spec.(*ast.ValueSpec)
				if !ok {
					continue
				}
				for i, e := range v.Values {
					if lit, ok := e.(*ast.FuncLit); ok && i < len(v.Names) && !yield(v.Names[i].Name, lit) {
						return
					}
				}
			}
		}
	}
}

func (f *File) line(pos token.Pos) int { return f.fset.Position(pos).Line }

// CheckText finds text that has no place in the repository.
func CheckText(m *Module) []Problem {
	var out []Problem
	for _, t := range m.Texts {
		n := 0
		for line := range strings.Lines(t.Content) {
			n++
			for _, word := range forbiddenText {
				if strings.Contains(line, word) {
					out = append(out, Problem{"text", t.Name + ":" + strconv.Itoa(n), "mentions " + word})
				}
			}
			if word := forbiddenWords.FindString(line); word != "" {
				out = append(out, Problem{"text", t.Name + ":" + strconv.Itoa(n), "mentions " + word})
			}
		}
	}
	return out
}
