package node

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/segment/vfs"
)

// Aim: the suite of power cuts would notice a missing sync. Method: take away one
// kind of sync after the other, by a layer under the node that says "done" and
// does nothing, and require that the cuts then find a loss. Term and vote are
// not in the list: in a group of one, terms are found again in the log; package
// replication has a test of its own for them.
func TestEverySyncMatters(t *testing.T) {
	for _, guard := range []struct {
		name string
		rule vfs.Rule
	}{
		{"fdatasync of appended frames", vfs.Rule{Op: vfs.OpSyncData, Path: ".seg", Skip: true}},
		{"fsync of prepared segments", vfs.Rule{Op: vfs.OpSync, Path: ".seg", Skip: true}},
		{"sync of the directory of a partition", vfs.Rule{Op: vfs.OpSyncDir, Path: "partition-", Skip: true}},
		{"sync of the manifest", vfs.Rule{Op: vfs.OpSync, Path: "MANIFEST", Skip: true}},
		{"sync of the identity", vfs.Rule{Op: vfs.OpSync, Path: "NODE", Skip: true}},
	} {
		t.Run(guard.name, func(t *testing.T) {
			found := &recorder{}
			for try := uint64(1); try <= 40 && !found.Failed(); try++ {
				rng := rand.New(rand.NewPCG(try, 30))
				cutLives(found, rng, 12, func(f vfs.FS) vfs.FS {
					fault := vfs.NewFault(f)
					fault.Inject(guard.rule)
					return fault
				})
			}
			require.True(t, found.Failed(), "nothing was lost without it")
			t.Logf("noticed: %s", found.first)
		})
	}
}

// recorder keeps the first finding.
type recorder struct {
	mu    sync.Mutex
	first string // guarded by mu
}

// Errorf implements reporter.
func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.first == "" {
		r.first = fmt.Sprintf(format, args...)
	}
}

// Failed implements reporter.
func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.first != ""
}
