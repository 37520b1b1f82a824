package lint

import (
	"bufio"
	"fmt"
	"go/ast"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A Size is the length of one file or function.
type Size struct {
	Kind  string // "file" or "func"
	Name  string // "wire/nats/conn.go" or "wire/nats.(*conn).readLoop"
	Lines int
	Test  bool
}

// Sizes measures all files and functions but generated ones.
func Sizes(pkgs []*Package) []Size {
	var all []Size
	for _, p := range pkgs {
		for _, f := range p.Files {
			if f.generated() {
				continue
			}
			all = append(all, Size{"file", f.Path, f.Lines, f.Test})
			for _, decl := range f.Syntax.Decls {
				if fn, ok := decl.(*ast.FuncDecl); ok {
					lines := f.Line(fn.End()) - f.Line(fn.Pos()) + 1
					all = append(all, Size{"func", p.Path + "." + funcName(fn), lines, f.Test})
				}
			}
		}
	}
	return all
}

// funcName names a function as a stack trace does, "(*conn).readLoop".
func funcName(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return fn.Name.Name
	}
	typ, star := fn.Recv.List[0].Type, false
	for {
		switch t := typ.(type) {
		case *ast.StarExpr:
			typ, star = t.X, true
			continue
		case *ast.IndexExpr: // a generic receiver
			typ = t.X
			continue
		case *ast.IndexListExpr:
			typ = t.X
			continue
		case *ast.Ident:
			if star {
				return "(*" + t.Name + ")." + fn.Name.Name
			}
			return t.Name + "." + fn.Name.Name
		}
		return "?." + fn.Name.Name
	}
}

// Percentile is the smallest size that is not under q of all, 0 if there are
// none.
func Percentile(sizes []Size, kind string, test bool, q float64) int {
	var lines []int
	for _, s := range sizes {
		if s.Kind == kind && s.Test == test {
			lines = append(lines, s.Lines)
		}
	}
	if len(lines) == 0 {
		return 0
	}
	slices.Sort(lines)
	return lines[int(math.Ceil(q*float64(len(lines))))-1]
}

// limits is what sizes.txt says.
type limits struct {
	most        map[string]int        // by kind
	percentiles []percentileLimit     // over code, not tests
	listed      map[string]listedSize // by kind, a space and name
}

type percentileLimit struct {
	kind    string
	percent int
	lines   int
}

type listedSize struct {
	lines  int
	reason string
}

// readLimits parses sizes.txt, whose own comments give its grammar.
func readLimits(r io.Reader) (limits, error) {
	l := limits{most: map[string]int{}, listed: map[string]listedSize{}}
	in := bufio.NewScanner(r)
	for n := 1; in.Scan(); n++ {
		text := strings.TrimSpace(in.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		if err := l.addLine(strings.Fields(text)); err != nil {
			return limits{}, fmt.Errorf("read line %d of sizes: %w", n, err)
		}
	}
	if err := in.Err(); err != nil {
		return limits{}, fmt.Errorf("read sizes: %w", err)
	}
	return l, nil
}

// addLine takes the words of one line.
func (l *limits) addLine(words []string) error {
	if len(words) < 3 {
		return fmt.Errorf("got %d words, want three or more", len(words))
	}
	lines, err := strconv.Atoi(words[2])
	if err != nil || lines <= 0 {
		return fmt.Errorf("got %q, want a number of lines", words[2])
	}
	percent, isPercentile := strings.CutPrefix(words[0], "p")
	switch {
	case words[0] == "limit":
		l.most[words[1]] = lines
	case words[0] == "file" || words[0] == "func":
		if len(words) < 6 {
			return fmt.Errorf("%s is listed without a reason (three words or more)", words[1])
		}
		l.listed[words[0]+" "+words[1]] = listedSize{lines, strings.Join(words[3:], " ")}
	case isPercentile:
		p, err := strconv.Atoi(percent)
		if err != nil || p < 1 || p > 100 {
			return fmt.Errorf("got %q, want a percentile like p90", words[0])
		}
		l.percentiles = append(l.percentiles, percentileLimit{words[1], p, lines})
	default:
		return fmt.Errorf("got %q, want limit, file, func or a percentile", words[0])
	}
	return nil
}

// check compares sizes with the limits. A listed size may shrink, but not
// grow, and leaves the list when it is under the limit for all.
func (l *limits) check(sizes []Size) []Finding {
	var all []Finding
	add := func(s Size, format string, args ...any) {
		all = append(all, Finding{s.Name, 0, "size", s.Kind, fmt.Sprintf(format, args...)})
	}
	seen := make(map[string]bool)
	for _, s := range sizes {
		most := l.most[s.Kind]
		listed, ok := l.listed[s.Kind+" "+s.Name]
		switch {
		case ok && s.Lines <= most:
			add(s, "%s has %d lines, so it can leave sizes.txt", s.Kind, s.Lines)
		case ok && s.Lines > listed.lines:
			add(s, "%s has %d lines, sizes.txt allows it %d", s.Kind, s.Lines, listed.lines)
		case !ok && s.Lines > most:
			add(s, "%s has %d lines, want at most %d: split it by responsibility, or give a reason in sizes.txt", s.Kind, s.Lines, most)
		}
		seen[s.Kind+" "+s.Name] = true
	}
	for key := range l.listed {
		if !seen[key] {
			kind, name, _ := strings.Cut(key, " ")
			add(Size{Kind: kind, Name: name}, "%s is in sizes.txt but not in the tree", kind)
		}
	}
	for _, p := range l.percentiles {
		if got := Percentile(sizes, p.kind, false, float64(p.percent)/100); got > p.lines {
			add(Size{Kind: p.kind, Name: "tree"}, "p%d of %s lines is %d, want at most %d", p.percent, p.kind, got, p.lines)
		}
	}
	slices.SortFunc(all, func(a, b Finding) int { return strings.Compare(a.Path, b.Path) })
	return all
}
