package lint

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The tests of this file hold the tree itself to the rules; rules_test.go
// shows that the rules see what they should.

const root = "../.."

// loadTree parses the module and the modules nested in it.
func loadTree(t *testing.T) []*Package {
	t.Helper()
	abs, err := filepath.Abs(root)
	require.NoError(t, err)
	pkgs, err := Load(t.Context(), abs, abs)
	require.NoError(t, err)
	require.NotEmpty(t, pkgs)
	nested, err := NestedModules(abs)
	require.NoError(t, err)
	for _, dir := range nested {
		more, err := Load(t.Context(), abs, dir)
		require.NoError(t, err)
		pkgs = append(pkgs, more...)
	}
	return pkgs
}

// report fails the test once for each finding, so that one run shows them all.
func report(t *testing.T, findings []Finding) {
	t.Helper()
	for _, f := range findings {
		t.Error(f)
	}
}

// TestLayers wants that no import, call or package breaks a rule of the house,
// but for the exceptions of allow.go, all of which must be in use. It parses
// every Go file of the tree.
func TestLayers(t *testing.T) {
	findings, idle := excuse(Check(loadTree(t)), everyException())
	report(t, findings)
	for _, e := range idle {
		t.Errorf("allow.go: exception of %s from %s %s excuses nothing any more; remove it", e.where, e.rule, e.what)
	}
}

// TestSizes wants that files and functions stay as short as sizes.txt says. It
// prints the percentiles that the file's numbers should follow down.
func TestSizes(t *testing.T) {
	file, err := os.Open("sizes.txt")
	require.NoError(t, err)
	defer func() { require.NoError(t, file.Close()) }()
	want, err := readLimits(file)
	require.NoError(t, err)
	sizes := Sizes(loadTree(t))
	for _, kind := range []string{"file", "func"} {
		for _, test := range []bool{false, true} {
			t.Logf("lines of %s, tests %-5v p50 %3d  p90 %3d  p99 %3d  most %3d", kind, test,
				Percentile(sizes, kind, test, .5), Percentile(sizes, kind, test, .9),
				Percentile(sizes, kind, test, .99), Percentile(sizes, kind, test, 1))
		}
	}
	report(t, want.check(sizes))
}

// TestTexts wants that nothing in the tree names folders of one machine. It
// reads every text file.
func TestTexts(t *testing.T) {
	findings, err := CheckTexts(root)
	require.NoError(t, err)
	report(t, findings)
}

// TestDocuments wants the documents that a newcomer is sent to.
func TestDocuments(t *testing.T) {
	for _, name := range []string{
		"README.md", "DESIGN.md", "CHANGELOG.md", "LICENSE",
		"segment/FORMAT.md", "wire/nats/PROTOCOL.md", "wire/stan/PROTOCOL.md",
	} {
		info, err := os.Stat(filepath.Join(root, name))
		if err != nil || info.Size() == 0 {
			t.Errorf("%s: is missing or empty: %v", name, err)
		}
	}
}
