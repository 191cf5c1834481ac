package archtest

import (
	"fmt"
	"go/ast"
	"go/token"
	"strings"
)

// CheckDocs finds exported names of libraries without a doc comment. A function's
// or type's begins with its name, as godoc has it; for constants and variables one
// comment may serve a whole group. Methods of unexported types and test files are
// not looked at.
func CheckDocs(m *Module) []Problem {
	var out []Problem
	for _, f := range m.Files {
		if f.Test || f.Generated || f.ast.Name.Name == "main" {
			continue
		}
		for _, d := range f.ast.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && exportedReceiver(d) {
					out = append(out, f.undocumented(d.Name, d.Doc)...)
				}
			case *ast.GenDecl:
				out = append(out, f.undocumentedSpecs(d)...)
			}
		}
	}
	return out
}

// undocumentedSpecs checks the types, constants and variables of one declaration.
func (f *File) undocumentedSpecs(d *ast.GenDecl) []Problem {
	var out []Problem
	for _, spec := range d.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			doc := spec.Doc
			if doc == nil {
				doc = d.Doc
			}
			if spec.Name.IsExported() {
				out = append(out, f.undocumented(spec.Name, doc)...)
			}
		case *ast.ValueSpec:
			if d.Doc != nil || spec.Doc != nil || spec.Comment != nil || d.Tok == token.IMPORT {
				continue
			}
			for _, name := range spec.Names {
				if name.IsExported() {
					out = append(out, Problem{"docs", f.at(name.Pos()), name.Name + " has no doc comment"})
				}
			}
		}
	}
	return out
}

// undocumented checks the comment of a function or type.
func (f *File) undocumented(name *ast.Ident, doc *ast.CommentGroup) []Problem {
	text := strings.TrimSpace(doc.Text())
	if text == "" {
		return []Problem{{"docs", f.at(name.Pos()), name.Name + " has no doc comment"}}
	}
	for _, article := range []string{"A ", "An ", "The "} {
		text = strings.TrimPrefix(text, article)
	}
	if first, _, _ := strings.Cut(text, "\n"); !strings.HasPrefix(first, name.Name) {
		return []Problem{{"docs", f.at(name.Pos()), fmt.Sprintf("the comment of %s must begin with its name", name.Name)}}
	}
	return nil
}

// exportedReceiver reports whether fn is no method or one of an exported type.
func exportedReceiver(fn *ast.FuncDecl) bool {
	if fn.Recv == nil {
		return true
	}
	t := fn.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return false
		}
	}
}
