package lint

import (
	"fmt"
	"go/ast"
	"slices"
	"strings"
)

// A Finding is one place where a rule does not hold.
type Finding struct {
	Path string // file or package, from the root of the module
	Line int    // 0 is the whole file
	Rule string // "layer", "door", …
	What string // the import path or name that it is about, for exceptions
	Text string
}

func (f Finding) String() string {
	if f.Line == 0 {
		return fmt.Sprintf("%s: %s (%s)", f.Path, f.Text, f.Rule)
	}
	return fmt.Sprintf("%s:%d: %s (%s)", f.Path, f.Line, f.Text, f.Rule)
}

// Check applies every rule about packages. Exceptions are not taken out.
func Check(pkgs []*Package) []Finding {
	var all []Finding
	for _, p := range pkgs {
		all = append(all, checkPackage(p)...)
		all = append(all, checkGlobals(p)...)
		for _, f := range p.Files {
			for _, imp := range f.Imports {
				all = append(all, checkImport(p, f, imp)...)
			}
			all = append(all, checkUses(p, f)...)
		}
	}
	return all
}

// checkImport applies the layer table and the doors to one import.
func checkImport(p *Package, f *File, imp Import) []Finding {
	find := func(rule, format string, args ...any) []Finding {
		return []Finding{{f.Path, imp.Line, rule, imp.Path, fmt.Sprintf(format, args...)}}
	}
	if to, ours := strings.CutPrefix(imp.Path, Module+"/"); ours {
		if why := forbidden(p.Path, to, f.Test); why != "" {
			return find("layer", "%s may not import %s: %s", p.Path, to, why)
		}
		return nil
	}
	if pureCore(p.Path) && !f.Test && impureImports()[imp.Path] {
		return find("pure", "a pure core may not import %s: state, event and now go in, actions come out", imp.Path)
	}
	var all []Finding
	for _, d := range everyDoor() {
		if !inAny(d.paths, imp.Path) || inAny(d.except, imp.Path) {
			continue
		}
		ok := inAny(d.open, p.Path) || d.programsToo && program(top(p.Path))
		if f.Test && !ok {
			ok = d.tests == nil || inAny(d.tests, p.Path)
		}
		if !ok {
			where := "programs"
			if len(d.open) > 0 {
				where = strings.Join(d.open, ", ")
			} else if !d.programsToo {
				where = "nowhere"
			}
			all = append(all, find("door", "%s may not import %s: the door to %s is %s", p.Path, imp.Path, d.world, where)...)
		}
	}
	return all
}

// forbidden says why a package may not import another one of the module; ""
// is that it may. Paths are from the root of the module.
func forbidden(from, to string, test bool) string {
	if from == to { // the external test package of a folder
		return ""
	}
	a, b := top(from), top(to)
	ra, known := layerRank(a)
	if !known {
		return "folder " + a + " is not in the table of layers"
	}
	rb, known := layerRank(b)
	switch {
	case !known:
		return "folder " + b + " is not in the table of layers"
	case ra < rb:
		return b + " is above " + a
	case ra == rb && a != b && !program(a):
		return a + " and " + b + " do not know each other; programs introduce them"
	case pureCore(from) && !test && to != "segment/record" && !under(to, from) && a != b:
		return "a pure core knows nothing of the layers below but segment/record"
	case a != b || program(a):
		return ""
	}
	// Inside one folder.
	switch {
	case under(to, from):
		if childrenImplement(a) && from == a && !test {
			return "children of " + a + " implement its interfaces; it does not know them"
		}
		return "" // the parent composes its children
	case under(from, to):
		if childrenImplement(a) || test {
			return ""
		}
		return "a child does not know its parent, which composes it"
	case test:
		return "" // tests may put siblings together
	}
	return "siblings do not know each other"
}

// checkUses looks at calls and statements of one file: files, clocks,
// goroutines, raw atomics.
func checkUses(p *Package, f *File) []Finding {
	if f.Test || program(top(p.Path)) {
		return nil
	}
	var all []Finding
	add := func(n ast.Node, rule, what, format string, args ...any) {
		all = append(all, Finding{f.Path, f.Line(n.Pos()), rule, what, fmt.Sprintf(format, args...)})
	}
	pure := pureCore(p.Path)
	names := doorNames()
	paths := make(map[string]string) // by the name that the file knows the import by
	for _, imp := range f.Imports {
		paths[imp.Name] = imp.Path
	}
	inDefaults := false // set by the declaration that we are in
	ast.Inspect(f.Syntax, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Recv == nil && n.Name.Name == "init" {
				add(n, "init", "init", "no init below programs: what must be made is made by a constructor")
			}
			inDefaults = n.Name.Name == "EnsureDefaults"
		case *ast.GoStmt:
			if pure {
				add(n, "pure", "go", "a pure core may not start a goroutine")
			}
		case *ast.CallExpr:
			path, name := selected(n.Fun, paths)
			switch {
			case path != "time":
			case clockCalls()[name] && inDefaults:
				// A clock that Options left open gets its default.
			case clockCalls()[name]:
				add(n, "clock", "time."+name, "time.%s reads the clock: take a clock from Options", name)
			case pure && timerCalls()[name]:
				add(n, "pure", "time."+name, "a pure core may not call time.%s", name)
			}
		case *ast.SelectorExpr:
			path, name := selected(n, paths)
			if opens := names[path]; opens != nil && opens(name) && p.Path != "segment/vfs" {
				add(n, "door", path+"."+name, "%s may not use %s.%s: the door to files is segment/vfs", p.Path, path, name)
			}
			if path == "time" && name == "Now" && pure {
				add(n, "pure", "time.Now", "a pure core may not name time.Now")
			}
		}
		return true
	})
	return all
}

// selected resolves a selector of an imported package, "" if it is none.
// Local variables that shadow an import are rare enough to be told apart by
// renaming them.
func selected(e ast.Expr, paths map[string]string) (path, name string) {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok {
		return "", ""
	}
	id, ok := sel.X.(*ast.Ident)
	if !ok {
		return "", ""
	}
	return paths[id.Name], sel.Sel.Name
}

// checkPackage looks at the package as a whole: names, doc.go, goleak.
func checkPackage(p *Package) []Finding {
	var all []Finding
	add := func(path, rule, what, format string, args ...any) {
		all = append(all, Finding{path, 0, rule, what, fmt.Sprintf(format, args...)})
	}
	if p.Path == "." {
		return nil
	}
	if _, known := layerRank(top(p.Path)); !known {
		add(p.Path, "layer", top(p.Path), "folder %s is not in the table of layers", top(p.Path))
	}
	for elem := range strings.SplitSeq(p.Path, "/") {
		if emptyNames()[elem] {
			add(p.Path, "name", elem, "%q says nothing: a helper lives in the lowest package that needs it", elem)
		}
	}
	if emptyNames()[p.Name] && last(p.Path) != p.Name {
		add(p.Path, "name", p.Name, "%q says nothing", p.Name)
	}
	var code, tests, documented, spawns, leakTested bool
	for _, f := range p.Files {
		if f.Test {
			tests = true
			all = append(all, checkTestComments(f)...)
			leakTested = leakTested || slices.ContainsFunc(f.Imports, func(i Import) bool { return i.Path == "go.uber.org/goleak" })
			continue
		}
		code = true
		spawns = spawns || startsGoroutine(f)
		doc := f.Syntax.Doc.Text()
		switch {
		case f.Base() != "doc.go" && doc != "" && !f.generated():
			add(f.Path, "doc", "", "the comment of the package belongs to doc.go alone (put a blank line below this one if it is about the file)")
		case f.Base() == "doc.go" && doc == "":
			add(f.Path, "doc", "", "doc.go has no comment that touches the package clause, so go doc shows none")
		case f.Base() == "doc.go":
			documented = true
			if want := docStart(p); !strings.HasPrefix(doc, want) {
				add(f.Path, "doc", "", "comment of the package starts with %q, want %q", firstWords(doc), want)
			}
		}
	}
	if code && !documented && !slices.ContainsFunc(p.Files, func(f *File) bool { return f.Base() == "doc.go" }) {
		add(p.Path, "doc", "", "there is no doc.go")
	}
	if spawns && tests && !leakTested {
		add(p.Path, "goleak", "", "the package starts goroutines, so its TestMain needs goleak")
	}
	return all
}

// checkTestComments wants a comment on each test and fuzz target, above it or
// in it, that says its aim and method.
func checkTestComments(f *File) []Finding {
	var all []Finding
	for _, decl := range f.Syntax.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || fn.Recv != nil || fn.Doc != nil || fn.Name.Name == "TestMain" {
			continue
		}
		if !strings.HasPrefix(fn.Name.Name, "Test") && !strings.HasPrefix(fn.Name.Name, "Fuzz") {
			continue
		}
		if !slices.ContainsFunc(f.Syntax.Comments, func(c *ast.CommentGroup) bool { return fn.Pos() < c.Pos() && c.Pos() < fn.End() }) {
			all = append(all, Finding{f.Path, f.Line(fn.Pos()), "test", fn.Name.Name, fn.Name.Name + " has no comment that says its aim and method"})
		}
	}
	return all
}

// docStart is how the comment of a package begins.
func docStart(p *Package) string {
	if p.Name == "main" {
		return "Command " + last(p.Path) + " "
	}
	return "Package " + p.Name + " "
}

// firstWords cuts a comment short for a message.
func firstWords(doc string) string {
	words := strings.Fields(doc)
	return strings.Join(words[:min(3, len(words))], " ")
}

// startsGoroutine tells whether the file has a go statement.
func startsGoroutine(f *File) bool {
	found := false
	ast.Inspect(f.Syntax, func(n ast.Node) bool {
		if _, ok := n.(*ast.GoStmt); ok {
			found = true
		}
		return !found
	})
	return found
}

// top is the first element of a path, and last its last.
func top(path string) string {
	head, _, _ := strings.Cut(path, "/")
	return head
}

func last(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// under tells whether path is folder or below it.
func under(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

// inAny tells whether one of the patterns, "x" or "x/...", matches path.
func inAny(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		if folder, ok := strings.CutSuffix(pattern, "/..."); ok {
			return under(path, folder)
		}
		return pattern == path
	})
}
