package lint

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"unicode/utf8"
)

// textBytesMax is the largest file that is looked into: larger ones are data.
const textBytesMax = 1 << 20

// homePath matches a path of one person's or one machine's own folders. The
// brackets keep it from matching itself.
func homePath() *regexp.Regexp {
	return regexp.MustCompile(`(^|[\s"'=(:,` + "`" + `])(/(hom[e]/[a-z]|roo[t]/|User[s]/[A-Za-z]|wor[k]/)|[A-Z]:\\User[s]\\)`)
}

// CheckTexts looks into every text file of the tree for paths of home
// directories. Folders that git keeps out of the tree are skipped.
func CheckTexts(root string) ([]Finding, error) {
	var all []Finding
	re := homePath()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("walk tree: %w", err)
		}
		if d.IsDir() {
			switch d.Name() {
			case ".git", ".cache", "leat-data", "rapid": // rapid: what a failed test left
				return fs.SkipDir
			}
			return nil
		}
		if d.Name() == ".git" {
			return nil // a linked worktree's is a file, with a path in it
		}
		if info, err := d.Info(); err != nil || !info.Mode().IsRegular() || info.Size() > textBytesMax {
			return nil //nolint:nilerr // A file that goes away while we walk is no finding.
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read text: %w", err)
		}
		if !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 {
			return nil
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return fmt.Errorf("place %s: %w", path, err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			if m := re.FindString(line); m != "" {
				all = append(all, Finding{filepath.ToSlash(rel), i + 1, "home", "", "a path of somebody's own folders: " + strings.TrimSpace(m)})
			}
		}
		return nil
	})
	return all, err
}

// NestedModules returns the folders below root that have a go.mod.
func NestedModules(root string) ([]string, error) {
	var dirs []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return fmt.Errorf("walk tree: %w", err)
		case d.IsDir() && (d.Name() == ".git" || d.Name() == ".cache" || d.Name() == "testdata"):
			return fs.SkipDir
		case d.Name() == "go.mod" && filepath.Dir(path) != filepath.Clean(root):
			dirs = append(dirs, filepath.Dir(path))
		}
		return nil
	})
	return dirs, err
}
