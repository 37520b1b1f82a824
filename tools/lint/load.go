package lint

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Module is the path of the module that the rules are about.
const Module = "leat.dev/leat"

// A Package is one folder of Go files, tests included.
type Package struct {
	Path  string // from the root of the module, "wire/nats"; "." is the root
	Name  string // of the package clause
	Files []*File
}

// A File is one parsed Go file.
type File struct {
	Path    string // from the root of the module, "wire/nats/conn.go"
	Test    bool   // its name ends in _test.go
	Lines   int
	Syntax  *ast.File
	Imports []Import
	fset    *token.FileSet
}

// An Import is one import declaration.
type Import struct {
	Path string // as written
	Name string // by which the file knows it; "." and "_" as written
	Line int
}

// Base is the name of the file without its folder.
func (f *File) Base() string { return f.Path[strings.LastIndexByte(f.Path, '/')+1:] }

// Line is the line that pos is on.
func (f *File) Line(pos token.Pos) int { return f.fset.Position(pos).Line }

// listed is what go list tells about a package.
type listed struct {
	Dir            string
	ImportPath     string
	Name           string
	GoFiles        []string
	CgoFiles       []string
	IgnoredGoFiles []string // of other systems, or behind a build tag
	TestGoFiles    []string
	XTestGoFiles   []string
}

// Load parses every package of the module whose go.mod is in dir. Paths are
// made relative to root, which differs from dir for a nested module.
func Load(ctx context.Context, root, dir string) ([]*Package, error) {
	// -find leaves imports unresolved, so neither the network nor a package
	// that compiles is needed: the rules hold for what is written.
	cmd := exec.CommandContext(ctx, "go", "list", "-e", "-find",
		"-json=Dir,ImportPath,Name,GoFiles,CgoFiles,IgnoredGoFiles,TestGoFiles,XTestGoFiles", "./...")
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list packages of %s: %w: %s", dir, err, stderr.Bytes())
	}
	var pkgs []*Package
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var l listed
		if err := dec.Decode(&l); errors.Is(err, io.EOF) {
			return pkgs, nil
		} else if err != nil {
			return nil, fmt.Errorf("read output of go list: %w", err)
		}
		rel, err := filepath.Rel(root, l.Dir)
		if err != nil {
			return nil, fmt.Errorf("place package %s: %w", l.ImportPath, err)
		}
		p := &Package{Path: filepath.ToSlash(rel), Name: l.Name}
		names := slices.Concat(l.GoFiles, l.CgoFiles, l.IgnoredGoFiles, l.TestGoFiles, l.XTestGoFiles)
		slices.Sort(names)
		for _, name := range names {
			f, err := parseFile(p.Path, name, filepath.Join(l.Dir, name), nil)
			if err != nil {
				return nil, err
			}
			p.Files = append(p.Files, f)
			if p.Name == "" && !f.Test {
				p.Name = f.Syntax.Name.Name
			}
		}
		pkgs = append(pkgs, p)
	}
}

// parseFile reads one file. With src nil it is read from full.
func parseFile(folder, name, full string, src any) (*File, error) {
	fset := token.NewFileSet()
	syntax, err := parser.ParseFile(fset, full, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("parse %s/%s: %w", folder, name, err)
	}
	f := &File{
		Path:   strings.TrimPrefix(folder+"/"+name, "./"),
		Test:   strings.HasSuffix(name, "_test.go"),
		Lines:  fset.File(syntax.FileStart).LineCount(),
		Syntax: syntax,
		fset:   fset,
	}
	for _, spec := range syntax.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, fmt.Errorf("parse import of %s: %w", f.Path, err)
		}
		imp := Import{Path: path, Line: f.Line(spec.Pos())}
		if spec.Name != nil {
			imp.Name = spec.Name.Name
		} else {
			imp.Name = lastElement(path)
		}
		f.Imports = append(f.Imports, imp)
	}
	return f, nil
}

// lastElement guesses the name of the package at path: the last element that
// is no major version.
func lastElement(path string) string {
	parts := strings.Split(path, "/")
	last := parts[len(parts)-1]
	if len(parts) > 1 && len(last) > 1 && last[0] == 'v' && strings.Trim(last[1:], "0123456789") == "" {
		last = parts[len(parts)-2]
	}
	return last
}

// generated tells whether a tool wrote the file.
func (f *File) generated() bool { return ast.IsGenerated(f.Syntax) }
