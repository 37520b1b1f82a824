package lint

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// The package has no importer, so its tests are inside it and nothing is
// exported for them.

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// parseTree makes packages of files written one after the other, each headed
// by "-- path --".
func parseTree(t *testing.T, text string) []*Package {
	t.Helper()
	var pkgs []*Package
	byPath := make(map[string]*Package)
	for i, part := range strings.Split("\n"+text, "\n-- ") {
		if i == 0 {
			require.Empty(t, strings.TrimSpace(part), "text before the first file")
			continue
		}
		path, src, ok := strings.Cut(part, " --\n")
		require.True(t, ok, "a file starts with -- path --, got %q", part)
		folder := folderOf(path)
		f, err := parseFile(folder, last(path), path, src+"\n")
		require.NoError(t, err)
		p := byPath[folder]
		if p == nil {
			p = &Package{Path: folder, Name: strings.TrimSuffix(f.Syntax.Name.Name, "_test")}
			byPath[folder] = p
			pkgs = append(pkgs, p)
		}
		p.Files = append(p.Files, f)
	}
	return pkgs
}

// TestRules shows that each rule sees what it should and nothing else: the
// files of testdata/rules hold small trees and the findings expected of them.
// Commands: check rule=R (findings of one rule), import (lines "from to", with
// -test for tests), sizes (sizes.txt, then a tree).
func TestRules(t *testing.T) {
	datadriven.Walk(t, "testdata/rules", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var out strings.Builder
			switch d.Cmd {
			case "check":
				var rule string
				d.ScanArgs(t, "rule", &rule)
				for _, f := range Check(parseTree(t, d.Input)) {
					if f.Rule == rule {
						fmt.Fprintln(&out, f)
					}
				}
			case "import":
				for line := range strings.SplitSeq(d.Input, "\n") {
					from, to, _ := strings.Cut(line, " ")
					why := forbidden(from, to, d.HasArg("test"))
					if why == "" {
						why = "may"
					}
					fmt.Fprintf(&out, "%s -> %s: %s\n", from, to, why)
				}
			case "sizes":
				text, tree, _ := strings.Cut(d.Input, "\n-- ")
				l, err := readLimits(strings.NewReader(text))
				if err != nil {
					return err.Error() + "\n"
				}
				for _, f := range l.check(Sizes(parseTree(t, "-- "+tree))) {
					fmt.Fprintln(&out, f)
				}
			default:
				d.Fatalf(t, "unknown command %s", d.Cmd)
			}
			if out.Len() == 0 {
				return "nothing\n"
			}
			return out.String()
		})
	})
}

// TestExcuse wants that an exception covers its own place and matter only, and
// that one without a use is handed back.
func TestExcuse(t *testing.T) {
	findings := []Finding{
		{Path: "wire/nats/conn.go", Rule: "clock", What: "time.Now"},
		{Path: "wire/nats/conn.go", Rule: "door", What: "os.Open"},
		{Path: "wire/stan/conn.go", Rule: "clock", What: "time.Now"},
		{Path: "segment/log.go", Rule: "clock", What: "time.Since"},
	}
	rest, idle := excuse(findings, []exception{
		{rule: "clock", where: "wire/nats", what: "time.Now", reason: "deadlines"},
		{rule: "clock", where: "segment/...", reason: "below"},
		{rule: "clock", where: "index", reason: "nobody"},
	})
	require.Equal(t, findings[1:3], rest)
	require.Len(t, idle, 1)
	require.Equal(t, "index", idle[0].where)
	for _, e := range everyException() {
		require.NotEmpty(t, e.reason, "exception of %s", e.where)
	}
}

// TestHomePath tries the pattern on lines that are somebody's folder and on
// lines that only look alike.
func TestHomePath(t *testing.T) {
	re := homePath()
	for _, s := range []string{"see /ho" + "me/ann/leat", "`/ro" + "ot/go`", "(/Us" + "ers/Ann/x)", `C:\Us` + `ers\ann`, "/wo" + "rk/main"} {
		require.Regexp(t, re, s)
	}
	for _, s := range []string{"segment/work/main", "GET /home", "the root/branch", "/homeland", "/var/lib/leat"} {
		require.NotRegexp(t, re, s)
	}
}

// TestPercentile compares with percentiles counted by hand.
func TestPercentile(t *testing.T) {
	var sizes []Size
	for i := 10; i >= 1; i-- {
		sizes = append(sizes, Size{Kind: "file", Lines: i * 10})
	}
	sizes = append(sizes, Size{Kind: "file", Lines: 5000, Test: true}, Size{Kind: "func", Lines: 7000})
	require.Equal(t, 90, Percentile(sizes, "file", false, .9))
	require.Equal(t, 100, Percentile(sizes, "file", false, .99))
	require.Equal(t, 50, Percentile(sizes, "file", false, .5))
	require.Zero(t, Percentile(nil, "file", false, .9))
}
