package archtest

import (
	"go/ast"
	"slices"
)

// CheckSkips finds tests that may be skipped anywhere: a run that tested nothing
// would pass. A function that skips must look at the environment's CI and fail there
// instead; skipAnywhere lists the files in which a skip says nothing of that kind.
func CheckSkips(m *Module) []Problem {
	var out []Problem
	for _, f := range m.Files {
		if slices.Contains(skipAnywhere, f.Name) {
			continue
		}
		for name, fn := range f.functions {
			skips, looks := 0, false
			var first ast.Node
			ast.Inspect(fn, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CallExpr:
					sel, ok := n.Fun.(*ast.SelectorExpr)
					if ok && slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, sel.Sel.Name) {
						if skips++; first == nil {
							first = n
						}
					}
				case *ast.BasicLit:
					looks = looks || n.Value == `"CI"`
				}
				return true
			})
			if skips > 0 && !looks {
				out = append(out, Problem{"skips", f.at(first.Pos()), name + " skips without looking at CI, where it must fail"})
			}
		}
	}
	return out
}
