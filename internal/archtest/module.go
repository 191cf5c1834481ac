package archtest

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// A Module is the parsed source of one Go module.
type Module struct {
	// Path is the module path that go.mod names.
	Path string
	// Requires are the module paths in go.mod's require blocks.
	Requires []string
	// Replaces are the module paths that go.mod replaces.
	Replaces []string
	// Files are all Go files, tests included, in path order.
	Files []*File
	// Texts are all files that the text rule reads, in path order.
	Texts []Text
}

// A File is one parsed Go file.
type File struct {
	// Name is the path below the module's root, with slashes.
	Name string
	// Test tells whether the name ends in _test.go.
	Test bool
	// Generated tells whether the file says that a program wrote it.
	Generated bool
	// Lines is the number of lines.
	Lines int

	fset *token.FileSet
	ast  *ast.File
}

// A Text is the content of one text file.
type Text struct {
	Name    string
	Content string
}

// A Problem is one broken rule at one place.
type Problem struct {
	// Rule names the check.
	Rule string
	// Where is a file, with a line when there is one, or a package folder.
	Where string
	// What says what is wrong.
	What string
}

// String returns the problem as "where: what (rule)".
func (p Problem) String() string { return p.Where + ": " + p.What + " (" + p.Rule + ")" }

// Dir returns the folder of the file, "." for the module's root.
func (f *File) Dir() string { return path.Dir(f.Name) }

func (f *File) at(pos token.Pos) string {
	return f.Name + ":" + strconv.Itoa(f.fset.Position(pos).Line)
}

// imports calls yield with every import path and its place.
func (f *File) imports(yield func(importPath, where string)) {
	for _, spec := range f.ast.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err == nil {
			yield(p, f.at(spec.Pos()))
		}
	}
}

// Load reads and parses the module at the root of fsys. Folders that are
// modules of their own, testdata, hidden folders and those whose name begins
// with an underscore are left out, as the go command leaves them out; bin and
// dist hold build results and are left out too.
func Load(fsys fs.FS) (*Module, error) {
	goMod, err := fs.ReadFile(fsys, "go.mod")
	if err != nil {
		return nil, fmt.Errorf("read go.mod: %w", err)
	}
	m := &Module{}
	m.parseGoMod(string(goMod))
	if m.Path == "" {
		return nil, errors.New("go.mod names no module")
	}
	err = fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if skipDir(fsys, name) {
				return fs.SkipDir
			}
			return nil
		}
		return m.add(fsys, name)
	})
	return m, err
}

func skipDir(fsys fs.FS, name string) bool {
	if name == "." || name == ".ci" {
		return false
	}
	base := path.Base(name)
	if base == "testdata" || base == "bin" || base == "dist" || base == "node_modules" ||
		strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
		return true
	}
	_, err := fs.Stat(fsys, path.Join(name, "go.mod"))
	return err == nil
}

func (m *Module) add(fsys fs.FS, name string) error {
	isText := slices.ContainsFunc(textFiles, func(end string) bool {
		return strings.HasSuffix(name, end)
	})
	if !isText {
		return nil
	}
	content, err := fs.ReadFile(fsys, name)
	if err != nil {
		return err
	}
	m.Texts = append(m.Texts, Text{Name: name, Content: string(content)})
	if !strings.HasSuffix(name, ".go") {
		return nil
	}
	f, err := parseFile(name, content)
	if err != nil {
		return err
	}
	m.Files = append(m.Files, f)
	return nil
}

func parseFile(name string, content []byte) (*File, error) {
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, name, content, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", name, err)
	}
	return &File{
		Name:      name,
		Test:      strings.HasSuffix(name, "_test.go"),
		Generated: ast.IsGenerated(tree),
		Lines:     strings.Count(string(content), "\n"),
		fset:      fset,
		ast:       tree,
	}, nil
}

// localName returns the name under which the file knows a package of the standard
// library, empty if it does not import it.
func (f *File) localName(importPath string) string {
	for _, spec := range f.ast.Imports {
		if spec.Path.Value != strconv.Quote(importPath) {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return path.Base(importPath)
	}
	return ""
}

// parseGoMod reads the module path and the required and replaced module paths. It
// knows the two forms of each that the go command writes.
func (m *Module) parseGoMod(text string) {
	add := func(verb string, words []string) {
		switch {
		case len(words) == 0:
		case verb == "module":
			m.Path = words[0]
		case verb == "require":
			m.Requires = append(m.Requires, words[0])
		case verb == "replace":
			m.Replaces = append(m.Replaces, words[0])
		}
	}
	block := ""
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "//")
		f := strings.Fields(line)
		switch {
		case len(f) == 0:
		case f[0] == ")":
			block = ""
		case block != "":
			add(block, f)
		case len(f) > 1 && f[1] == "(":
			block = f[0]
		default:
			add(f[0], f[1:])
		}
	}
}
