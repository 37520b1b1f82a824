package peer

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// A Program is a Go program of others at a fixed version.
type Program struct {
	Name    string // of the binary
	Path    string // import path
	Module  string // path of the module that holds it
	Version string
}

// Programs are what the comparison runs, and what a user of it may want at
// hand. The versions are part of the result, so they are fixed here.
func Programs() []Program {
	return []Program{
		{"nats-server", "github.com/nats-io/nats-server/v2", "github.com/nats-io/nats-server/v2", "v2.15.2"},
		{"nats-streaming-server", "github.com/nats-io/nats-streaming-server", "github.com/nats-io/nats-streaming-server", "v0.25.6"},
		{"stan-bench", "github.com/nats-io/stan.go/examples/stan-bench", "github.com/nats-io/stan.go", "v0.10.4"},
		{"stan-pub", "github.com/nats-io/stan.go/examples/stan-pub", "github.com/nats-io/stan.go", "v0.10.4"},
		{"stan-sub", "github.com/nats-io/stan.go/examples/stan-sub", "github.com/nats-io/stan.go", "v0.10.4"},
		{"nats", "github.com/nats-io/natscli/nats", "github.com/nats-io/natscli", "v0.5.1"},
	}
}

// BinDir is the default folder for installed programs.
func BinDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the user's cache folder (set HOME or XDG_CACHE_HOME): %w", err)
	}
	return filepath.Join(cache, "leat-bench", "bin"), nil
}

// Install puts every program into dir with go install, except those that are
// there at the right version. A line per program goes to progress.
func Install(ctx context.Context, dir string, programs []Program, progress io.Writer) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the folder for programs: %w", err)
	}
	for i, p := range programs {
		target := filepath.Join(dir, p.Name)
		have := installedVersion(target, p.Module)
		if have == p.Version {
			fmt.Fprintf(progress, "[%d/%d] %s %s is installed\n", i+1, len(programs), p.Name, p.Version)
			continue
		}
		fmt.Fprintf(progress, "[%d/%d] %s %s: go install %s@%s\n", i+1, len(programs), p.Name, p.Version, p.Path, p.Version)
		cmd := exec.CommandContext(ctx, "go", "install", p.Path+"@"+p.Version)
		cmd.Dir = dir // outside of any module, so that no go.mod takes part
		cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=", "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("install %s@%s: %w\n%s", p.Path, p.Version, err, lastBytes(out, 4000))
		}
	}
	return nil
}

// installedVersion reads the module version out of a Go binary, "" when the
// file is absent or is not one of that module.
func installedVersion(path, module string) string {
	info, err := buildinfo.ReadFile(path)
	if err != nil || info.Main.Path != module {
		return ""
	}
	return info.Main.Version
}

// BuildLeat builds the leat program of the repository that this module lies in
// (root is its top folder) into dir and returns the path of the binary.
func BuildLeat(ctx context.Context, root, dir string, progress io.Writer) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the folder for programs: %w", err)
	}
	target := filepath.Join(dir, "leat")
	fmt.Fprintf(progress, "building leat from %s\n", root)
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=true", "-o", target, "./tools/leat")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build leat in %s (or name a binary with --leat): %w\n%s", root, err, lastBytes(out, 4000))
	}
	return target, nil
}

// LeatRevision says which source the binary at path was built from.
func LeatRevision(path string) string {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	rev, dirty := "unknown", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			rev = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = " with local changes"
		}
	}
	return rev + dirty
}

func lastBytes(b []byte, n int) []byte {
	if len(b) > n {
		return b[len(b)-n:]
	}
	return b
}
