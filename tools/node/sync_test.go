package node

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/segment/vfs"
)

// Aim: a sync or write that fails is never followed by an acknowledgement that
// does not hold, and is not forgotten. Method: for every place that syncs or
// writes, fail it once or from then on, at its first, second or a later call,
// with the loss of dirty pages that kernels show; publish on; then what was
// acknowledged is read from the node that has failed, from what a power cut
// leaves of it, and from a clean restart. Where the log of a partition is
// concerned, nothing is acknowledged there after the error, and health says why.
func TestFailedSync(t *testing.T) {
	for _, site := range []struct {
		name  string
		rule  vfs.Rule
		fatal bool // to the partition
	}{
		{"fdatasync of appended frames", vfs.Rule{Op: vfs.OpSyncData, Path: ".seg"}, true},
		{"write of frames", vfs.Rule{Op: vfs.OpWriteVecAt, Path: ".seg", Short: 100}, true},
		{"preparation of a segment", vfs.Rule{Op: vfs.OpSync, Path: ".seg"}, false},
		{"preallocation of a segment", vfs.Rule{Op: vfs.OpPreallocate, Path: ".seg"}, false},
		{"sync of the partition's directory", vfs.Rule{Op: vfs.OpSyncDir, Path: "partition-"}, false},
		{"sync of the manifest", vfs.Rule{Op: vfs.OpSync, Path: "MANIFEST"}, false},
		{"write of the manifest", vfs.Rule{Op: vfs.OpWriteAt, Path: "MANIFEST"}, false},
		{"rename of the manifest", vfs.Rule{Op: vfs.OpRename, Path: "MANIFEST"}, false},
		{"sync of snapshots and votes", vfs.Rule{Op: vfs.OpAny, Path: "raft"}, false},
	} {
		for _, count := range []int{1, 0} {
			for _, after := range []int{0, 1, 6} {
				name := fmt.Sprintf("%s, call %d, %s", site.name, after+1, map[int]string{1: "once", 0: "for good"}[count])
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					rule := site.rule
					rule.After, rule.Count, rule.Err, rule.LoseDirty = after, count, syscall.EIO, true
					failSync(t, rule, site.fatal)
				})
			}
		}
	}
}

func failSync(t *testing.T, rule vfs.Rule, fatal bool) {
	t.Helper()
	d, h := diskOf(vfs.NewMem(), pebblevfs.NewCrashableMem()), newHistory()
	st, err := d.storage()
	require.NoError(t, err)
	h.fill(t, st, 2)
	// From now on one partition has traffic.
	const ch = 0
	part := st.set.Of(channelName(ch)).ID()
	injected := d.fault.Inject(rule)
	refusals, left := 0, 30
	var last error
	for i := 0; i < 1000 && left > 0 && refusals < 2; i++ {
		hits := injected.Hits()
		if hits > 0 {
			left--
		}
		if hits == 1 && fatal {
			// A segment is sealed behind the appends: what was synced while the
			// sealer was being told of its failure is durable, and acknowledged.
			require.Eventually(t, func() bool { return st.shards[part].log.Poisoned() != nil }, 5*time.Second, time.Millisecond)
		}
		begin := time.Now()
		err := h.store(st, ch, 4)
		if i%8 == 7 {
			_ = st.shards[part].group.Snapshot() // fails where the rule says
		}
		if err == nil && fatal && hits > 0 {
			t.Errorf("a publish was acknowledged after the error")
		}
		if err != nil {
			last = err
			refusals++
			t.Logf("refused after %s: %v", time.Since(begin).Round(time.Millisecond), err)
			require.Less(t, time.Since(begin), 8*time.Second, "%v", err)
		}
	}
	require.NotZero(t, injected.Hits(), "nothing failed")
	if fatal {
		require.Error(t, last)
		require.ErrorIs(t, st.health(), syscall.EIO)
	}
	require.True(t, h.check(t, st, "from the node that has failed"))
	c := h.clone()
	rng := rand.New(rand.NewPCG(1, 1))
	index := d.index.(*pebblevfs.MemFS).CrashClone(pebblevfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rng})
	files := d.files.CrashClone(vfs.CrashOptions{UnsyncedShare: 0.3, TearBytes: 512, Rand: rng})
	c.sentNow(h)
	d.fault.Clear()
	_ = st.close() // tells the failure again

	for when, next := range map[string]*disk{"after a power cut": diskOf(files, index), "after a restart": d} {
		st, err := next.storage()
		require.NoError(t, err, when)
		require.True(t, c.check(t, st, when))
		require.NoError(t, h.store(st, ch, 1), when)
		require.NoError(t, st.health())
		require.NoError(t, st.close(), when)
	}
}
