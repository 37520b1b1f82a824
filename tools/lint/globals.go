package lint

import (
	"fmt"
	"go/ast"
	"go/token"
)

// checkGlobals finds package variables that change: those assigned to in a
// function, and those whose type exists to be shared and changed. Constants
// that Go has no const for, sentinels and pools are none.
//
// Names are matched without scopes. A local variable that has the name of a
// package's variable is seen as that variable, which is a fault as well.
func checkGlobals(p *Package) []Finding {
	if program(top(p.Path)) {
		return nil
	}
	var all []Finding
	add := func(f *File, n ast.Node, name, format string, args ...any) {
		all = append(all, Finding{f.Path, f.Line(n.Pos()), "global", name, fmt.Sprintf(format, args...)})
	}
	globals := make(map[string]bool)
	for _, f := range p.Files {
		for _, spec := range packageVars(f) {
			for _, name := range spec.Names {
				globals[name.Name] = name.Name != "_"
				if typ := sharedType(spec); typ != "" {
					add(f, name, name.Name, "%s is a %s for the whole process: make it a field of what needs it", name.Name, typ)
				}
			}
		}
	}
	for _, f := range p.Files {
		if f.Test {
			continue
		}
		ast.Inspect(f.Syntax, func(n ast.Node) bool {
			var left []ast.Expr
			switch n := n.(type) {
			case *ast.AssignStmt:
				if n.Tok != token.DEFINE {
					left = n.Lhs
				}
			case *ast.IncDecStmt:
				left = []ast.Expr{n.X}
			}
			for _, e := range left {
				if name := rootName(e); globals[name] {
					add(f, n, name, "%s is a variable of the package and changes: make it a field of what needs it", name)
				}
			}
			return true
		})
	}
	return all
}

// packageVars are the variables declared by a file outside of functions.
func packageVars(f *File) []*ast.ValueSpec {
	var specs []*ast.ValueSpec
	for _, decl := range f.Syntax.Decls {
		if gen, ok := decl.(*ast.GenDecl); ok && gen.Tok == token.VAR && !f.Test {
			for _, spec := range gen.Specs {
				if v, ok := spec.(*ast.ValueSpec); ok {
					specs = append(specs, v)
				}
			}
		}
	}
	return specs
}

// sharedType names the type of a variable, if it is one of sync or atomic that
// is there to change. A Pool is a cache that nobody can tell from none.
func sharedType(spec *ast.ValueSpec) string {
	typ := spec.Type
	if typ == nil && len(spec.Values) > 0 {
		if lit, ok := spec.Values[0].(*ast.CompositeLit); ok {
			typ = lit.Type
		}
	}
	if index, ok := typ.(*ast.IndexExpr); ok { // atomic.Pointer[T]
		typ = index.X
	}
	sel, ok := typ.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	pkg, ok := sel.X.(*ast.Ident)
	if !ok || pkg.Name != "sync" && pkg.Name != "atomic" || sel.Sel.Name == "Pool" {
		return ""
	}
	return pkg.Name + "." + sel.Sel.Name
}

// rootName is the variable that an assignment to e changes, "" if that is
// reached through a call or a pointer's target.
func rootName(e ast.Expr) string {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x.Name
		case *ast.IndexExpr:
			e = x.X
		case *ast.SelectorExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return ""
		}
	}
}
