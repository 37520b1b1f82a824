package node

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// The crash suite runs longer when asked to.
var (
	cuts  = flag.Int("cuts", 150, "simulated power cuts in TestPowerCuts")
	kills = flag.Int("kills", 3, "kill -9 of a real node in TestKill")
	seed  = flag.Uint64("seed", 0, "seed of the crash suite; 0 takes a random one, which is printed")
)

// program is the real one, built once for all tests that run it, and the folder
// that it is in.
var (
	program    = sync.OnceValues(build)
	programDir string
)

func build() (name string, err error) {
	if programDir, err = os.MkdirTemp("", "leat"); err != nil {
		return "", err
	}
	name = filepath.Join(programDir, "leat")
	out, err := exec.CommandContext(context.Background(), "go", "build", "-o", name, "../leat").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return name, err
}

func TestMain(m *testing.M) {
	// A Raft that would read a damaged entry is parked for the life of the process.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("leat.dev/leat/replication.park"), goleak.Cleanup(func(code int) {
		if programDir != "" {
			_ = os.RemoveAll(programDir)
		}
		os.Exit(code)
	}))
}
